"""What a run is made with: the recipe, the published presets, and the options that change them.

Settings are a flat dict that JSON can hold: it goes into the checkpoint, onto the report and back into a command line.
"""

import shlex
from argparse import SUPPRESS

import numpy as np

from tinybvae.losses import beta_objective, capacity_objective
from tinybvae.optimizers import OPTIMIZERS
from tinybvae.runs.commandline import (as_text, parsed, path, positive_int, schedule, schedule_or_0, slope,
                                       thread_count, whole)
from tinybvae.runs.description import likelihood_of, likelihood_text
from tinybvae.schedule import value_at
from tinybvae.vae import ARCHITECTURES

STARTS = ("he", "uniform")
OBJECTIVES = {"capacity": (capacity_objective, ("gamma", "capacity", "width")),
              "beta": (beta_objective, ("beta",))}

COMMON = {"batch_size": 64, "latents": 10, "seed": 0, "objective": "capacity", "beta": 4.0, "width": 0.0,
          "architecture": "burgess2018", "likelihood": "bernoulli", "start": "he", "negative_slope": 0.0,
          "optimizer": "Adam", "new_encoder": 0, "data": None, "checkpoint_every": 1000, "evaluate_every": None,
          "film": None}

# Published settings. Steps, and the batch size, are ours where a paper names none.
BURGESS2018 = {"steps": 100_000, "learning_rate": 5e-4, "eps": 1e-8, "gamma": 1000.0,
               "capacity": schedule_or_0("0:0,100000:25")}
MIYOSUDA = {**BURGESS2018, "steps": 150_000, "gamma": 100.0, "capacity": schedule_or_0("0:0,100000:20"),
            "start": "uniform"}  # github.com/miyosuda/disentangled_vae
HIGGINS2017 = {"steps": 100_000, "learning_rate": 1e-2, "eps": 1e-10, "objective": "beta", "beta": 4.0,
               "architecture": "higgins2017", "optimizer": "Adagrad"}

# What holds without a preset, phase by phase. Within a phase, nothing changes but C and, in the last phase, the rate,
# each in a straight line; examples/README.md says what each phase is for.
NEW_ENCODER = 4500
PHASES = [  # until step, γ, width in nats, C in nats from and to, rate from and to, eps
    (600, 100.0, 0.0, (0.0, 0.0), (4e-3, 4e-3), 1.0),         # two latents open, for where the sprite is
    (NEW_ENCODER, 100.0, 3.0, (0.0, 4.0), (2e-3, 2e-3), .1),  # they turn onto the axes of x and y; scale joins them
    (8500, .05, 3.0, (0.0, 0.0), (5e-4, 5e-4), .03),          # new units learn everything else, in no order
    (10_000, 20.0, 3.0, (6.0, 6.0), (5e-4, 5e-4), .03),       # x, y and scale are put in order, the rest nearly shut
    (14_500, 20.0, 3.0, (6.0, 15.0), (5e-4, 5e-4), .03),      # it opens again, one latent after the other
    (28_000, 20.0, 3.0, (15.0, 15.0), (5e-4, 3e-5), .03)]     # the rate falls, and the pictures become sharp


def recipe(phases):
    """These phases as settings: schedules with a point at the first and at the last step of each phase."""
    ends, gamma, width, capacity, rate, eps = zip(*phases)

    def joined(values):
        points = [[float(step), value] for start, end, (first, last) in zip((0, *ends), ends, values)
                  for step, value in ((start, first), (end - 1, last))]
        level = [before[1] == value == after[1] for before, (_, value), after in
                 zip(points, points[1:], [*points[2:], points[-1]])]
        return [point for point, between in zip(points, [False, *level]) if not between]

    constant = {name: joined([(value, value) for value in values])
                for name, values in (("gamma", gamma), ("width", width), ("eps", eps))}
    return {"steps": ends[-1], **constant, "capacity": joined(capacity), "learning_rate": joined(rate),
            "new_encoder": NEW_ENCODER, "negative_slope": .1}


RECIPE = recipe(PHASES)
DEFAULTS = {**COMMON, **RECIPE}
CHOICES = {"objective": OBJECTIVES, "architecture": ARCHITECTURES, "optimizer": OPTIMIZERS, "start": STARTS}
MADE_FOR = "objective", "gamma", "capacity", "width", "architecture", "likelihood", "optimizer"

