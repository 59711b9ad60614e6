"""What a person sees of each latent: its name, the shape on which it does most, and what traversals start from."""

from typing import NamedTuple

import numpy as np

from tinybvae import metrics
from tinybvae.data.sprites import FACTOR_NAMES, FACTOR_SIZES, SHAPES, alike

POSE = 2, 5, 16, 16  # classes of scale, orientation, x and y of the sprites that traversals start from
USUAL = SHAPES.index("ellipse")  # what a latent is shown on that does not ask for another shape
HALF = .5  # a latent is named by those shapes of which a factor explains at least this part of the most


class Seen(NamedTuple):
    """What a latent is to who sees the data."""

    name: str          # as "orientation of hearts"
    factor: str        # the same without shapes
    explained: float   # the share of its variance that this factor explains, among images of `shape`; "mixed": the most
    shape: int | None  # of dSprites, the one on which it is shown


def is_dsprites(data):
    names, sizes = metrics.factors_of(data)
    return (tuple(names), tuple(sizes)) == (FACTOR_NAMES, FACTOR_SIZES)


def starts(data):
    """The indices of the images that traversals start from: of dSprites one of each shape, of other data the first."""
    if not is_dsprites(data):
        return np.array([0])
    return np.array([nearest(data, (shape, *POSE)) for shape in range(len(SHAPES))])


def nearest(data, classes, part=2 ** 15):
    """The index of the image of dSprites whose classes are closest: a file may hold a part of the data set.

    Another shape is farther than anything else.
    """
    def closest(index):
        apart = np.abs(data.classes(index) - classes)
        return index[(apart.sum(axis=1) + sum(FACTOR_SIZES) * apart[:, 0]).argmin()]

    return int(closest(np.array([closest(np.arange(start, min(start + part, len(data))))
                                 for start in range(0, len(data), part)])))


def by_orientation(means, classes):
    """(D, shapes, orientations): the mean of means (N, D) over images of dSprites of each shape and orientation.

    NaN where there are none.
    """
    cells = classes[:, 0] * FACTOR_SIZES[2] + classes[:, 2]
    size = FACTOR_SIZES[0] * FACTOR_SIZES[2]
    counts = np.bincount(cells, minlength=size)
    sums = np.array([np.bincount(cells, z, minlength=size) for z in means.T])
    return np.where(counts, sums / np.maximum(counts, 1), np.nan).reshape(len(sums), FACTOR_SIZES[0], -1)


def seen(data, means, classes, kl):
    """`Seen` of each latent, from means (N, D) of images of these classes (N, K), and its KL (D,).

    Of dSprites, among images of one shape at a time, in which orientations that look alike are one. A latent is named
    after the factor that explains most of its variance, in whichever shape that is, and by the shapes of which it
    explains nearly as much, if these are not all. One that is mixed is named by the shapes among which it varies.
    """
    if not is_dsprites(data):
        names, _ = metrics.factors_of(data)
        named = metrics.name_latents(metrics.explained(means, classes), kl, names)
        return [Seen(factor, factor, share, None) for factor, share in named]
    there = np.unique(classes[:, 0])
    among = [classes[:, 0] == shape for shape in there]
    shares = np.array([metrics.explained(means[some], alike(classes[some])) for some in among])       # (shapes, D, K)
    variance = np.array([means[some].var(axis=0, dtype=float) for some in among])                     # (shapes, D)
    return [_of_sprites(there, shares[:, d], variance[:, d], kl[d]) for d in range(len(kl))]


def _of_sprites(there, shares, variance, nats):
    """`Seen` of one latent, by its shares (shapes, K) and its variance (shapes,) among images of the shapes there."""
    usual = max(list(there).index(shape) for shape in there if shape == USUAL or USUAL not in there)
    power = np.nan_to_num(shares) * variance[:, None]  # of what a factor does to the latent
    most, best = np.unravel_index(power.argmax(), power.shape)
    (factor, share), = metrics.name_latents(shares[most:most + 1], [nats], FACTOR_NAMES)
    by = power[:, best] if factor in FACTOR_NAMES else variance
    shapes = np.flatnonzero(by >= HALF * by.max())
    if len(shapes) == len(there) or factor == "unused":
        most, of = usual, ""
        share = float(np.nan_to_num(shares)[usual, best])
    else:
        most, of = by.argmax(), ": " if factor == "mixed" else " of "
        of += " and ".join(f"{SHAPES[there[n]]}s" for n in shapes)
    return Seen(factor + of, factor, share, int(there[most]))
