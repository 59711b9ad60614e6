"""Runs in their folder: begun, gone on with, or refused; and trained to their end."""

import io
import signal

import h5py
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.data.files import USER_BLOCK, user_block
from tinybvae.runs.checkpoint import FORMAT
from tinybvae.runs.folder import new_run, opened, resumed_run, trained
from tinybvae.runs.locks import locked
from tinybvae.runs.settings import configure, objective_of
from tinybvae.schedule import value_at

SMALL = {"latents": 2, "batch_size": 4, "steps": 3, "objective": "beta"}


class Noise:
    """Data of a test's own: twenty small images."""

    image_shape = (16, 16, 1)

    def __len__(self):
        return 20

    def images(self, index):
        return np.random.default_rng(0).random((20, 16, 16, 1)).astype(np.float32)[index]


def same(one, other):
    return all((p == other.parameters[name]).all() for name, p in one.parameters.items())


def test_trained_once(tmp_path, capsys):
    """Called again, it returns the same model without a step; asked for more steps, it goes on."""
    out = tmp_path / "new" / "run"
    model = trained(out, Noise(), **SMALL)
    assert tb.load(out / "checkpoint.h5").step == 3 and "training" in capsys.readouterr().out
    assert same(trained(out, Noise(), **SMALL), model) and "training" not in capsys.readouterr().out
    longer = trained(out, Noise(), **{**SMALL, "steps": 5})
    assert same(longer, trained(tmp_path / "other", Noise(), **{**SMALL, "steps": 5})) and not same(longer, model)
    before = (out / "checkpoint.h5").read_bytes()
    for change in ({"beta": 1.0}, {"learning_rate": 1.0}, {"preset": "higgins2017"}, {"steps": 4}):
        with pytest.raises(ValueError, match="was made with|is at step 5 already"):
            trained(out, Noise(), **{**SMALL, "steps": 5, **change})
    assert (out / "checkpoint.h5").read_bytes() == before


def test_trained_goes_on_after_an_interruption(tmp_path, monkeypatch):
    """To the same bits."""
    class Interrupted(Noise):
        def images(self, index):
            if len(index) == 4:  # a batch of the training
                signal.raise_signal(signal.SIGINT)
            return super().images(index)

    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 1 of \d+: the same call goes on"):
        trained(tmp_path / "run", Interrupted(), **SMALL)
    assert tb.load(tmp_path / "run" / "checkpoint.h5").step == 1
    assert same(trained(tmp_path / "run", Noise(), **SMALL), trained(tmp_path / "other", Noise(), **SMALL))


def test_an_open_run_is_locked_and_saved(tmp_path):
    with opened(tmp_path, configure(SMALL), data=Noise()) as (run, sprites):
        assert run.step == 0 and isinstance(sprites, Noise)
        assert same(tb.load_model(tmp_path / "checkpoint.h5"), run.model)
        with pytest.raises(ValueError, match="another run is at work there"):
            trained(tmp_path, Noise(), **SMALL)
    with locked(tmp_path):
        pass


