"""What a model draws: reconstructions, samples, traversals. Each function returns a file's bytes, or a Figure.

`format` is "png", "svg", "pdf" or another of matplotlib's, or None for matplotlib's Figure. The bytes are a `Picture`,
which a notebook shows. D latents; `order` lists latents, most informative first. Pictures are what a likelihood shows,
black 0 to white 1.
"""

import textwrap
from itertools import zip_longest

import imageio.v3 as imageio
import numpy as np

from tinybvae.data.sprites import SIZE
from tinybvae.report.diagrams import COLUMNS, REACH, by_orientation, codes, curves, scores
from tinybvae.report.drawing import (INK, PLAIN, Figure, FigureCanvasAgg, Picture, lay, picture, require_gray_or_rgb,
                                     styled, title_of)

FRAMES = 25   # of a GIF, one way
GIF_MS = 80   # milliseconds a frame
GRAYS = 32    # few, for small files
LABEL = 44    # pixels, the height of a GIF's labels


def require_model(model):
    """Raise ValueError for a run: it has a model, and is none."""
    if hasattr(model, "model"):
        raise ValueError("this draws a model, not a run: give run.model")


def traverse(model, mean, latent, values):
    """Pictures (len(values), height, width, channels) decoded from `mean` (D,) with one latent set to each value."""
    require_model(model)
    z = np.tile(mean, (len(values), 1))
    z[:, latent] = values
    return model.likelihood.picture(model.decode(z))


def strip(model, mean, latent):
    """Seven pictures, decoded from `mean` with one latent from −3 to 3, as `codes` shows them."""
    return traverse(model, mean, latent, np.linspace(-REACH, REACH, 7))


@picture
def factors(sprites, classes=(2, 4, 3, 16, 16), columns=8):
    """A row for each factor of `DSprites`, from its first class to its last, the other factors at `classes`."""
    rows = []
    for factor, size in enumerate(sprites.factor_sizes):
        row = np.tile(classes, (min(columns, size), 1))
        row[:, factor] = np.linspace(0, size - 1, len(row)).round()
        blank = np.ones((columns - len(row), SIZE, SIZE, 1))
        rows.append(np.concatenate([sprites.images(sprites.index(row)), blank]))
    labels = [f"{name}\n{size} classes" for name, size in zip(sprites.factor_names, sprites.factor_sizes)]
    figure = Figure(figsize=(.75 * columns + 1.2, .75 * len(rows)), layout="constrained")
    lay(figure.subplots(), rows, labels)
    return figure


@picture
def mosaic(rows, row_labels=(), column_labels=(), title=""):
    """Pictures (rows, columns, height, width, channels), with labels beside and above them."""
    figure = Figure(figsize=(.75 * len(rows[0]) + 1.2, .75 * len(rows) + .3), layout="constrained")
    lay(figure.subplots(), rows, row_labels, column_labels)
    title_of(figure, title)
    return figure


@picture
def reconstructions(model, images, z=None):
    """Three panels: images (N, …), what their posterior means decode to, and what z (M, D) decodes to.

    Without z there are as many draws from the prior as images, the same each time.
    """
    require_model(model)
    z = np.random.default_rng(0).standard_normal((len(images), model.latents)) if z is None else z
    picture = model.likelihood.picture
    panels = {"images": images, "reconstructions": picture(model.decode(model.encode(images)[0])),
              "samples from the prior": picture(model.decode(z))}
    figure = Figure(figsize=(9.6, .6 * -(-max(len(images), len(z)) // COLUMNS) + .3), layout="constrained")
    for axis, (title, pictures) in zip(figure.subplots(1, 3), panels.items()):
        blank = np.ones((-len(pictures) % COLUMNS, *pictures.shape[1:]))
        lay(axis, np.concatenate([pictures, blank]).reshape(-1, COLUMNS, *pictures.shape[1:]))
        axis.set_title(title, fontsize=9, color=INK)
    return figure


def traversals(model, means, order=None, labels=None, **how):
    """A row for each latent, from −3 to 3, the others at `means` (D,), or (rows, D) if each row has its own.

    `labels` in the order of the rows. Without `order`, all latents in theirs. `how`: as `mosaic` takes it.
    """
    order = range(np.shape(means)[-1]) if order is None else order
    labels = [f"z{d}" for d in order] if labels is None else labels
    means = np.broadcast_to(means, (len(order), np.shape(means)[-1]))
    values = np.linspace(-REACH, REACH, 11)
    return mosaic([traverse(model, mean, latent, values) for mean, latent in zip(means, order)], labels,
                  [f"{value:+.1f}" for value in values], **how)


def decodings(model, across=0, down=1, mean=None, pictures=11, **how):
    """A grid: what latent `across` does from left to right and latent `down` from top to bottom, from −3 to 3.

    The others, if there are any, are at `mean` (D,), or 0. `how`: as `mosaic` takes it.
    """
    require_model(model)
    if across == down or not {across, down} <= {*range(model.latents)}:
        raise ValueError(f"across and down must be two of the latents 0 to {model.latents - 1}, "
                         f"not {across} and {down}")
    values = np.linspace(-REACH, REACH, pictures)
    z = np.tile(np.zeros(model.latents) if mean is None else mean, (pictures, pictures, 1))
    z[:, :, across], z[:, :, down] = values, values[:, None]
    names = [f"{value:+.1f}" for value in values]
    drawn = model.likelihood.picture(model.decode(z.reshape(-1, model.latents)))
    return mosaic(drawn.reshape(pictures, pictures, *drawn.shape[1:]), names, names,
                  **{"title": f"z{across} to the right, z{down} down", **how})


def interpolation(model, start, end, pictures=9, **how):
    """Two rows, from one image (height, width, channels) to another: on a line between their codes, and between pixels.

    `how`: as `mosaic` takes it.
    """
    require_model(model)
    if not np.ndim(start) == np.ndim(end) == 3:
        raise ValueError(f"start and end are one image each, (height, width, channels), not {np.shape(start)} and "
                         f"{np.shape(end)}")
    part = np.linspace(0, 1, pictures)[:, None]
    means, _ = model.encode(np.stack([start, end]))
    codes = model.likelihood.picture(model.decode((1 - part) * means[0] + part * means[1]))
    pixels = (1 - part[..., None, None]) * start + part[..., None, None] * end
    return mosaic([codes, pixels], ["codes", "pixels"], **how)


@styled
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
    return Picture(imageio.imwrite("<bytes>", film + film[-2:0:-1], extension=".gif", duration=GIF_MS, loop=0))


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
        above = caption(label, frames.shape[2])[..., None]
        frames = np.concatenate([np.broadcast_to(above, (len(frames), *above.shape[:2], colours)), frames], axis=1)
    return shades(frames)


def shades(pictures):
    """Pictures (…, channels) in few shades, as integers, for small files; without the last axis if they are gray."""
    pictures = (np.round(pictures * (GRAYS - 1)) * (255 / (GRAYS - 1))).astype(np.uint8)
    return pictures if pictures.shape[-1] == 3 else pictures[..., 0]


def caption(label, width):
    """White on black, in the middle of a strip (LABEL, width) of numbers from 0 to 1."""
    figure = Figure(figsize=(width / 100, LABEL / 100), dpi=100, facecolor="black")
    label = "\n".join("\n".join(textwrap.wrap(line, max(9, width // 6))) for line in label.split("\n"))
    figure.text(.5, .5, label, color="white", fontsize=8, linespacing=1.1, ha="center", va="center", **PLAIN)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] / 255
