"""What a run looks like: reconstructions, traversals, curves. Each function returns the bytes of a PNG or a GIF.

D latents; `order` lists latents, most informative first. Pictures are what a likelihood shows, black 0 to white 1.
"""

import gc
import io
import os
import sys
import textwrap
from contextlib import suppress
from itertools import zip_longest
from numbers import Real

import imageio.v3 as imageio
import numpy as np

BACKEND = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
import matplotlib  # noqa: E402
from matplotlib import style  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

if BACKEND:  # matplotlib itself would end here if it names one that is not installed, such as a notebook's
    os.environ["MPLBACKEND"] = BACKEND
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = BACKEND

from tinybvae.data.sprites import FACTOR_VALUES, SHAPES, SIZE
from tinybvae.kernels.threads import alone
from tinybvae.metrics import NAMES

REACH = 3.0   # traversals run from −3 to 3 standard deviations of the prior
FRAMES = 25   # of a GIF, one way
GIF_MS = 80   # milliseconds a frame
GRAYS = 32    # few, for small files
NAMED = 16    # latents, at most, that have their names beside the curves
LABEL = 44    # pixels, the height of a GIF's labels
PLAIN = {"parse_math": False}  # of a factor's name, which may have dollar signs
COLUMNS = 5   # of a GIF of several latents, and of a panel of pictures
POINTS = 600  # of a curve, at most twice as many
INK = "#222222"


def picture(function):
    """A decorator: the function draws in matplotlib's default style, and the user's own style stays as it was."""
    return alone(style.context("default", after_reset=True)(function))


def traverse(model, mean, latent, values):
    """Pictures (len(values), height, width, channels) decoded from `mean` (D,) with one latent set to each value."""
    z = np.tile(mean, (len(values), 1))
    z[:, latent] = values
    return model.likelihood.picture(model.decode(z))


def strip(model, mean, latent):
    """Seven pictures, decoded from `mean` with one latent from −3 to 3, as `codes` shows them."""
    return traverse(model, mean, latent, np.linspace(-REACH, REACH, 7))


@picture
def factors(sprites, classes=(2, 4, 3, 16, 16), columns=8):
    """PNG: a row for each factor of `DSprites`, from its first class to its last, the other factors at `classes`."""
    rows = []
    for factor, size in enumerate(sprites.factor_sizes):
        row = np.tile(classes, (min(columns, size), 1))
        row[:, factor] = np.linspace(0, size - 1, len(row)).round()
        blank = np.ones((columns - len(row), SIZE, SIZE, 1))
        rows.append(np.concatenate([sprites.images(sprites.index(row)), blank]))
    labels = [f"{name}\n{size} classes" for name, size in zip(sprites.factor_names, sprites.factor_sizes)]
    figure = Figure(figsize=(.75 * columns + 1.2, .75 * len(rows)), layout="constrained")
    _mosaic(figure.subplots(), rows, labels)
    return png(figure)


@picture
def mosaic(rows, row_labels=(), column_labels=(), title=""):
    """PNG: pictures (rows, columns, height, width, channels), with labels beside and above them."""
    figure = Figure(figsize=(.75 * len(rows[0]) + 1.2, .75 * len(rows) + .3), layout="constrained")
    _mosaic(figure.subplots(), rows, row_labels, column_labels)
    _title(figure, title)
    return png(figure)


@picture
def reconstructions(model, images, z):
    """PNG of three panels: images (N, …), what their posterior means decode to, and what z (M, D) decodes to.

    N and M are multiples of COLUMNS.
    """
    picture = model.likelihood.picture
    panels = {"images": images, "reconstructions": picture(model.decode(model.encode(images)[0])),
              "samples from the prior": picture(model.decode(z))}
    figure = Figure(figsize=(9.6, .6 * max(len(images), len(z)) / COLUMNS + .3), layout="constrained")
    for axis, (title, pictures) in zip(figure.subplots(1, 3), panels.items()):
        _mosaic(axis, pictures.reshape(-1, COLUMNS, *pictures.shape[1:]))
        axis.set_title(title, fontsize=9, color=INK)
    return png(figure)


