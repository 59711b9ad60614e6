"""A run in its folder: begun or resumed, saved before its first step; the folder is locked meanwhile."""

import math
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from tinybvae.data import DSprites, load_data
from tinybvae.metrics import encode_samples, evaluate
from tinybvae.optimizers import OPTIMIZERS
from tinybvae.runs.checkpoint import before, load, newest_of, reinstate, save
from tinybvae.runs.commandline import as_text, say
from tinybvae.runs.description import likelihood_of
from tinybvae.runs.locks import locked
from tinybvae.runs.run import Run
from tinybvae.runs.settings import (MAY_CHANGE, OBJECTIVES, PRESETS, changed, configure, merged, objective_of,
                                    with_later)
from tinybvae.runs.training import train
from tinybvae.vae import ARCHITECTURES, BetaVAE

FILES = ("history.csv", "metrics.json", "loss.png", "reconstructions.png", "traversals.png", "traversals.gif",
         "orientation.png", "scores.png", "film.gif", "report.html")  # of a report, besides z0.gif …


@contextmanager
def opened(out, given, preset=None, resume=False, data=None):
    """The run in the folder `out`, new or resumed, and its data, while no other process may write there.

    `given` settings and a preset are as `configure` takes them. If `data` are given, they are used instead of those
    that the setting "data" names, and the setting then says what they are. Before anything is written, it raises
    ValueError for wrong input, as `new_run`, `resumed_run` and `load_data` do, and OSError where nothing can be
    written.
    """
    out = Path(out)
    checkpoint = out / "checkpoint.h5"
    with ExitStack() as lock:
        if out.is_dir():
            lock.enter_context(locked(out))
        newest = newest_of(checkpoint) if resume else None
        run = resumed_run(newest, given, preset) if newest else None
        settings = run.settings if run else configure(given, preset)
        if data is None:
            data = load_data(settings["data"])
        else:
            settings["data"] = getattr(data, "path", f"<{type(data).__name__}>")
        objective_of(settings)
        run = run or new_run(settings, out, data.image_shape)
        require_data_for(run, data)
        if not out.is_dir():
            out.mkdir(parents=True)
            lock.enter_context(locked(out))
        if newest not in (None, checkpoint):
            say(f"{checkpoint} is missing or damaged: going on from the one before it, at step {run.step}")
            reinstate(checkpoint)
        save(run, checkpoint, before(checkpoint))  # before the first step: from here on, nothing is lost
        if resume and not newest:
            say(f"nothing to resume in {out}: starting fresh")
        yield run, data


def score_if_due(run, data):
    """Put the scores of a run's model into its `scores`, at its end and as often as its settings say.

    There are none if no factors are known. Returns what `encode_samples` does, or None if no scores were due.
    """
    every = run.settings["checkpoint_every"] * (run.settings["evaluate_every"] or math.inf)
    run.scores = [row for row in run.scores if row["step"] % every == 0 and row["step"] < run.step]
    if run.step >= run.settings["steps"] or run.step % every == 0:
        encoded = encode_samples(run.model, data)
        scores = evaluate(run.model, data, encoded)
        run.scores += [{"step": run.step, **scores}] if scores else []
        return encoded


def trained(out, data, preset=None, **given):
    """The model of the run in `out`, trained to its end: a run that is there goes on, a finished one is just loaded.

    Raises ValueError as `opened` does, or if the run that is there was made with other settings; KeyboardInterrupt,
    after a last checkpoint, if it was interrupted.
    """
    checkpoint, settings = Path(out) / "checkpoint.h5", configure(given, preset)
    newest = newest_of(checkpoint)
    if newest:
        run = load(newest)
        was = with_later(run.settings)
        for name in settings.keys() - {"steps", "checkpoint_every", "data"}:
            if was.get(name) != settings[name]:
                raise ValueError(f"{newest} was made with {name} {as_text(was.get(name))}, not "
                                 f"{as_text(settings[name])}: give another folder")
        if run.step == settings["steps"]:
            return run.model
    with opened(out, given, preset, newest is not None, data) as (run, _):
        say(f"training {out}, {settings['steps']} steps")
        train(run, data, objective_of(settings), settings["steps"], settings["batch_size"],
              settings["checkpoint_every"], lambda run: save(run, checkpoint, before(checkpoint)))
    return run.model


