"""What a run and its latents have to say, as curves: each function draws a figure, in any `format` (`picture`).

D latents; `order` lists latents, most informative first.
"""

from numbers import Real

import numpy as np

from tinybvae.data.sprites import FACTOR_VALUES, SHAPES
from tinybvae.metrics import NAMES, UNUSED
from tinybvae.report.drawing import INK, PLAIN, Figure, bare, lay, picture, title_of

REACH = 3.0   # traversals run from −3 to 3 standard deviations of the prior
NAMED = 16    # latents, at most, that have their names beside the curves
COLUMNS = 5   # of a panel of diagrams
POINTS = 600  # of a curve, at most twice as many


@picture
def curves(run, order=None, labels=None, units=None, least=0.0):
    """A run's history: the reconstruction loss minus its least, and the price of a nat; the KL of each latent, one
    above the other up to their sum, and the capacity C if there is one; the share of each layer's units that no image
    of a batch switched on.

    A dotted line shows where most units were drawn anew. `labels`, in the order of `order`, for latents worth one;
    `units` {layer: how many}. All of these have defaults. Raises ValueError if the run has no history.
    """
    if not hasattr(run, "history"):
        raise ValueError(f"curves are those of a run, not of a {type(run).__name__}: tb.figures.curves(run)")
    history, columns = run.history, run.history_columns
    if not len(history):
        raise ValueError("this run has no history: it has made no step")
    last = dict(zip(columns, history[-1]))
    if order is None:
        order = sorted((d for d in range(len(columns)) if f"kl_z{d}" in last), key=lambda d: -last[f"kl_z{d}"])
    if labels is None:
        labels = [f"z{d} {last[f'kl_z{d}']:.2f} nats" for d in order if last[f"kl_z{d}"] >= UNUSED]
    if units is None:
        biases = {name: run.model.parameters.get(f"{name}.bias") for name in run.model.relus}
        units = {name: bias.size for name, bias in biases.items() if bias is not None}
    few = max(1, len(history) // POINTS)  # rows whose mean makes a point
    rows = np.reshape(history[:len(history) // few * few], (-1, few, len(columns))).mean(axis=1)
    series = dict(zip(columns, rows.T))
    step = series["step"]
    figure = Figure(figsize=(11, 4), layout="constrained")
    priced = np.isfinite(series["price"]).any()  # which a run of an older version is not, until it goes on
    loss, kl, off, *price = figure.subplot_mosaic("lko;pko" if priced else "lko", width_ratios=(3, 5, 3)).values()
    _loss(loss, step, series, least)
    for axis in price:
        axis.plot(step, series["price"], color=INK, lw=.8)
        axis.set_yscale("symlog", linthresh=.01)
        axis.set_title("price of a nat: the penalty's slope", fontsize=9)
    _nats(kl, step, series, order, labels)
    _off(off, step, series, units)
    for axis in (loss, *price, kl, off):
        for at in step[1:][np.diff(series["new_encoder"]) > 0][:1]:
            axis.axvline(at, color=INK, lw=.8, ls=":")
        axis.set_xlabel("step", fontsize=8)
        axis.locator_params("x", nbins=4)  # six digits beside six digits
        bare(axis, which="both")
    return figure


def _loss(axis, step, series, least):
    """The reconstruction loss, above its least."""
    above = series["reconstruction"] - least
    axis.plot(step, above, color=INK, lw=.8)
    if (above > 0).any():
        axis.set_yscale("log", nonpositive="mask", subs=(2, 5))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    axis.set_title("reconstruction loss" + (f" above its least, {least:.1f}" if least else "") + " (nats)", fontsize=9)


def _nats(axis, step, series, order, labels):
    """The KL of each latent, one above the other, and C."""
    each = [series[f"kl_z{d}"] for d in order]
    axis.stackplot(step, each, colors=[f"C{i % 10}" for i in range(len(each))], alpha=.75, lw=0)
    _cut(axis, step, np.sum(each, axis=0), series)
    height, place = axis.get_ylim()[1], -np.inf
    if len(labels) > NAMED:
        labels = [*labels[:NAMED], f"and {len(labels) - NAMED} more"]
    for values, top, label in zip(each, np.cumsum(each, axis=0), labels):
        place = max(top[-1] - values[-1] / 2, place + .05 * height)  # beside its area, and clear of the one below
        axis.annotate(label.replace("\n", " "), (step[-1], place), (4, 0), textcoords="offset points", fontsize=6,
                      va="center", color=INK, annotation_clip=False, **PLAIN)
    if np.isfinite(series["capacity"]).any():
        axis.plot(step, series["capacity"], color=INK, lw=1.2, ls="--", label="capacity C")
        axis.legend(fontsize=7, frameon=False)
    axis.set_title("KL (nats), latent by latent", fontsize=9)


def _cut(axis, step, kl, series):
    """If the KL once rose far above its last value, cut the axis off, and say how high it rose, and why."""
    end = np.nanmax([kl[-1], *series["capacity"][-1:]])
    if kl.max() <= max(1.5 * end, 5):
        return
    top, price = kl.argmax(), series["price"][kl.argmax()]
    axis.set_ylim(0, 1.4 * end)
    axis.annotate(f"up to {kl.max():.0f} nats" + (f",\nat a price of {price:.2g}" if np.isfinite(price) else ""),
                  (step[top], 1.4 * end), (5, -2), textcoords="offset points", fontsize=6, va="top", color=INK)


def _off(axis, step, series, units):
    """The share of each layer's units that no image of a batch switched on; the legend has room above the curves."""
    for i, (name, size) in enumerate(units.items()):
        axis.plot(step, 100 * series[f"off_{name}"] / size, lw=.8, label=name, color=f"C{i % 10}",
                  ls="-" if name.startswith("encoder") else ":")
    if units:
        axis.set_ylim(0, 1.4 * max(axis.get_ylim()[1], 1))
        axis.set_yticks([percent for percent in axis.get_yticks() if percent <= 100])
        axis.legend(fontsize=5, frameon=False, ncols=2, loc="upper center")
    axis.set_title("units that a batch does not switch on (%)", fontsize=9)


@picture
def scores(rows):
    """Each score in `rows`, of a run's `scores`, by step."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    drawn = [(name, row["step"], value) for row in rows if "step" in row for name, value in row.items()
             if isinstance(value, Real)]
    for name in dict.fromkeys(name for name, _, _ in drawn if name != "step"):
        axis.plot(*zip(*((step, value) for one, step, value in drawn if one == name)), "o-", ms=3, lw=1,
                  label=NAMES.get(name, name))
    axis.set_xlabel("step", fontsize=8)
    axis.set_title("scores", fontsize=9, color=INK)
    axis.legend(fontsize=6, frameon=False)
    bare(axis)
    return figure


@picture
def by_orientation(means, order, labels):
    """For each latent in `order`, its mean by the orientation of squares, ellipses and hearts, from
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
    return figure


@picture
def codes(labels, places, strips, lines=(), title=""):
    """What R latents say, a row each: their mean by place, their mean along factors, and their traversal.

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
        lay(last, strips[row][None], (), [f"{value:+.1f}" for value in np.linspace(-REACH, REACH, len(strips[row]))]
                if not row else ())
    for axis, (name, _, _, names) in zip(grid[0][1:], lines):
        axis.set_title(f"mean by {name}", fontsize=8, color=INK)
        if len(names) > 1:
            axis.legend(fontsize=5, frameon=False, ncols=len(names), handlelength=1, columnspacing=.8)
    grid[0][0].set_title("mean by place", fontsize=8, color=INK)
    bar = figure.colorbar(shown, ax=grid[:, 0], location="bottom", aspect=8, pad=.01)
    bar.ax.tick_params(labelsize=6)
    title_of(figure, title)
    return figure