def test_a_folder_in_use_says_how_to_go_on(tmp_path):
    """Whatever the order in which the folder lists its files."""
    for name in ("z0.gif", "report.html", "checkpoint.h5", "loss.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="go on with it by --resume"):
        new_run(configure({"latents": 2}), tmp_path)


def test_resumed_at_another_rate(tmp_path):
    """From the step it is at; what was before stays on record. Asked for twice, it is one change."""
    run, path = new_run(configure({"latents": 2, "learning_rate": .5}, "burgess2018"), tmp_path), tmp_path / "a.h5"
    run.step = 40
    tb.save(run, path)
    for _ in range(2):
        run = resumed_run(path, {"learning_rate": .25})
        assert run.settings["learning_rate"] == run.optimizer.settings["learning_rate"]
        assert run.settings["learning_rate"] == [[0, .5], [39, .5], [40, .25]]
        run.step = 60
        tb.save(run, path)
    assert resumed_run(path, {}).settings == run.settings


def test_version_0_1_is_resumed(tmp_path):
    """Names and forms of then become those of today; what was not counted is NaN in the history."""
    path = tmp_path / "checkpoint.h5"
    run = new_run(configure({"latents": 2}, "burgess2018"), tmp_path)
    tb.train(run, tb.DSprites(), objective_of(run.settings), steps=1, batch_size=4)
    columns = run.history_columns.index("used")
    for name in ("evaluate_every", "start", "negative_slope", "eps"):
        del run.settings[name]
    rate = [[0.0, 1.0], [64.0, 1.0], [96.0, 1e-4]]
    run.settings |= {"capacity": 20.0, "anneal_steps": 1000, "anneal_power": 2.0, "gamma": [[5.0, 3.0]],
                     "learning_rate": rate}
    run.optimizer.settings = {"learning_rate": rate, "beta1": .9, "beta2": .999, "epsilon": .25}
    tb.save(run, path)
    content = io.BytesIO(path.read_bytes())
    with h5py.File(content, "r+") as file:
        file.attrs["model"] = file.attrs["model"].replace(', "negative_slope": 0.0', "")
        rows = file["history"][:, :columns]
        del file["history"]
        file["history"] = rows
    content = bytearray(content.getvalue())
    content[:USER_BLOCK] = user_block(FORMAT, content[USER_BLOCK:])
    path.write_bytes(content)

    back = resumed_run(path, {"steps": 7})
    assert back.model.negative_slope == back.settings["negative_slope"] == 0 and back.settings["start"] == "he"
    assert back.settings["eps"] == back.optimizer.settings["eps"] == .25 and back.settings["gamma"] == [[5, 3]]
    assert back.settings["learning_rate"] == back.optimizer.settings["learning_rate"]
    for step in (0, 63, 72, 80, 96, 200):
        now = value_at(back.settings["learning_rate"], step)
        assert now == pytest.approx(10 ** (-4 * min(max((step - 64) / 32, 0), 1)), rel=1e-12)
    C = objective_of(back.settings).capacity
    assert [C(step) for step in (0, 500, 1000, 5000)] == pytest.approx([0, 5, 20, 20])
    assert len(back.history[0]) == len(back.history_columns) and np.isnan(back.history[0][columns:]).all()
    np.testing.assert_array_equal(back.history[0][:columns], run.history[0][:columns])


def test_a_uniform_start(tmp_path):
    """Of weights and biases, up to 1/√fan_in: the number of weights for an output."""
    run = new_run(configure({"seed": 3}, "miyosuda"), tmp_path)
    for name, fan_in in (("encoder.conv1", 16), ("encoder.linear1", 512), ("decoder.linear1", 10),
                         ("decoder.conv4", 512)):
        weight, bias = (run.model.parameters[f"{name}.{kind}"] * fan_in ** .5 for kind in ("weight", "bias"))
        assert .9 < np.abs(weight).max() <= 1 + 1e-6 and 0 < np.abs(bias).max() <= 1 + 1e-6
        assert weight.std() == pytest.approx(3 ** -.5, rel=.1)
    again = new_run(configure({"seed": 3}, "miyosuda"), tmp_path)
    assert all((p == again.model.parameters[name]).all() for name, p in run.model.parameters.items())


def test_what_is_not_made_from_settings_is_not_resumed(tmp_path):
    model = tb.BetaVAE(2)
    path = tmp_path / "checkpoint.h5"
    tb.save(tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(0)), path)
    with pytest.raises(ValueError, match="was not made by this command"):
        resumed_run(path, {})
    tb.save(tb.Run(model, None, np.random.default_rng(0), settings=configure({})), path)
    with pytest.raises(ValueError, match="holds weights only"):
        resumed_run(path, {})


@pytest.mark.parametrize("wrong, message", [
    ({"likelihood": tb.gaussian(.1)}, "likelihood must be \"bernoulli\" or \"gaussian:SIGMA\", such as gaussian:0.1"),
    ({"likelihood": None}, "likelihood must be"), ({"architecture": "x"}, "architecture must be one of burgess2018, "),
    ({"optimizer": "SGD"}, "optimizer must be one of Adam, Adagrad, not 'SGD'"), ({"objective": "x"}, "objective must"),
    ({"preset": "x"}, "preset must be one of sharp, "), ({"objective": "capacity", "width": -1}, "width must be"),
    ({"beta": "a"}, "beta must be a number, or points"), ({"likelyhood": "bernoulli"}, "there is no setting like"),
], ids=str)
def test_settings_that_are_none_are_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        trained(tmp_path / "run", Noise(), **{**SMALL, **wrong})
    assert not [*tmp_path.iterdir()]
