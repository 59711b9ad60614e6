"""What a run looks like: reconstructions, traversals, curves. Each function returns the bytes of a PNG or a GIF.

D latents; `order` lists latents, most informative first. Pictures hold p(x|z) of each pixel, black 0 to white 1.
"""

import gc
import io

import imageio.v3 as imageio
import numpy as np
from matplotlib.figure import Figure

from tinybvae.losses import sigmoid

REACH = 3.0   # traversals run from −3 to 3 standard deviations of the prior
FRAMES = 25   # of a GIF, one way
GIF_MS = 80   # milliseconds a frame
GRAYS = 32    # few, for small files
INK = "#222222"


def traverse(model, mean, latent, values):
    """Pictures (len(values), height, width, channels) decoded from `mean` (D,) with one latent set to each value."""
    z = np.tile(mean, (len(values), 1))
    z[:, latent] = values
    return sigmoid(model.decode(z))


def reconstructions(model, images):
    """PNG: images (N, …) above their reconstructions from the posterior means."""
    rebuilt = sigmoid(model.decode(model.encode(images)[0]))
    return _mosaic([images, rebuilt], ["image", "reconstruction"], [])


def traversals(model, mean, order, labels):
    """PNG: a row a latent, from −3 to 3, the other latents at `mean` (D,); `labels` in the order of the rows."""
    values = np.linspace(-REACH, REACH, 11)
    return _mosaic([traverse(model, mean, latent, values) for latent in order], labels,
                   [f"{value:+.1f}" for value in values])


def traversal_gif(model, mean, latents):
    """GIF: the given latents side by side, five a row, each going from −3 to 3 and back, a slider showing where."""
    values = np.linspace(-REACH, REACH, FRAMES)
    films = [_with_slider(traverse(model, mean, latent, values), values) for latent in latents]
    films += [np.zeros_like(films[0])] * (-len(films) % min(5, len(films)))
    rows = [np.concatenate(films[i:i + 5], axis=2) for i in range(0, len(films), 5)]
    film = list(np.concatenate(rows, axis=1).repeat(2, axis=1).repeat(2, axis=2))
    return imageio.imwrite("<bytes>", film + film[-2:0:-1], extension=".gif", duration=GIF_MS, loop=0)


def curves(history, columns):
    """PNG: the reconstruction loss; KL and its capacity; the KL of each latent; all in nats, by step."""
    series = dict(zip(columns, np.reshape(history, (-1, len(columns))).T))
    step = series["step"]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    loss, total, each = figure.subplots(1, 3)
    loss.plot(step, series["reconstruction"], color=INK, lw=.8)
    loss.set_yscale("log")
    loss.set_title("reconstruction loss (nats)", fontsize=9)
    total.plot(step, series["kl"], color=INK, lw=.8, label="KL")
    total.plot(step, series["capacity"], color="#d1495b", lw=1.2, label="capacity C")
    total.set_title("KL and its capacity (nats)", fontsize=9)
    for d, name in enumerate(name for name in columns if name.startswith("kl_z")):
        each.plot(step, series[name], lw=.8, label=name.removeprefix("kl_"), color=f"C{d % 10}",
                  ls=("-", "--", ":")[d // 10 % 3])
    each.set_title("KL of each latent (nats)", fontsize=9)
    for axis in (total, each):
        axis.legend(fontsize=6, frameon=False, ncols=2)
    for axis in (loss, total, each):
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _mosaic(pictures, row_labels, column_labels):
    """PNG of pictures (rows, columns, height, width, channels): gray, or colour if there are three channels."""
    pictures = np.pad(pictures, ((0, 0), (0, 0), (0, 4), (0, 4), (0, 0)), constant_values=1)
    rows, columns, height, width, channels = pictures.shape
    figure = Figure(figsize=(.75 * columns + 1.2, .75 * rows + .3), layout="constrained")
    axis = figure.subplots()
    for row, top in zip(pictures, range(0, rows * height, height)):  # one by one: matplotlib makes much of an image
        row = np.concatenate(row, axis=1)
        axis.imshow(row if channels == 3 else row.mean(axis=2), cmap="gray", vmin=0, vmax=1,
                    extent=(0, columns * width, top + height, top))
    axis.set_ylim(rows * height, 0)
    axis.set_yticks((np.arange(rows) + .5) * height, row_labels, fontsize=7, color=INK)
    axis.set_xticks((np.arange(len(column_labels)) + .5) * width, column_labels, fontsize=7, color=INK)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    return png(figure)


def _with_slider(pictures, values):
    """Frames (F, height + 4, width + 2), GRAYS in bytes, bordered; below, a line and where on it the value stands."""
    gray = pictures.mean(axis=3)
    frames = np.pad(gray, ((0, 0), (0, 4), (1, 1)), constant_values=.25)
    width = gray.shape[2]
    for frame, value in zip(frames, values):
        place = 1 + round((value + REACH) / (2 * REACH) * (width - 1))
        frame[-3:-1, max(0, place - 1):place + 2] = 1
    return (np.round(frames * (GRAYS - 1)) * (255 / (GRAYS - 1))).astype(np.uint8)


def png(figure):
    """The bytes of a PNG of a matplotlib Figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", pad_inches=.05)
    figure.clear()
    gc.collect()  # the parts of a figure refer to each other, and would hold megabytes until Python looks for that
    return buffer.getvalue()