def data_of(run, path=None):
    """The data of a file, or, if none is given, those that a run's settings name, and a line that says which.

    If the settings name none, it is dSprites. Raises ValueError as `load_data` does.
    """
    named = run.settings.get("data") if path is None else path
    try:
        data = load_data(named)
    except (ValueError, TypeError) as error:  # TypeError: another program may have set what is no path
        if path is not None:
            raise
        raise ValueError(f"it was trained on {named}: give --data ({error})") from error
    unsaid = path is None and "data" not in run.settings
    return data, f"images: {named or 'dSprites'}{', since the checkpoint does not say what it was trained on' * unsaid}"


def new_run(settings, out, image_shape=DSprites.image_shape):
    """A run at step 0, for an empty or new folder. Raises ValueError if `out` holds a run, or for wrong settings."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: give a folder")
    if (out / "checkpoint.h5").exists() or before(out / "checkpoint.h5").exists():
        raise ValueError(f"--out {out} already holds a run: go on with it by --resume, or give another folder")
    for file in out.glob("*"):
        if file.name in FILES or file.match("z[0-9]*.gif"):
            raise ValueError(f"--out {out} already holds a run's {file.name}, but no checkpoint.h5: "
                             f"give another folder")
    model = BetaVAE(settings["latents"], settings["seed"], image_shape=image_shape,
                    architecture=ARCHITECTURES[settings["architecture"]], negative_slope=settings["negative_slope"],
                    likelihood=likelihood_of(settings["likelihood"]))
    if settings["start"] == "uniform":
        uniform_start(model.parameters, np.random.default_rng(settings["seed"]))
    optimizer = OPTIMIZERS[settings["optimizer"]](model.parameters, learning_rate=settings["learning_rate"],
                                                  eps=settings["eps"])
    rng = np.random.default_rng([settings["seed"], 1])  # another stream than the weights'
    return Run(model, optimizer, rng, settings=settings)


def uniform_start(parameters, rng):
    """Draw weights and biases, {name: array}, anew, uniform in ±1/√fan_in, as miyosuda's program does.

    fan_in is the number of weights of an output channel, in a transposed convolution too: 16 times the input channels.
    """
    for name, weight in parameters.items():
        if name.endswith("weight"):
            bias = parameters[name.removesuffix("weight") + "bias"]
            for p in weight, bias:
                p[...] = rng.uniform(-1, 1, p.shape) / np.sqrt(weight.size / len(bias))


def resumed_run(checkpoint, given, preset=None):
    """The run in a checkpoint. Raises ValueError if it was made with other settings, or not by `new_run`."""
    run = load(checkpoint)
    if run.optimizer is None:
        raise ValueError(f"{checkpoint} holds weights only: give another --out")
    run.settings = with_later(run.settings)
    run.settings.setdefault("eps", run.optimizer.settings["eps"])
    objective = run.settings.get("objective")
    if objective not in OBJECTIVES or not run.settings.keys() >= configure({"objective": objective}).keys():
        raise ValueError(f"{checkpoint} was not made by this command: give another --out")
    settings = merged({**run.settings, **PRESETS.get(preset, {})}, given)
    if "learning_rate" in given:  # from here on: a run that diverged may go on at another rate
        rate = changed(run.settings["learning_rate"], given["learning_rate"], run.step)
        settings["learning_rate"] = run.settings["learning_rate"] = run.optimizer.settings["learning_rate"] = rate
    for name, value in settings.items():
        if name not in MAY_CHANGE and run.settings.get(name) != value:
            raise ValueError(f"{checkpoint} was made with {name} {as_text(run.settings.get(name))}, not "
                             f"{as_text(value)}: resume it without that option, or give another --out")
    if settings["steps"] < run.step:
        raise ValueError(f"{checkpoint} is at step {run.step} already: give --steps of at least that")
    run.settings = settings
    return run


def require_data_for(run, data):
    """Raise ValueError unless the run's model takes images of this size, and there are enough for a batch."""
    if data.image_shape != run.model.image_shape:
        raise ValueError(f"--data holds images of shape {data.image_shape}, the model takes {run.model.image_shape}")
    require_batch(run.settings, data)


def require_batch(settings, data):
    """Raise ValueError unless there are enough images for a batch."""
    if settings["batch_size"] > len(data):
        raise ValueError(f"--batch-size {settings['batch_size']}: at most the data set's {len(data)} images")
