"""Train a β-VAE on dSprites: python examples/train_dsprites.py, and watch runs/dsprites/report.html grow."""

import argparse
import math
import shlex
import sys
import time
from pathlib import Path

import numba
import numpy as np

import tinybvae as tb
from tinybvae.checkpoint import OPTIMIZERS
from tinybvae.commandline import Parser, nonnegative_float, path, positive_float, positive_int, schedule, seed, spelled
from tinybvae.report import FILES, summary
from tinybvae.vae import ARCHITECTURES

# The recipe, phase by phase; the README's "The price of a nat" says what each is for.
GAMMA = schedule("0:100,600:100,900:30,1300:30,"         # x and y get a latent each
                 "1500:.05,8000:.05,"                    # everything else is learnt, in no order
                 "8300:100,8500:100,9000:30,11200:20,"   # x, y and scale are put in order
                 "11500:.05,17500:.05,"                  # shape and orientation come back beside them
                 "17800:20,19300:20,19600:1,20500:1,"    # a last, shorter breath
                 "20800:5")                              # settled
RATE = schedule("0:1e-4,100:4e-3,1300:4e-3,1500:1e-3,8000:1e-3,8300:2e-3,11200:2e-3,11500:1e-3,22000:1e-3,24500:5e-5")
EPSILON = schedule("0:1,1300:1,1500:.03")
DEFAULTS = {"steps": 24_500, "batch_size": 64, "learning_rate": RATE, "epsilon": EPSILON, "latents": 10, "seed": 0,
            "objective": "capacity", "gamma": GAMMA, "capacity": 8.0, "anneal_steps": 24_500, "anneal_power": 4.0,
            "beta": 4.0, "architecture": "burgess2018", "optimizer": "Adam", "data": None, "checkpoint_every": 1000,
            "evaluate_every": None}
ANNEALED = {"steps": 100_000, "anneal_steps": 100_000, "anneal_power": 1.0, "learning_rate": 5e-4, "epsilon": 1e-8}
PRESETS = {
    "seed": {**ANNEALED, "gamma": 100.0, "capacity": 20.0},
    "burgess2018": {**ANNEALED, "gamma": 1000.0, "capacity": 25.0},
    "higgins2017": {"steps": 100_000, "objective": "beta", "beta": 4.0, "architecture": "higgins2017",
                    "optimizer": "Adagrad", "learning_rate": 1e-2, "epsilon": 1e-10},
}
OBJECTIVES = {"capacity": (tb.capacity_objective, ("gamma", "capacity", "anneal_steps", "anneal_power")),
              "beta": (tb.beta_objective, ("beta",))}
MOST_IMAGES = math.prod(tb.DSprites.factor_sizes)
LATER = ("evaluate_every", "epsilon")  # options that checkpoints of version 0.1 lack
MAY_CHANGE = ("steps", "checkpoint_every", "evaluate_every", "data")  # when a run is resumed


def parse(parser):
    """The options given, by name; what was not given is absent."""
    def add(option, help="", **how):
        default = DEFAULTS.get(option.removeprefix("--").replace("-", "_"))
        parser.add_argument(option, help=f"{help} (default {spelled(default)})" if default is not None else help, **how)

    add("--steps", type=positive_int)
    add("--batch-size", type=positive_int)
    add("--learning-rate", type=schedule)
    add("--epsilon", "the optimizer's: what it adds to the root of the squared gradients' mean", type=schedule)
    add("--latents", type=positive_int)
    add("--seed", "of the weights, the images' order and the noise", type=seed)
    add("--objective", "capacity: gamma |KL - C| (Burgess et al.); beta: beta KL (Higgins et al.)", choices=OBJECTIVES)
    add("--gamma", type=schedule)
    add("--capacity", "C's last value", type=nonnegative_float, metavar="NATS")
    add("--anneal-steps", "steps in which C rises from 0", type=positive_int)
    add("--anneal-power", "C rises as (step / anneal-steps) to this power", type=positive_float)
    add("--beta", type=schedule)
    add("--preset", "published settings (seed: those of miyosuda's disentangled_vae; steps and batch size are ours "
                    "where a paper names none); other options override them", choices=PRESETS)
    add("--data", "DeepMind's dsprites .npz or .hdf5; without it, images are rendered on demand", type=path)
    add("--out", "folder for the results (default runs/dsprites)", type=path, metavar="FOLDER")
    add("--threads", "(default: all); the result does not depend on it", type=positive_int)
    add("--checkpoint-every", "steps between two checkpoints", type=positive_int, metavar="STEPS")
    add("--evaluate-every", "checkpoints between two evaluations; the last one is always evaluated", type=positive_int,
        metavar="CHECKPOINTS")
    add("--resume", f"go on with the run in --out; only {', '.join(MAY_CHANGE)} may change", action="store_true")
    return vars(parser.parse_args())


def configuration(base, preset, given):
    """Settings: those of `base`, overridden by a preset's, and these by the given ones, without other objectives'.

    Raises ValueError if one is given that belongs to another objective.
    """
    settings = {**base, **preset, **given}
    for objective, (_, names) in OBJECTIVES.items():
        for name in names:
            if objective != settings["objective"]:
                if name in given:
                    raise ValueError(f"--{name.replace('_', '-')} belongs to --objective {objective}, "
                                     f"not to {settings['objective']}")
                settings.pop(name, None)
    return settings


