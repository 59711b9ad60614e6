"""Settings: what holds where, a command line that says it all, and runs made from them, resumed or refused."""

import io
import shlex

import h5py
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.checkpoint import FORMAT
from tinybvae.commandline import Parser
from tinybvae.files import USER_BLOCK, user_block
from tinybvae.schedule import value_at
from tinybvae.settings import (DEFAULTS, PRESETS, add_options, command, configure, given_settings, new_run,
                               objective_of, resumed_run)

PLAIN = {"learning_rate": 5e-4, "eps": 1e-8, "architecture": "burgess2018", "optimizer": "Adam", "start": "he",
         "negative_slope": 0}
ANNEALED = {**PLAIN, "objective": "capacity", "steps": 100_000}
EXPECTED = {
    "sharp": {"objective": "capacity", "gamma": DEFAULTS["gamma"], "negative_slope": .1},
    "miyosuda": {**ANNEALED, "gamma": 100, "capacity": [[0, 0], [100_000, 20]], "batch_size": 64, "start": "uniform",
                 "steps": 150_000},
    "burgess2018": {**ANNEALED, "gamma": 1000, "capacity": [[0, 0], [100_000, 25]]},
    "higgins2017": {"objective": "beta", "beta": 4, "learning_rate": 1e-2, "architecture": "higgins2017",
                    "optimizer": "Adagrad"},
}
RECIPES = {name: DEFAULTS[name] for name in ("learning_rate", "eps", "steps", "capacity", "negative_slope")}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(tmp_path, preset):
    settings = configure({"latents": 2}, preset)
    assert EXPECTED[preset].items() <= settings.items() and ("beta" in settings) != ("gamma" in settings)
    run = new_run(settings, tmp_path)
    assert run.model.architecture.__name__ == settings["architecture"] and run.model.latents == 2
    assert type(run.optimizer).__name__ == settings["optimizer"]
    assert run.optimizer.settings["learning_rate"] == settings["learning_rate"]
    assert run.optimizer.settings["eps"] == settings["eps"]


def test_sharp_goes_on_with_the_recipe():
    sharp = configure({}, "sharp")
    for name in ("gamma", "capacity", "learning_rate", "eps"):
        assert all(value_at(sharp[name], step) == value_at(DEFAULTS[name], step) for step in range(0, 27_001, 9))
    assert sharp["steps"] > DEFAULTS["steps"] and value_at(sharp["capacity"], 100_000) == 22


@pytest.mark.parametrize("given, made", [
    ({}, RECIPES),
    ({"gamma": DEFAULTS["gamma"], "objective": "capacity", "latents": 5}, {**RECIPES, "latents": 5}),
    ({"capacity": 5.0}, {**ANNEALED, "gamma": 1000, "capacity": 5.0}),
    ({"learning_rate": 1e-3}, {**RECIPES, "learning_rate": 1e-3}),
    ({"objective": "beta"}, {**PLAIN, "objective": "beta", "beta": 4.0}),
    ({"objective": "beta", "beta": 0.0, "eps": .1}, {**PLAIN, "beta": 0.0, "eps": .1}),
    ({"gamma": 0.0}, {**ANNEALED, "gamma": 0.0, "capacity": [[0, 0], [100_000, 25]]}),
    ({"gamma": 30.0, "learning_rate": 1e-3}, {**ANNEALED, "gamma": 30.0, "learning_rate": 1e-3}),
], ids=["recipe", "recipe, other latents", "capacity", "recipe, other rate", "beta", "beta 0", "gamma 0", "gamma"])
def test_the_recipe_lends_nothing_to_other_objectives(given, made):
    """Its learning rate and eps are made for its own γ: with another weight, published settings hold."""
    assert made.items() <= configure(given).items()


@pytest.mark.parametrize("given, preset", [
    ({}, None), ({"objective": "beta", "beta": 0.0}, None), ({"gamma": [[0, 5.0], [9, 1.0]], "latents": 3}, None),
    ({"evaluate_every": 2, "data": "a file.npz"}, "miyosuda"), ({}, "higgins2017")])
def test_the_command_says_all_that_holds(given, preset):
    """Read again, it makes the same settings."""
    parser, settings = Parser(), configure(given, preset)
    add_options(parser)
    options = parser.parse_args(shlex.split(command(settings))[2:])
    assert configure(given_settings(options), options.preset) == settings


@pytest.mark.parametrize("given", [{"objective": "beta", "beta": 0.0}, {"gamma": 0.0}], ids=str)
def test_an_autoencoder(tmp_path, given):
    run = new_run(configure({**given, "latents": 2}), tmp_path)
    tb.train(run, tb.DSprites(), objective_of(run.settings), steps=1, batch_size=4)
    (_, total, reconstruction, kl, *_), = run.history
    assert total == reconstruction and kl > 0


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
