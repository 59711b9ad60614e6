"""dSprites as a function of its factors: 737,280 binary 64×64 images of one sprite, rendered on demand.

`sprites` draws an image, `files` reads and writes DeepMind's, and `DSprites` makes the two look the same.
`python -m tinybvae.dsprites --write FILE.hdf5` writes the whole data set.
"""

import math
from pathlib import Path

import numpy as np

from tinybvae.dsprites.files import read
from tinybvae.dsprites.sprites import FACTOR_NAMES, FACTOR_SIZES, FACTOR_VALUES, SIZE, render

__all__ = ["DSprites", "render"]


class DSprites:
    """The data set, in DeepMind's order: index = ((shape·6 + scale)·40 + orientation)·1024 + x·32 + y.

    DSprites() renders each image when asked for it. DSprites(path) reads DeepMind's .npz or .hdf5 from front to back,
    without unpickling anything, and keeps one bit a pixel (378 MB for the whole set). A file may hold a part of the
    data set: an image's index is then its place in the file. Raises ValueError if this is no such file.

    Methods take integers and raise ValueError for images that do not exist.
    """

    factor_names = FACTOR_NAMES
    factor_sizes = FACTOR_SIZES

    def __init__(self, path=None):
        self._packed = self._numbers = None
        if path is not None:
            self._packed, classes = read(Path(path))
            self._numbers = np.ravel_multi_index(classes.T, FACTOR_SIZES)  # the place in the whole set of each image
            self._order = np.argsort(self._numbers, kind="stable")

    def __len__(self):
        return math.prod(FACTOR_SIZES) if self._packed is None else len(self._packed)

    def images(self, index):
        """float32 (N, 64, 64, 1), each pixel 0 or 1, of the images with this index (N,)."""
        if self._packed is None:
            shape, *real = self.values(index).T
            return render(shape - 1, *real)
        pixels = np.unpackbits(self._packed[self._checked(index)], axis=1)
        return pixels.reshape(-1, SIZE, SIZE, 1).astype(np.float32)

    def classes(self, index):
        """int64 (N, 5): the class of each factor, counted from 0."""
        index = self._checked(index)
        numbers = index if self._packed is None else self._numbers[index]
        return np.stack(np.unravel_index(numbers, FACTOR_SIZES), axis=-1)

    def values(self, index):
        """float64 (N, 5): shape 1 to 3, scale .5 to 1, orientation 0 to 2π, x and y 0 to 1 (latents_values)."""
        return np.stack([values[classes] for values, classes in zip(FACTOR_VALUES, self.classes(index).T)], axis=-1)

    def index(self, classes):
        """int64 (N,): the inverse of `classes`, from (N, 5). In a file, the first image that has these classes."""
        classes = _integers(classes, "classes")
        if classes.ndim != 2 or classes.shape[1] != 5:
            raise ValueError(f"classes must have shape (N, 5), not {classes.shape}")
        if ((classes < 0) | (classes >= FACTOR_SIZES)).any():
            raise ValueError(f"classes must lie in 0 … size − 1, sizes {FACTOR_SIZES}")
        numbers = np.ravel_multi_index(classes.T, FACTOR_SIZES)
        if self._packed is None:
            return numbers
        place = np.searchsorted(self._numbers, numbers, sorter=self._order)
        index = self._order[np.minimum(place, len(self) - 1)]
        if (self._numbers[index] != numbers).any():
            raise ValueError("this file holds no image of some of these classes")
        return index

    def _checked(self, index):
        index = _integers(index, "index")
        if index.ndim != 1:
            raise ValueError(f"index must have shape (N,), not {index.shape}")
        if ((index < 0) | (index >= len(self))).any():
            raise ValueError(f"index must lie in 0 … {len(self) - 1}")
        return index


def _integers(array, name):
    array = np.asarray(array)
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    return array.astype(np.int64)