def traversals(model, means, order, labels):
    """PNG: a row for each latent, from −3 to 3, the others at `means` (D,), or (rows, D) if each row has its own.

    `labels` in the order of the rows.
    """
    values = np.linspace(-REACH, REACH, 11)
    means = np.broadcast_to(means, (len(order), np.shape(means)[-1]))
    return mosaic([traverse(model, mean, latent, values) for mean, latent in zip(means, order)], labels,
                  [f"{value:+.1f}" for value in values])


@picture
def by_orientation(means, order, labels):
    """PNG: for each latent in `order`, its mean by the orientation of squares, ellipses and hearts, from
    `latents.by_orientation`.

    The mean of a latent that turns a shape makes one wave for each turn after which the shape looks as before: four for
    a square, two for an ellipse, one for a heart; or more, if two or more latents together say how it is turned.
    """
    rows = -(-max(len(order), 1) // COLUMNS)
    figure = Figure(figsize=(11, 1.6 * rows + .5), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat
    for axis in axes[len(order):]:
        axis.set_visible(False)
    for axis, latent, label in zip(axes, order, labels):
        for shape, mean in zip(SHAPES, means[latent]):
            axis.plot(np.degrees(FACTOR_VALUES[2]), mean, lw=1, label=shape)
        axis.set_title(label.split("\n")[0], fontsize=8, color=INK, **PLAIN)
        axis.set_xticks(range(0, 361, 90))
        bare(axis, labelbottom=True)
    if len(order):
        axes[0].legend(fontsize=6, frameon=False, loc="upper right")
    figure.supxlabel("orientation (°)", fontsize=8)
    figure.supylabel("mean of the latent", fontsize=8)
    return png(figure)


@picture
def codes(labels, places, strips, lines=(), title=""):
    """PNG: what R latents say, a row each: their mean by place, their mean along factors, and their traversal.

    `places` (R, x, y), on one scale of colours; `strips`, R of `strip`; `lines` (name of a factor, its values (V,),
    means (R, L, V), names of the L lines), on one scale.
    """
    rows = len(labels)
    figure = Figure(figsize=(1.2 + 1.3 * len(lines) + .75 * len(strips[0]), 1.0 * rows + .6), layout="constrained")
    grid = figure.subplots(rows, 2 + len(lines), squeeze=False,
                           width_ratios=(1, *[1.3] * len(lines), .75 * len(strips[0])))
    reach = 1.05 * max([REACH, *(np.abs(means).max() for _, _, means, _ in lines)])
    for row, (first, *middle, last) in enumerate(grid):
        shown = first.imshow(places[row].T, cmap="coolwarm", vmin=-REACH, vmax=REACH)
        first.set_xticks([])
        first.set_yticks([len(places[row].T) / 2], [labels[row]], fontsize=7, color=INK, **PLAIN)
        first.tick_params(length=0)
        for axis, (_, values, means, names) in zip(middle, lines):
            for line, mean in zip(names, means[row]):
                axis.plot(values, mean, lw=1, label=line)
            axis.set_ylim(-reach, reach)
            bare(axis, labelsize=6, labelbottom=row == rows - 1)
        _mosaic(last, strips[row][None], (), [f"{value:+.1f}" for value in np.linspace(-REACH, REACH, len(strips[row]))]
                if not row else ())
    for axis, (name, _, _, names) in zip(grid[0][1:], lines):
        axis.set_title(f"mean by {name}", fontsize=8, color=INK)
        if len(names) > 1:
            axis.legend(fontsize=5, frameon=False, ncols=len(names), handlelength=1, columnspacing=.8)
    grid[0][0].set_title("mean by place", fontsize=8, color=INK)
    bar = figure.colorbar(shown, ax=grid[:, 0], location="bottom", aspect=8, pad=.01)
    bar.ax.tick_params(labelsize=6)
    _title(figure, title)
    return png(figure)


@picture
def traversal_gif(model, means, latents, labels=()):
    """GIF: latents side by side, COLUMNS in a row, each going from −3 to 3 and back, with a slider that shows where.

    The other latents are at `means`, as in `traversals`. `labels`, in the order of `latents`, stand above them.
    """
    values = np.linspace(-REACH, REACH, FRAMES)
    means = np.broadcast_to(means, (len(latents), np.shape(means)[-1]))
    films = [_film(traverse(model, mean, latent, values), values, label)
             for mean, latent, label in zip_longest(means, latents, labels)]
    films += [np.zeros_like(films[0])] * (-len(films) % min(COLUMNS, len(films)))
    rows = [np.concatenate(films[i:i + COLUMNS], axis=2) for i in range(0, len(films), COLUMNS)]
    film = list(np.concatenate(rows, axis=1))
    return imageio.imwrite("<bytes>", film + film[-2:0:-1], extension=".gif", duration=GIF_MS, loop=0)


@picture
def curves(history, columns, order, labels, units, least=0.0):
    """PNG: the reconstruction loss minus its least, and the price of a nat; the KL of each latent, one above the other
    up to their sum, and the capacity C if there is one; the share of each layer's units that no image of a batch
    switched on.

    A dotted line shows where most units were drawn anew. `order` and `labels` as in `traversals`, for latents worth a
    label; `units` {layer: how many}.
    """
    few = max(1, len(history) // POINTS)  # rows whose mean makes a point
    rows = np.reshape(history[:len(history) // few * few], (-1, few, len(columns))).mean(axis=1)
    series = dict(zip(columns, rows.T))
    step = series["step"]
    figure = Figure(figsize=(11, 4), layout="constrained")
    priced = np.isfinite(series["price"]).any()  # which a run of an older version is not, until it goes on
    loss, kl, off, *price = figure.subplot_mosaic("lko;pko" if priced else "lko", width_ratios=(3, 5, 3)).values()
    above = series["reconstruction"] - least
    loss.plot(step, above, color=INK, lw=.8)
    if (above > 0).any():
        loss.set_yscale("log", nonpositive="mask")
    loss.set_title("reconstruction loss" + (f" above its least, {least:.1f}" if least else "") + " (nats)", fontsize=9)

    for axis in price:
        axis.plot(step, series["price"], color=INK, lw=.8)
        axis.set_yscale("symlog", linthresh=.01)
        axis.set_title("price of a nat: the penalty's slope", fontsize=9)

    each = [series[f"kl_z{d}"] for d in order]
    kl.stackplot(step, each, colors=[f"C{i % 10}" for i in range(len(each))], alpha=.75, lw=0)
    _cut(kl, step, np.sum(each, axis=0), series)
    height, place = kl.get_ylim()[1], -np.inf
    if len(labels) > NAMED:
        labels = [*labels[:NAMED], f"and {len(labels) - NAMED} more"]
    for values, top, label in zip(each, np.cumsum(each, axis=0), labels):
        place = max(top[-1] - values[-1] / 2, place + .05 * height)  # beside its area, and clear of the one below
        kl.annotate(label.replace("\n", " "), (step[-1], place), (4, 0), textcoords="offset points", fontsize=6,
                    va="center", color=INK, annotation_clip=False, **PLAIN)
    if np.isfinite(series["capacity"]).any():
        kl.plot(step, series["capacity"], color=INK, lw=1.2, ls="--", label="capacity C")
        kl.legend(fontsize=7, frameon=False)
    kl.set_title("KL (nats), latent by latent", fontsize=9)

    for i, (name, size) in enumerate(units.items()):
        off.plot(step, 100 * series[f"off_{name}"] / size, lw=.8, label=name, color=f"C{i % 10}",
                 ls="-" if name.startswith("encoder") else ":")
    if units:
        off.legend(fontsize=5, frameon=False, ncols=2)
    off.set_title("units that a batch does not switch on (%)", fontsize=9)
    for axis in (loss, *price, kl, off):
        for at in step[1:][np.diff(series["new_encoder"]) > 0][:1]:
            axis.axvline(at, color=INK, lw=.8, ls=":")
        axis.set_xlabel("step", fontsize=8)
        bare(axis, which="both")
    return png(figure)


@picture
def scores(rows):
    """PNG: each score in `rows`, of a run's `scores`, by step."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    drawn = [(name, row["step"], value) for row in rows for name, value in row.items() if isinstance(value, Real)]
    for name in dict.fromkeys(name for name, _, _ in drawn if name != "step"):
        axis.plot(*zip(*((step, value) for one, step, value in drawn if one == name)), "o-", ms=3, lw=1,
                  label=NAMES.get(name, name))
    axis.set_xlabel("step", fontsize=8)
    axis.set_title("scores", fontsize=9, color=INK)
    axis.legend(fontsize=6, frameon=False)
    bare(axis)
    return png(figure)


def _cut(axis, step, kl, series):
    """If the KL once rose far above its last value, cut the axis off, and say how high it rose, and why."""
    end = np.nanmax([kl[-1], *series["capacity"][-1:]])
    if kl.max() <= max(1.5 * end, 5):
        return
    top, price = kl.argmax(), series["price"][kl.argmax()]
    axis.set_ylim(0, 1.4 * end)
    axis.annotate(f"up to {kl.max():.0f} nats" + (f",\nat a price of {price:.2g}" if np.isfinite(price) else ""),
                  (step[top], 1.4 * end), (5, -2), textcoords="offset points", fontsize=6, va="top", color=INK)


def bare(axis, **ticks):
    """Take away the frame of a diagram at the top and on the right; make its ticks small, with these `tick_params`."""
    axis.tick_params(**{"labelsize": 7, **ticks})
    axis.spines[["top", "right"]].set_visible(False)


def _title(figure, title):
    if title:
        figure.suptitle(title, fontsize=9, color=INK, **PLAIN)


def _mosaic(axis, pictures, row_labels=(), column_labels=()):
    """Draw pictures (rows, columns, height, width, channels): gray, or colour if there are three channels."""
    pictures = np.pad(pictures, ((0, 0), (0, 0), (0, 4), (0, 4), (0, 0)), constant_values=1)
    rows, columns, height, width, channels = pictures.shape
    require_gray_or_rgb(channels)
    for row, top in zip(pictures, range(0, rows * height, height)):  # one by one: one large image costs much
        row = np.concatenate(row, axis=1)
        axis.imshow(row if channels == 3 else row[..., 0], cmap="gray", vmin=0, vmax=1,
                    extent=(0, columns * width, top + height, top))
    axis.set_ylim(rows * height, 0)
    axis.set_yticks((np.arange(len(row_labels)) + .5) * height, row_labels, fontsize=7, color=INK, **PLAIN)
    axis.set_xticks((np.arange(len(column_labels)) + .5) * width, column_labels, fontsize=7, color=INK)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)


def require_gray_or_rgb(channels):
    """Raise ValueError unless pictures have 1 channel or 3: a fourth may be transparency."""
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 channel or 3, not {channels}")


def _film(pictures, values, label):
    """Frames, twice as large as the pictures, bordered; below, a slider at the value; above, the label.

    In GRAYS shades of gray, or as many of each colour.
    """
    width, colours = pictures.shape[2:]
    require_gray_or_rgb(colours)
    frames = np.pad(pictures, ((0, 0), (0, 4), (1, 1), (0, 0)), constant_values=.25)
    for frame, value in zip(frames, values):
        place = 1 + round((value + REACH) / (2 * REACH) * (width - 1))
        frame[-3:-1, max(0, place - 1):place + 2] = 1
    frames = frames.repeat(2, axis=1).repeat(2, axis=2)
    if label is not None:
        above = _text(label, frames.shape[2])[..., None]
        frames = np.concatenate([np.broadcast_to(above, (len(frames), *above.shape[:2], colours)), frames], axis=1)
    frames = (np.round(frames * (GRAYS - 1)) * (255 / (GRAYS - 1))).astype(np.uint8)
    return frames if colours == 3 else frames[..., 0]


def _text(label, width):
    """White on black, in the middle of a strip (LABEL, width) of numbers from 0 to 1."""
    figure = Figure(figsize=(width / 100, LABEL / 100), dpi=100, facecolor="black")
    label = "\n".join("\n".join(textwrap.wrap(line, max(9, width // 6))) for line in label.split("\n"))
    figure.text(.5, .5, label, color="white", fontsize=8, linespacing=1.1, ha="center", va="center", **PLAIN)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] / 255


def png(figure):
    """The bytes of a PNG of a matplotlib Figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", pad_inches=.05)
    figure.clear()
    gc.collect(1)  # a figure's parts refer to each other: else megabytes wait until Python looks through old objects
    return buffer.getvalue()
