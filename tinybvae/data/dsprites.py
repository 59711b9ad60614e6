"""dSprites as a function of its factors: 737,280 binary 64×64 images of one sprite, rendered on demand.

`sprites` draws the images. `DSprites` gives them, or those of DeepMind's files, in one and the same way.
`python -m tinybvae.data --write FILE.hdf5` writes the whole data set.
"""

import math

import numpy as np

from tinybvae.data.images import Images, Sequence, checked
from tinybvae.data.sprites import FACTOR_NAMES, FACTOR_SIZES, FACTOR_VALUES, SIZE, render
from tinybvae.kernels.arrays import integers


class DSprites(Sequence):
    """The data set, in DeepMind's order: index = ((shape·6 + scale)·40 + orientation)·1024 + x·32 + y.

    DSprites() renders each image when asked for it. DSprites(path) reads DeepMind's .npz or .hdf5, as `Images` does,
    and keeps one bit for each pixel (378 MB for the whole set). A file may hold a part of the data set: an image's
    index is then its place in the file. Raises ValueError if it is not such a file.

    Methods take integers and raise ValueError for images that do not exist.
    """

    factor_names = FACTOR_NAMES
    factor_sizes = FACTOR_SIZES
    image_shape = (SIZE, SIZE, 1)

    def __init__(self, path=None):
        self._file = None
        if path is not None:
            self._file = path if isinstance(path, Images) else Images(path)
            classes = _classes_of(self._file)
            self._numbers = np.ravel_multi_index(classes.T, FACTOR_SIZES)  # each image's place in the whole set
            self._order = np.argsort(self._numbers, kind="stable")

    @property
    def path(self):
        """The path of the file that the images are read from; None if they are rendered."""
        return self._file.path if self._file else None

    def __repr__(self):
        return f"DSprites of {len(self):,} images, {f'from {self.path}' if self._file else 'rendered on demand'}"

    def __len__(self):
        return len(self._file) if self._file else math.prod(FACTOR_SIZES)

    def images(self, index):
        """float32 (N, 64, 64, 1), each pixel 0 or 1, of the images with this index (N,)."""
        if self._file:
            return self._file.images(index)
        shape, *real = self.values(index).T
        return render(shape - 1, *real)

    def classes(self, index):
        """int64 (N, 5): the class of each factor, counted from 0."""
        index = checked(index, len(self))
        numbers = self._numbers[index] if self._file else index
        return np.stack(np.unravel_index(numbers, FACTOR_SIZES), axis=-1)

    def values(self, index):
        """float64 (N, 5): shape 1 to 3, scale .5 to 1, orientation 0 to 2π, x and y 0 to 1 (latents_values)."""
        return np.stack([values[classes] for values, classes in zip(FACTOR_VALUES, self.classes(index).T)], axis=-1)

    def index(self, classes):
        """int64 (N,): the images that have these classes (N, 5), the first ones in a file; the inverse of `classes`."""
        classes = integers(classes, "classes")
        if classes.ndim != 2 or classes.shape[1] != 5:
            raise ValueError(f"classes must have shape (N, 5), as in index([[2, 4, 0, 22, 10]]), not {classes.shape}")
        if ((classes < 0) | (classes >= FACTOR_SIZES)).any():
            raise ValueError(f"classes must lie in 0 … size − 1, sizes {FACTOR_SIZES}")
        numbers = np.ravel_multi_index(classes.T, FACTOR_SIZES)
        if not self._file:
            return numbers
        place = np.searchsorted(self._numbers, numbers, sorter=self._order)
        index = self._order[np.minimum(place, len(self) - 1)]
        if (self._numbers[index] != numbers).any():
            raise ValueError("this file holds no image of some of these classes")
        return index


def load_data(path=None):
    """dSprites, rendered on demand, or the images of a .npz or .hdf5 file: `DSprites`, if they are that, or `Images`.

    A file in DeepMind's layout must be dSprites: that is one of 64×64 images with six classes each, the first always 0,
    and none of them named. Raises ValueError as these two do.
    """
    if path is None:
        return DSprites()
    images = Images(path)
    sizes, shape = images.factor_sizes, images.image_shape
    deepminds = shape == DSprites.image_shape and len(sizes) == 6 and sizes[0] == 1 and not images.named
    return DSprites(images) if deepminds else images


def _classes_of(images):
    """The five factor classes (N, 5) of all images of one of DeepMind's files. Raises ValueError if it is not one."""
    sizes = (1, *FACTOR_SIZES)  # a constant colour first
    if images.image_shape != DSprites.image_shape:
        wrong = f"imgs must be of shape (N, 64, 64), not (N, {', '.join(map(str, images.image_shape))})"
    elif not images.binary:
        wrong = "pixels must be 0 or 1"
    elif not images.factor_sizes:
        wrong = "it holds no latents/classes"
    elif len(images.factor_sizes) != 6 or (np.array(images.factor_sizes) > sizes).any():
        wrong = f"classes must lie in 0 … size − 1, sizes {sizes}"
    else:
        return images.classes(np.arange(len(images)))[:, 1:]
    raise ValueError(f"{images.path}: not DeepMind's dsprites: {wrong}")