# The same for 100,000 steps, in which C goes on to 22: the trained model in examples/pretrained.
SHARP = recipe([*PHASES[:-1],
                (90_000, 20.0, 3.0, (15.0, 22.0), (5e-4, 5e-4), .03),    # so do the pictures, and latents open
                (100_000, 20.0, 3.0, (22.0, 22.0), (5e-4, 3e-5), .03)])
PRESETS = {"sharp": SHARP, "miyosuda": MIYOSUDA, "burgess2018": BURGESS2018, "higgins2017": HIGGINS2017}

# What the settings of earlier versions do not have.
LATER = {"evaluate_every": None, "start": "he", "negative_slope": 0.0, "likelihood": "bernoulli", "width": 0.0,
         "new_encoder": 0, "film": None}
MAY_CHANGE = ("steps", "checkpoint_every", "evaluate_every", "film", "data")  # when a run is resumed

PRESETS_HELP = (
    "sharp: the recipe with a longer last phase, for sharper pictures; miyosuda and burgess2018: gamma |KL - C| and "
    "convolutions, as published, C rising to 20 and 25 nats; higgins2017: beta = 4, fully connected, Adagrad. Steps "
    "and batch size are ours where a paper names none. Options override a preset (default: the recipe, which "
    "--objective, --gamma, --capacity, --width, --architecture, --likelihood or --optimizer switch off)")


def add_options(parser):
    """Give an ArgumentParser an option for each setting, absent unless given; --preset, --out, --threads, --resume."""
    add_settings(parser)
    parser.add_argument("--preset", choices=PRESETS, help=PRESETS_HELP)
    parser.add_argument("--film", type=positive_int, metavar="STEPS", default=SUPPRESS, help="steps between two frames "
                        "of film.gif, in which the latents' traversals grow (default: no film)")
    parser.add_argument("--out", type=path, default="runs/dsprites", metavar="FOLDER",
                        help="for the results (default: %(default)s)")
    parser.add_argument("--threads", type=thread_count, default=thread_count(), help="the result does not depend on it "
                        "(default: all)")
    parser.add_argument("--resume", action="store_true",
                        help="go on with the run in --out; --learning-rate, from here on, and "
                        f"{', '.join(MAY_CHANGE)} may change")


def add_settings(parser, **each):
    """Give an ArgumentParser an option for each setting, absent unless given; `each` goes to all of them."""
    def add(name, kind, help="", **how):
        default, plain = DEFAULTS[name], {**BURGESS2018, **COMMON}[name]
        said = "the recipe's schedule" if isinstance(default, list) else as_text(default)
        if default != plain:
            said += f"; if the recipe is off, {as_text(plain).removesuffix('.0')}"
        help += f" (default: {said})" * (default is not None)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=help.strip(), default=SUPPRESS,
                            **how, **each)

    add("steps", positive_int, "updates of the weights, a batch each")
    add("batch_size", positive_int, "images in a batch")
    add("learning_rate", schedule, "the optimizer's")
    add("eps", schedule, "the optimizer's: what it adds to the root of the squared gradients' mean")
    add("architecture", str, "the two networks: convolutions (Burgess et al.), or fully connected (Higgins et al.)",
        choices=ARCHITECTURES)
    add("latents", positive_int, "numbers in the code of an image")
    add("likelihood", likelihood, "p(x|z): bernoulli, for black and white; gaussian:SIGMA, such as gaussian:0.1, for "
        "grays and colours", metavar="{bernoulli,gaussian:SIGMA}")
    add("optimizer", str, "Adam (Burgess et al.), or Adagrad (Higgins et al.)", choices=OPTIMIZERS)
    add("seed", whole, "of the weights, the images' order and the noise")
    add("start", str, "he: normal weights (He et al.), biases 0; uniform: both within 1/sqrt(fan_in)", choices=STARTS)
    add("negative_slope", slope, "of the ReLUs, where their input is below 0")
    add("new_encoder", whole, "the step before which most units, of the decoder too, are drawn anew; 0: none",
        metavar="STEP")
    add("objective", str, "capacity: gamma |KL - C| (Burgess et al.); beta: beta KL (Higgins et al.)",
        choices=OBJECTIVES)
    add("gamma", schedule_or_0, "how strongly the KL is held near C")
    add("capacity", schedule_or_0, "C, in nats: how much the code may say of an image")
    add("width", schedule_or_0, "in nats: how far the corner of gamma |KL - C| is rounded")
    add("beta", schedule_or_0, "with --objective beta, the weight of the KL: 1 makes a plain VAE")
    add("data", path, "a .npz or .hdf5 of images, DeepMind's dsprites or your own (tinybvae/data/images.py says how "
        "they are stored; default: dSprites, rendered on demand)")
    add("checkpoint_every", positive_int, "steps between two checkpoints", metavar="STEPS")
    add("evaluate_every", positive_int, "checkpoints between two evaluations (default: only the last one)",
        metavar="CHECKPOINTS")


