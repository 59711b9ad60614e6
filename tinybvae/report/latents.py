"""What a person sees of each latent: its name, the shape on which it does most, and what traversals start from."""

from typing import NamedTuple

import numpy as np

from tinybvae import metrics
from tinybvae.data.sprites import FACTOR_NAMES, FACTOR_SIZES, SHAPES, alike

POSE = 2, 5, 16, 16  # classes of scale, orientation, x and y of the sprites that traversals start from
USUAL = SHAPES.index("ellipse")  # the shape on which a latent is shown unless it asks for another
HALF = .5  # a latent's name has the shapes for which its factor explains at least HALF as much as for the best


class Seen(NamedTuple):
    """How a person who sees the data would describe a latent."""

    name: str          # such as "orientation of hearts"
    factor: str        # the name without shapes
    explained: float   # the share of its variance that this factor (if "mixed", the best) explains for `shape`
    shape: int | None  # for dSprites, the shape on which it is shown


def is_dsprites(data):
    names, sizes = metrics.factors_of(data)
    return (tuple(names), tuple(sizes)) == (FACTOR_NAMES, FACTOR_SIZES)


def starts(data, start=None):
    """The indices of the images that traversals start from: `start`, or of dSprites one of each shape, of other data
    the first."""
    if start is not None:
        return np.array([start])
    if not is_dsprites(data):
        return np.array([0])
    return np.array([nearest(data, (shape, *POSE)) for shape in range(len(SHAPES))])


def nearest(data, classes, part=2 ** 15):
    """The index of the image of dSprites whose classes are closest: a file may hold only a part of the data set.

    A difference in shape counts for more than all others.
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
    """`Seen` of each latent, from means (N, D) of images of these classes (N, K), and the latents' KL (D,).

    In dSprites, images of each shape are looked at by themselves, and orientations that look alike count as one. A
    latent is named after the factor that explains most of its variance, for whichever shape that is. If there are
    shapes for which this factor explains much less, the name lists the others. A mixed latent is named with the shapes
    among whose images it varies.
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
    usual = list(there).index(USUAL) if USUAL in there else len(there) - 1
    power = np.nan_to_num(shares) * variance[:, None]  # the variance that a factor explains, not its share
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
