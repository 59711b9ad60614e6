"""The experiments on the papers, in their quick form; what they are made of; and their command line."""

import json
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.runs.experiment import reproduce
from tinybvae.runs.locks import locked

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import burgess2018  # noqa: E402
import higgins2017  # noqa: E402
import why_disentangle  # noqa: E402

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="minutes without Numba's compiler")
PICTURES = {
    burgess2018: {"figure2_beta1", "figure2_beta150", "figure3_kl", "figure3_reconstructions",
                  "figure4_reconstructions", "figure4_traversals"},
    higgins2017: {"figure7_beta4", "figure7_trained"},
    why_disentangle: {"independent_is_not_disentangled", "why_the_axes", "few_labels", "held_out"}}


@compiled
@pytest.mark.parametrize("script", PICTURES, ids=lambda script: script.__name__)
def test_quick_forms(script, tmp_path, call):
    """Called again, they do nothing twice."""
    status, printed, _ = call(script.main, "--quick", "--out", tmp_path)
    assert status == 0 and "minutes" in printed and str(tmp_path) in printed
    assert {path.stem for path in tmp_path.glob("*.png")} == PICTURES[script]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert numbers.pop("experiment") == script.__name__ and numbers.pop("quick") is True and len(numbers) >= 2
    status, printed, _ = call(script.main, "--quick", "--out", tmp_path)
    assert status == 0 and all(f"{part}: done before" in printed for part in numbers)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


# The command line

@pytest.fixture
def parts():
    """Two parts of an experiment; the second is interrupted at first."""
    calls = []

    def one(out, quick):
        """The first."""
        calls.append("one")
        return {"β": np.float32(1.5)}

    def two(out, quick):
        """The second."""
        calls.append("two")
        if calls.count("two") == 1:
            raise KeyboardInterrupt
        return {"quick": quick}

    return calls, lambda: reproduce("An experiment.", [one, two], "test")


def test_what_is_done_stays_done(parts, call, tmp_path, monkeypatch):
    calls, main = parts
    monkeypatch.chdir(tmp_path)
    status, printed, _ = call(main)
    assert status == 130 and "the same command goes on" in printed and "one: The first." in printed
    assert json.loads((tmp_path / "runs/test/numbers.json").read_bytes()) == {
        "experiment": "test", "quick": False, "one": {"β": 1.5}}
    status, printed, _ = call(main)
    assert status == 0 and "one: done before" in printed and calls == ["one", "two", "two"]
    status, _, _ = call(main, "--quick")
    assert status == 0 and (tmp_path / "runs/test-quick/numbers.json").exists() and len(calls) == 5


def test_wrong_input(parts, call, refusal, tmp_path):
    calls, main = parts
    out = tmp_path / "out"
    call(main, "--out", out)
    assert "holds the full form of test: give another folder" in refusal(main, "--quick", "--out", out)
    assert "holds the full form of test" in refusal(lambda: reproduce("Another.", [], "other"), "--out", out)
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt: give a folder that can be written to" in refusal(main, "--out", tmp_path / "notes.txt")
    assert "--threads: must be a whole number" in refusal(main, "--threads", "0")
    with locked(out):
        assert "another run is at work there" in refusal(main, "--out", out)
    for damaged in ("[1", "[]", "{}"):
        (out / "numbers.json").write_text(damaged)
        assert "numbers.json is damaged" in refusal(main, "--out", out)
        assert (out / "numbers.json").read_text() == damaged and calls == ["one", "two"]


def test_a_part_that_fails_is_no_wrong_input(call, tmp_path):
    def part(out, quick):
        """It fails."""
        raise FloatingPointError("the loss is nan")

    status, _, errors = call(lambda: reproduce("An experiment.", [part], "test"), "--out", tmp_path)
    assert status == 1 and errors.count("\n") == 1 and "the loss is nan; what is done stays" in errors


# Burgess et al. 2018

