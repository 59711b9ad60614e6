"""Settings: what holds where, and a command line that says it all."""

import shlex

import pytest

import tinybvae as tb
from tinybvae.runs.commandline import Parser
from tinybvae.runs.folder import new_run
from tinybvae.runs.settings import (DEFAULTS, PHASES, PRESETS, add_options, command, configure, given_settings,
                                    objective_of)
from tinybvae.schedule import value_at

PLAIN = {"learning_rate": 5e-4, "eps": 1e-8, "architecture": "burgess2018", "likelihood": "bernoulli",
         "optimizer": "Adam", "start": "he", "negative_slope": 0}
ANNEALED = {**PLAIN, "objective": "capacity", "steps": 100_000}
EXPECTED = {
    "sharp": {"objective": "capacity", "negative_slope": .1, "new_encoder": 4500, "steps": 100_000},
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


def test_the_recipe_is_its_phases():
    start, settings = 0, configure({})
    for end, gamma, width, capacity, rate, eps in PHASES:
        for name, (first, last) in {"gamma": (gamma, gamma), "width": (width, width), "capacity": capacity,
                                    "learning_rate": rate, "eps": (eps, eps)}.items():
            for part in (0, .25, .5, 1):
                step = start + part * (end - 1 - start)
                assert value_at(settings[name], step) == pytest.approx(first + part * (last - first), rel=1e-9), name
        start = end
    assert settings["steps"] == start and settings["new_encoder"] in [end for end, *_ in PHASES]
    assert settings["eps"] == [[0, 1], [599, 1], [600, .1], [4499, .1], [4500, .03]]


@pytest.mark.parametrize("given, made", [
    ({}, RECIPES),
    ({"gamma": DEFAULTS["gamma"], "objective": "capacity", "latents": 5}, {**RECIPES, "latents": 5}),
    ({"capacity": 5.0}, {**ANNEALED, "gamma": 1000, "capacity": 5.0}),
    ({"learning_rate": 1e-3}, {**RECIPES, "learning_rate": 1e-3}),
    ({"objective": "beta"}, {**PLAIN, "objective": "beta", "beta": 4.0}),
    ({"objective": "beta", "beta": 0.0, "eps": .1}, {**PLAIN, "beta": 0.0, "eps": .1}),
    ({"gamma": 0.0}, {**ANNEALED, "gamma": 0.0, "capacity": [[0, 0], [100_000, 25]]}),
    ({"gamma": 30.0, "learning_rate": 1e-3}, {**ANNEALED, "gamma": 30.0, "learning_rate": 1e-3}),
    ({"likelihood": "gaussian:0.1"}, {**ANNEALED, "likelihood": "gaussian:0.1"}),
    ({"architecture": "higgins2017"}, {**ANNEALED, "architecture": "higgins2017"}),
], ids=["recipe", "recipe, other latents", "capacity", "recipe, other rate", "beta", "beta 0", "gamma 0", "gamma",
        "likelihood", "architecture"])
def test_the_recipe_lends_nothing_to_other_objectives(given, made):
    """Its learning rate and eps are made for its own γ: with another weight, published settings hold."""
    assert made.items() <= configure(given).items()


@pytest.mark.parametrize("given, preset", [
    ({}, None), ({"objective": "beta", "beta": 0.0}, None), ({"gamma": [[0, 5.0], [9, 1.0]], "latents": 3}, None),
    ({"evaluate_every": 2, "data": "a file.npz"}, "miyosuda"), ({"data": "-a.npz"}, None), ({}, "higgins2017"),
    ({"architecture": "higgins2017", "likelihood": "gaussian:0.1", "width": [[0, .1], [5, 2.0]]}, None)])
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