def fresh(out, preset, given):
    """A new run. Raises ValueError if `out` is in use, or for settings that contradict each other."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: give a folder")
    for file in out.glob("*"):
        if file.name == "checkpoint.h5":
            raise ValueError(f"--out {out} already holds a run: go on with it by --resume, or give another folder")
        if file.name in FILES or file.match("z[0-9]*.gif"):
            raise ValueError(f"--out {out} already holds a run's {file.name}, but no checkpoint.h5: "
                             f"give another folder")
    settings = configuration(DEFAULTS, preset, given)
    model = tb.BetaVAE(settings["latents"], settings["seed"], architecture=ARCHITECTURES[settings["architecture"]])
    optimizer = OPTIMIZERS[settings["optimizer"]](model.parameters, learning_rate=settings["learning_rate"],
                                                  epsilon=settings["epsilon"])
    rng = np.random.default_rng([settings["seed"], 1])  # another stream than the weights'
    return tb.Run(model, optimizer, rng, settings=settings)


def resumed(checkpoint, preset, given):
    """The run in a checkpoint. Raises ValueError if it was made with other settings, or not by this command."""
    run = tb.load(checkpoint)
    if run.optimizer is None:
        raise ValueError(f"{checkpoint} holds weights only: give another --out")
    for name in LATER:  # than version 0.1
        run.settings.setdefault(name, run.optimizer.settings.get(name))
    if not run.settings.keys() >= configuration(DEFAULTS, {}, {"objective": run.settings.get("objective")}).keys():
        raise ValueError(f"{checkpoint} was not made by this command: give another --out")
    settings = configuration(run.settings, preset, given)
    for name, value in settings.items():
        if name not in MAY_CHANGE and run.settings.get(name) != value:
            raise ValueError(f"{checkpoint} was made with {name} {spelled(run.settings.get(name))}, not "
                             f"{spelled(value)}: resume it without that option, or give another --out")
    if settings["steps"] < run.step:
        raise ValueError(f"{checkpoint} is at step {run.step} already: give --steps of at least that")
    run.settings = settings
    return run


def command(settings):
    """The command line that makes a run with these settings, every one spelled out."""
    shown = [f"--preset {settings['architecture']}"] if settings["architecture"] != DEFAULTS["architecture"] else []
    hidden = ("architecture", "optimizer", "checkpoint_every", "evaluate_every")
    shown += [f"--{name.replace('_', '-')} {shlex.quote(spelled(value))}" for name, value in settings.items()
              if name not in hidden and value is not None]
    return " ".join(["python examples/train_dsprites.py", *shown])


def main():
    parser = Parser(argument_default=argparse.SUPPRESS, description=__doc__, epilog="--gamma, --beta, --learning-rate "
                    "and --epsilon take a number or a schedule, step:value,step:value,...: straight in the value's "
                    "logarithm between two points, level beyond them.")
    given = parse(parser)
    out, resume = Path(given.pop("out", "runs/dsprites")), given.pop("resume", False)
    threads = given.pop("threads", numba.config.NUMBA_NUM_THREADS)
    preset = PRESETS.get(given.pop("preset", None), {})
    checkpoint = out / "checkpoint.h5"
    try:
        if threads > numba.config.NUMBA_NUM_THREADS:
            raise ValueError(f"--threads {threads}: at most {numba.config.NUMBA_NUM_THREADS} on this machine")
        numba.set_num_threads(threads)
        if resume and checkpoint.exists():
            run = resumed(checkpoint, preset, given)
        else:
            run = fresh(out, preset, given)
            if resume:
                print(f"nothing to resume in {out}: starting fresh")
        settings = run.settings
        sprites = tb.DSprites(settings["data"])
        if settings["batch_size"] > MOST_IMAGES:
            raise ValueError(f"--batch-size {settings['batch_size']}: at most the data set's {MOST_IMAGES} images")
        out.mkdir(parents=True, exist_ok=True)
        tb.save(run, checkpoint)  # before the first step: from here on, nothing is lost
    except (ValueError, MemoryError, OSError) as error:
        parser.error(str(error))

    def keep(run):
        every = settings["checkpoint_every"] * (settings["evaluate_every"] or math.inf)
        run.scores = [row for row in run.scores if row["step"] % every == 0 and row["step"] < run.step]
        if run.step >= settings["steps"] or run.step % every == 0:
            run.scores.append({"step": run.step, **tb.metrics.evaluate(run.model, sprites)})
        tb.save(run, checkpoint)
        measured.append(tb.write_report(run, sprites, out, command(settings)))

    measured = []
    print(f"{command(settings)} --out {shlex.quote(str(out))}\n{len(sprites)} images")
    objective, names = OBJECTIVES[settings["objective"]]
    start = time.perf_counter()
    try:
        finished = tb.train(run, sprites, objective(**{name: settings[name] for name in names}), settings["steps"],
                            settings["batch_size"], settings["checkpoint_every"], keep)
    except (ArithmeticError, MemoryError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}; the last checkpoint is {checkpoint}\n")

    print(f"\n{summary(measured[-1])}\n{(time.perf_counter() - start) / 60:.1f} minutes; see {out / 'report.html'}")
    if not finished:
        print(f"stopped early; go on with: python {shlex.join([*sys.argv, *([] if resume else ['--resume'])])}")
        sys.exit(130)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the first step, or a second one after it
        sys.exit(130)
