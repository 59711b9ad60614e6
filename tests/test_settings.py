"""Settings: what holds where, a command line that says it all, and runs made from them, resumed or refused."""

import shlex

import numpy as np
import pytest

import tinybvae as tb
from tinybvae.commandline import Parser
from tinybvae.settings import (DEFAULTS, LATER, PRESETS, add_options, command, configure, given_settings, new_run,
                               objective_of, resumed_run)

PLAIN = {"learning_rate": 5e-4, "eps": 1e-8, "architecture": "burgess2018", "optimizer": "Adam"}
ANNEALED = {**PLAIN, "objective": "capacity", "steps": 100_000, "anneal_steps": 100_000, "anneal_power": 1}
PUBLISHED = {
    "miyosuda": {**ANNEALED, "gamma": 100, "capacity": 20, "batch_size": 64},
    "burgess2018": {**ANNEALED, "gamma": 1000, "capacity": 25},
    "higgins2017": {"objective": "beta", "beta": 4, "learning_rate": 1e-2, "architecture": "higgins2017",
                    "optimizer": "Adagrad"},
}
RECIPES = {name: DEFAULTS[name] for name in ("learning_rate", "eps", "steps", "capacity", "anneal_steps")}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(tmp_path, preset):
    settings = configure({"latents": 2}, preset)
    assert PUBLISHED[preset].items() <= settings.items() and ("beta" in settings) != ("gamma" in settings)
    run = new_run(settings, tmp_path)
    assert run.model.architecture.__name__ == settings["architecture"] and run.model.latents == 2
    assert type(run.optimizer).__name__ == settings["optimizer"]
    assert run.optimizer.settings["learning_rate"] == settings["learning_rate"]
    assert run.optimizer.settings["eps"] == settings["eps"]


@pytest.mark.parametrize("given, made", [
    ({}, RECIPES),
    ({"gamma": DEFAULTS["gamma"], "objective": "capacity", "capacity": 5.0}, {**RECIPES, "capacity": 5.0}),
    ({"learning_rate": 1e-3}, {**RECIPES, "learning_rate": 1e-3}),
    ({"objective": "beta"}, {**PLAIN, "objective": "beta", "beta": 4.0}),
    ({"objective": "beta", "beta": 0.0, "eps": .1}, {**PLAIN, "beta": 0.0, "eps": .1}),
    ({"gamma": 0.0}, {**ANNEALED, "gamma": 0.0, "capacity": 25.0}),
    ({"gamma": 30.0, "learning_rate": 1e-3}, {**ANNEALED, "gamma": 30.0, "learning_rate": 1e-3}),
], ids=["recipe", "recipe, other capacity", "recipe, other rate", "beta", "beta 0", "gamma 0", "gamma"])
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


def test_an_earlier_version_is_resumed(tmp_path):
    """Settings that it does not have count as what they were then."""
    run = new_run(configure({"latents": 2}), tmp_path)
    wanted = dict(run.settings)
    for name in LATER:
        del run.settings[name]
    run.optimizer.settings["epsilon"] = run.optimizer.settings.pop("eps")  # as it was called
    tb.save(run, tmp_path / "checkpoint.h5")
    back = resumed_run(tmp_path / "checkpoint.h5", {"steps": 7})
    assert back.settings == {**wanted, "steps": 7} and back.optimizer.settings["eps"] == wanted["eps"]


def test_what_is_not_made_from_settings_is_not_resumed(tmp_path):
    model = tb.BetaVAE(2)
    path = tmp_path / "checkpoint.h5"
    tb.save(tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(0)), path)
    with pytest.raises(ValueError, match="was not made by this command"):
        resumed_run(path, {})
    tb.save(tb.Run(model, None, np.random.default_rng(0), settings=configure({})), path)
    with pytest.raises(ValueError, match="holds weights only"):
        resumed_run(path, {})
