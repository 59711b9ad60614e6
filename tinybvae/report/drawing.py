"""How a figure is drawn: in matplotlib's default style whatever the user's is, and saved in any format; and its parts.

Pictures are what a likelihood shows, (height, width, channels), black 0 to white 1.
"""

import base64
import functools
import gc
import io
import os
import sys
from contextlib import suppress

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

from tinybvae.kernels.threads import alone

PLAIN = {"parse_math": False}  # of a factor's name, which may have dollar signs
INK = "#222222"


class Picture(bytes):
    """The bytes of a picture's file. A notebook shows the picture; at a prompt it says what it is."""

    KINDS = {b"\x89PNG": "image/png", b"GIF8": "image/gif", b"<?xml": "image/svg+xml", b"%PDF": "application/pdf"}

    @property
    def kind(self):
        return next((kind for start, kind in self.KINDS.items() if self.startswith(start)), "another format")

    def _repr_mimebundle_(self, include=None, exclude=None):
        content = self.decode() if self.kind == "image/svg+xml" else base64.b64encode(self).decode()
        return {**({self.kind: content} if self.kind in self.KINDS.values() else {}), "text/plain": repr(self)}

    def __repr__(self):
        return f"a picture of {len(self):,} bytes, {self.kind}: write them into a file"


def styled(function):
    """A decorator: the function draws in matplotlib's default style, and the user's own style stays as it was."""
    return alone(style.context("default", after_reset=True)(function))


def picture(function):
    """A decorator: the function, which returns a Figure, takes `format`, too: "png", "svg", "pdf" or another of
    matplotlib's, to return a `Picture`, or None for the Figure itself."""
    @styled
    @functools.wraps(function)
    def drawn(*given, format="png", **named):
        figure = function(*given, **named)
        return figure if format is None else saved(figure, format)
    return drawn


def saved(figure, format="png"):
    """A Figure as a `Picture` in this format: the same each time. Raises ValueError for an unknown format."""
    buffer = io.BytesIO()
    dated = {"svg": "Date", "pdf": "CreationDate", "ps": "CreationDate"}
    with matplotlib.rc_context({"svg.hashsalt": "tinybvae"}):
        figure.savefig(buffer, format=format, dpi=110, bbox_inches="tight", pad_inches=.05,
                       metadata={dated[format]: None} if format in dated else None)
    figure.clear()
    gc.collect(1)  # a figure's parts refer to each other: else megabytes wait until Python looks through old objects
    return Picture(buffer.getvalue())


def bare(axis, **ticks):
    """Take away the frame of a diagram at the top and on the right; make its ticks small, with these `tick_params`."""
    axis.tick_params(**{"labelsize": 7, **ticks})
    axis.spines[["top", "right"]].set_visible(False)


def title_of(figure, title):
    """Put a title over all of a figure, if there is one."""
    if title:
        figure.suptitle(title, fontsize=9, color=INK, **PLAIN)


def lay(axis, pictures, row_labels=(), column_labels=()):
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