def test_blobs_are_where_they_should_be():
    blobs = burgess2018.Blobs()
    index = np.array([0, 3 * 32 + 17, 32 * 32 - 1])
    images = blobs.images(index)
    np.testing.assert_array_equal(blobs.classes(index), [[0, 0], [3, 17], [31, 31]])
    assert images.shape == (3, 64, 64, 1) and images[0, 0, 0, 0] == images[2, 63, 63, 0] == 1
    row, column = np.unravel_index(images[1].argmax(), (64, 64))
    assert (row, column) == (round(63 * 17 / 31), round(63 * 3 / 31))
    assert images[0, 0, 9, 0] == pytest.approx(np.exp(-.5)) and images[0, 9, 0, 0] == pytest.approx(np.exp(-.5))


def test_a_plane_and_where_it_points():
    x, y = np.indices((32, 32)).astype(float)
    assert burgess2018.plane(2 * x + 7) == pytest.approx((1, 0))
    assert burgess2018.plane(-y) == pytest.approx((1, 0))
    assert burgess2018.plane(x - y * 3 ** .5) == pytest.approx((1, 30))
    assert burgess2018.plane((x - 15.5) ** 2)[0] == pytest.approx(0)


def test_noisy_factors_learn_by_their_own_derivatives():
    """Against central differences, along a random direction."""
    rng, channels, h = np.random.default_rng(0), burgess2018.NoisyFactors(), 1e-5
    f, dmean, dlogvar = rng.standard_normal((3, 6, 8))
    at, towards = ({name: rng.standard_normal(4) for name in channels.parameters} for _ in range(2))

    def value(step):
        channels.parameters = {name: at[name] + step * towards[name] for name in at}
        mean, logvar = channels.forward(f)
        return (mean * dmean).sum() + (logvar * dlogvar).sum()

    slope = (value(h) - value(-h)) / (2 * h)
    value(0)
    channels.backward(dmean, dlogvar)
    assert slope == pytest.approx(sum(np.vdot(g, towards[name]) for name, g in channels.gradients.items()), rel=1e-5)


def test_features_are_the_factors():
    sprites = tb.DSprites()
    f = burgess2018.features(sprites.values(sprites.index([[1, 5, 13, 0, 31]])))
    angle = 2 * np.pi * 13 / 39
    np.testing.assert_allclose(f, [[0, 1, 0, 1, np.cos(angle), np.sin(angle), 0, 1]], atol=1e-12)


def test_when_a_factor_opens():
    C = np.array([0., 1., 2., 3.])
    assert burgess2018.opening(C, np.array([[0, .05, .2, .3], [0, 0, 0, .01], [.1, 0, 0, 0]])) == [2, None, 0]


def test_coloured_sprites():
    """Each sprite in each colour; the classes say which."""
    sprites, rng = burgess2018.ColouredSprites(), np.random.default_rng(0)
    index = np.append(rng.integers(len(sprites), size=50), len(sprites) - 1)
    images, classes = sprites.images(index), sprites.classes(index)
    plain = tb.DSprites()
    np.testing.assert_array_equal(images > 0, np.tile(plain.images(plain.index(classes[:, :5])) > 0, 3))
    np.testing.assert_array_equal(images.max(axis=(1, 2)), (classes[:, 5:] + 1) / np.float32(8))
    assert (classes < sprites.factor_sizes).all() and (classes[-1] == np.array(sprites.factor_sizes) - 1).all()
    assert np.prod(sprites.factor_sizes) == len(sprites) and (images[-1].max(axis=(0, 1)) == 1).all()


# Higgins et al. 2017

@compiled
def test_means_by_factors():
    """Of a model whose code is where the sprite is: its mean by place, and the same for all sizes."""
    class Place:
        def encode(self, images):
            weights = images[..., 0] / images.sum(axis=(1, 2, 3))[:, None, None]
            return np.stack([(weights.sum(axis=1) * np.arange(64)).sum(axis=1),
                             (weights.sum(axis=2) * np.arange(64)).sum(axis=1)], axis=1), None

    x, y = higgins2017.means_by(Place(), [3, 4], 2)
    centres = 15.5 + 32 * np.arange(32) / 31
    np.testing.assert_allclose(x, np.tile(centres[:, None], 32), atol=3)
    np.testing.assert_allclose(y, np.tile(centres, (32, 1)), atol=3)
    by_scale = higgins2017.means_by(Place(), [0, 1], 300)
    assert by_scale.shape == (2, 3, 6) and np.abs(by_scale - 31.5).max() < 4