def likelihood(text):
    return parsed(lambda text: likelihood_text(likelihood_of(text)), text, lambda _: True,
                  "bernoulli or gaussian:SIGMA, such as gaussian:0.1, SIGMA from 1e-6 to 1e6")


def given_settings(options):
    """The settings that were given among parsed options."""
    return {name: value for name, value in vars(options).items() if name in DEFAULTS}


def configure(given, preset=None):
    """All settings of a new run: the given ones, and the preset's for the others.

    Without a preset the others are the recipe's. Its parts are made for each other: if a setting of MADE_FOR differs
    from the recipe's, the others are BURGESS2018's. Raises ValueError as `merged` does.
    """
    if preset not in (None, *PRESETS):
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    own = all(given.get(name, DEFAULTS[name]) == DEFAULTS[name] for name in MADE_FOR)
    return merged({**BURGESS2018, **COMMON, **(PRESETS[preset] if preset else RECIPE if own else {})}, given)


def merged(settings, given):
    """Settings overridden by the given ones, without those of other objectives.

    Raises ValueError for a setting that does not exist or belongs to another objective, and for a value that is not one
    of the choices.
    """
    unknown = given.keys() - DEFAULTS.keys()
    if unknown:
        raise ValueError(f"there is no setting {', '.join(sorted(unknown))}: they are {', '.join(DEFAULTS)}")
    settings = {**settings, **given}
    for name, choices in CHOICES.items():
        if settings[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {settings[name]!r}")
    if not isinstance(settings["new_encoder"], (int, np.integer)) or settings["new_encoder"] < 0:
        raise ValueError(f"new_encoder must be a step, or 0 for none, not {settings['new_encoder']!r}")
    for objective, (_, names) in OBJECTIVES.items():
        for name in names:
            if objective != settings["objective"]:
                if name in given:
                    raise ValueError(f"--{name.replace('_', '-')} belongs to --objective {objective}, "
                                     f"not to {settings['objective']}")
                settings.pop(name, None)
    return settings


def objective_of(settings):
    """The objective (kl, step) -> (penalty, slope) that settings describe."""
    make, names = OBJECTIVES[settings["objective"]]
    return make(**{name: settings[name] for name in names})


def command(settings):
    """The command line that makes a run with these settings, every one spelled out."""
    shown = [option(name, value) for name, value in settings.items() if value is not None]
    return " ".join(["python examples/train_dsprites.py", *shown])


def option(name, value):
    """An option and its value, as a shell and `add_options` read them."""
    text = shlex.quote(as_text(value))
    return f"--{name.replace('_', '-')}{'=' if text.startswith('-') else ' '}{text}"


def changed(schedule, new, step):
    """The schedule as it was before a step, and the new one from there on; itself if nothing changes."""
    def points(schedule):
        return schedule if isinstance(schedule, list) else [[0.0, schedule]]

    def rest(schedule):
        return [[float(step), value_at(schedule, step)], *([at, value] for at, value in points(schedule) if at > step)]

    if rest(schedule) == rest(new):
        return schedule
    past = [[at, value] for at, value in points(schedule) if at < step - 1]
    return [*past, [step - 1.0, value_at(schedule, step - 1)], *rest(new)] if step else new


def with_later(settings):
    """Settings as an earlier version wrote them, completed by those that it did not have yet, LATER."""
    others = {name for objective, (_, names) in OBJECTIVES.items() if objective != settings.get("objective")
              for name in names}
    return {**settings, **{name: value for name, value in LATER.items() if name not in settings.keys() | others}}
