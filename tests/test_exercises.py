"""Every exercise: the blank, each of its mistakes and the library's own solution get the answers that they should."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tinybvae as tb

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import exercises  # noqa: E402
from exercises import EXERCISES, complaint  # noqa: E402


def named(exercise):
    return exercise.function.__name__


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_blank_solution_and_mistakes(exercise, tmp_path):
    assert complaint(exercise, exercise.solution) == ""
    file = tmp_path / "blank.py"
    file.write_text(exercise.blank(), encoding="utf-8")
    blank = exercises.function_in(file, named(exercise))
    assert blank.__doc__ == exercise.function.__doc__ and max(map(len, exercise.blank().splitlines())) <= 120
    assert complaint(exercise, blank) == "it returns nothing yet"
    assert len(exercise.mistakes) >= 2 and exercise.hint
    for name, words, mistake in exercise.mistakes:
        def wrong(*arguments):
            return tuple(mistake(*arguments) if given == name else right
                         for given, right in zip(exercise.gives, exercise.solution(*arguments)))
        assert complaint(exercise, wrong) == f"{name}: {words}"


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_mistakes_of_any_kind(exercise):
    first = exercise.gives[0]

    def told(change):
        def wrong(*arguments):
            right, *others = exercise.solution(*arguments)
            return change(np.asarray(right)), *others
        return complaint(exercise, wrong)

    assert told(lambda a: -a) == f"{first}: its sign is wrong"
    assert told(lambda a: 2 * a) == f"{first}: it is twice what it should be"
    assert told(lambda a: a[..., None]).startswith(f"{first}: its shape is (")
    assert told(lambda a: a + 3.21).startswith((f"{first}: at [", f"{first}: it is "))
    assert told(lambda a: a * np.nan) == f"{first}: it is not finite everywhere"
    assert told(lambda a: "much") == f"{first}: it should be numbers, not str"
    assert complaint(exercise, lambda *arguments: 1 / 0) == "it raises ZeroDivisionError: division by zero"
    assert complaint(exercise, lambda *arguments: (1,) * 9).endswith(", not 9 of them")


def test_what_must_not_be_changed_and_what_is_partly_right():
    linear = EXERCISES[[named(exercise) for exercise in EXERCISES].index("linear_backward")]

    def overwrites(x, w, dy):
        answer = linear.solution(x, w, dy)
        dy *= 2
        return answer

    def no_mean(x, w, dy):
        dw, db, dx = linear.solution(x, w, dy)
        return dw / len(x), np.where(np.arange(4) == 1, 0, db), dx

    assert complaint(linear, overwrites) == "it changes dy, which the caller still needs: make a new array"
    dw, db = complaint(linear, no_mean).splitlines()
    assert dw == "dw: it is N times too small: it should be a sum over the batch, or is a mean already"
    assert db.startswith("db: right in 3 of 4 entries; at [1] it is 0, and should be ")


def test_answers_that_are_known():
    """Of those exercises that are about no function of the library."""
    assert exercises.mig_on_paper() == pytest.approx(.5)
    assert exercises.settles(10., 20., 3., 4.) == pytest.approx(10 + 3 * 4 / np.sqrt(20 ** 2 - 4 ** 2))
    gain, price, variance = np.array([50., 12, 3]), 10., np.linspace(1e-3, 1, 100_000)[:, None]
    best = variance[(gain * variance / 2 - price * np.log(variance) / 2).argmin(axis=0), 0]
    assert exercises.opened(gain, price) == pytest.approx(-np.log(best) / 2, abs=1e-3)
    assert complaint(EXERCISES[4], lambda dz, mean, logvar, noise, slope: (dz, dz)).startswith("dmean: this is the way")


def test_the_places_in_the_library_exist():
    for exercise in EXERCISES:
        if not exercise.where:  # there is none
            continue
        file, name = exercise.where.split(":")
        text = (Path(tb.__file__).parent / file).read_text(encoding="utf-8")
        assert f"def {name.split('.')[-1]}(" in text or f"\nclass {name}" in text


def test_from_the_list_to_a_solution(call, refusal, tmp_path):
    status, listed, _ = call(exercises.main, "--out", tmp_path)
    assert status == 0 and len(listed.splitlines()) == len(EXERCISES) + 2 and "solved" not in listed
    status, begun, _ = call(exercises.main, 1, "--out", tmp_path / "new")
    file = tmp_path / "new" / "01_reparameterize.py"
    assert status == 0 and str(file) in begun and "z = μ + σ ε" in begun
    assert call(exercises.main, 1, "--out", file.parent)[:2] == (1, "Not yet: it returns nothing yet\n")
    file.write_text(file.read_text(encoding="utf-8") + "    return mean + np.exp(logvar) * noise\n", encoding="utf-8")
    status, said, _ = call(exercises.main, 1, "--out", file.parent)
    assert status == 1 and "σ² by" not in said and "σ = exp(½ log σ²)" in said
    file.write_text(file.read_text(encoding="utf-8").replace("(logvar)", "(logvar / 2)"), encoding="utf-8")
    status, said, _ = call(exercises.main, 1, "--out", file.parent)
    assert status == 0 and said.startswith("Right. The library has it in vae.py:reparameterize. Next: ")
    assert call(exercises.main, "--out", file.parent)[1].splitlines()[0].endswith("solved")
    assert "σ²" in call(exercises.main, 1, "--hint")[1]

    file.write_text("def reparameterize(:\n", encoding="utf-8")
    assert "line 1: SyntaxError" in refusal(exercises.main, 1, "--out", file.parent)
    file.write_text("x = 1\n", encoding="utf-8")
    assert "has no function reparameterize" in refusal(exercises.main, 1, "--out", file.parent)
    assert file.read_text(encoding="utf-8") == "x = 1\n"
    assert "invalid choice: 99" in refusal(exercises.main, 99)