# Why disentangle

def test_learners_of_few_labels():
    """A line through the right latent; or a plane through all of them, turned or not, if there are enough labels."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, 6))
    turned, t = z @ np.linalg.qr(rng.standard_normal((6, 6)))[0], 3 - 2 * z[:, 4]
    np.testing.assert_allclose(why_disentangle.one_latent(z, t, np.arange(12)), t)
    assert np.corrcoef(why_disentangle.one_latent(turned, t, np.arange(12)), t)[0, 1] < .95
    few, many = (why_disentangle.all_latents(turned, t, np.arange(count)) for count in (12, 2000))
    np.testing.assert_allclose(many, t, atol=.01)
    np.testing.assert_allclose(few, why_disentangle.all_latents(z, t, np.arange(12)))
    assert np.abs(few - t).max() > .1


@pytest.mark.parametrize("degrees", [-44, -17, 0, 5, 40])
def test_degrees_off_without_a_label(degrees):
    """Of a code of places that is turned, stretched and noisy, too."""
    rng = np.random.default_rng(0)
    turned = why_disentangle.along(degrees)
    x, y = (turned + .05 * rng.standard_normal(turned.shape)).T
    assert why_disentangle.degrees_off(x, y) == pytest.approx(-degrees, abs=1)
    c, s = np.cos(np.radians(-degrees)), np.sin(np.radians(-degrees))
    back = np.stack([x * c + y * s, y * c - x * s])
    assert np.corrcoef(back, why_disentangle.PLACES.T)[[0, 1], [2, 3]] == pytest.approx(1, abs=.01)


def test_the_kl_to_a_prior_that_is_not_round():
    """In closed form as by summing over z; and on the diagonal a nat's seventh higher."""
    z = np.linspace(-6, 6, 4001)
    dz, nats, degrees = z[1] - z[0], .7, 20
    kind = np.exp(-(0.6760 / 2) ** 2 * z ** 4)  # Γ(¾) / Γ(¼) = 0.3380
    kind /= kind.sum() * dz
    assert (kind * z * z).sum() * dz == pytest.approx(1, abs=1e-3)
    variance = np.exp(-2 * nats)
    mean = np.sqrt(1 - variance) * why_disentangle.along(degrees)
    q = np.exp(-(z - mean[..., None]) ** 2 / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    kl = (q * (np.log(q + 1e-300) - np.log(kind))).sum(axis=-1).mean(axis=0).sum() * dz
    assert why_disentangle.kl_of_a_square_prior(degrees, nats) == pytest.approx(kl, abs=1e-3)
    upright, diagonal = (why_disentangle.kl_of_a_square_prior(angle, 4.7) for angle in (0, 45))
    assert diagonal - upright == pytest.approx(1.2 * 0.3380 ** 2, abs=.001)


@compiled
def test_places_cost_less_along_the_axes():
    upright, diagonal = (why_disentangle.learn_place(degrees, .12, 600) for degrees in (0, 45))
    assert .1 < diagonal[0] - upright[0] < .25 and upright[1:] == pytest.approx([2, 2], abs=.15)


def test_dependence():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 1))
    assert abs(why_disentangle.dependence(np.hstack([z, rng.standard_normal((20_000, 1))]))) < .002
    assert why_disentangle.dependence(np.hstack([z, z ** 3])) == pytest.approx(np.log(20), abs=.02)


def test_a_part_of_the_images():
    part, sprites = why_disentangle.Part(np.array([7, 99_999])), tb.DSprites()
    assert len(part) == 2
    np.testing.assert_array_equal(part.images(np.array([1, 0])), sprites.images([99_999, 7]))
    np.testing.assert_array_equal(part.classes(np.array([1])), sprites.classes([99_999]))
