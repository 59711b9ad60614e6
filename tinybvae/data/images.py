"""`Images`: those of a .npz or .hdf5 file, DeepMind's or your own, or of arrays; and what such a file must hold.

A file holds `imgs` (N, height, width) or (N, height, width, channels), of 1 channel or 3: booleans, integers 0 and 1 or
0 to 255, or floats from 0 to 1. If the factors are known, it also holds the classes of each image, integers (N, K) from
0 on, as `latents_classes` in an .npz and `latents/classes` in an .hdf5; and if the factors have names, `factor_names`,
K strings.
"""

import errno
import math
import os
import zipfile

import h5py
import numpy as np

from tinybvae.data import readers
from tinybvae.data.storage import Grays, bits
from tinybvae.kernels.arrays import integers


class Sequence:
    """What data are to Python: data[0] is an image, data[:9] and data[[3, 5]] are several, a loop sees them all."""

    def __getitem__(self, index):
        if np.ndim(index) == 0 and not isinstance(index, slice):
            return self.images([range(len(self))[index]])[0]
        return self.images(np.arange(len(self))[[*index] if isinstance(index, tuple) else index])

    def __array__(self, dtype=None, copy=None):
        raise ValueError(f"these are {len(self):,} images: data[:] makes one array of them all, if memory has room, "
                         "and data.images(index) of some")


class Images(Sequence):
    """The images of a file, used as DSprites is: images(index), classes(index), factor_names, factor_sizes.

    Black and white images are kept in memory, one bit for each pixel. Others are kept in a temporary file, so that
    memory does not grow while they are looked at; it is gone when the process ends. image_shape is (height, width,
    channels). Without factors, factor_names is empty. `path` is the file's: a process to which this object is sent
    reads the file anew. Raises ValueError for a file that holds no such images, or is damaged, and OSError if the
    system has no room for them.

    `Images.of` makes one of arrays.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            raise ValueError(f"{path}: no such file, or it may not be read: give a .npz or .hdf5 file of images")
        if readers.is_open(path):
            raise ValueError(f"{path}: it is open in this process: close it first")
        try:
            opened = readers.npz if zipfile.is_zipfile(path) else readers.hdf5 if h5py.is_hdf5(path) else None
            if opened:
                with opened(path) as content:
                    self._take(*content)
        except Exception as error:  # zipfile and its decompressors, NumPy and h5py raise anything for damaged files
            if isinstance(error, MemoryError) or getattr(error, "errno", None) not in (None, errno.EINVAL):
                raise  # the system's error: no room, no temporary folder, a quota; the file may be whole
            if "flag values don't match" in str(error):  # how HDF5 says it of a file whose name was relative
                raise ValueError(f"{path}: it is open in this process: close it first") from error
            raise ValueError(f"{path}: damaged, or not as it should be: {error}") from error
        if not opened:
            raise ValueError(f"{path}: neither a whole .npz nor a whole .hdf5 file")

    @classmethod
    def of(cls, imgs, classes=None, factor_names=None):
        """The same of arrays like those that a file holds, classes (N, K). They are copied, into a temporary file if
        there are grays. Raises ValueError as for a file."""
        made, imgs = cls.__new__(cls), np.atleast_1d(imgs)
        step, made.path = max(1, readers.BLOCK // max(1, imgs[:1].nbytes)), None
        made._take(imgs.shape, imgs.dtype, lambda: ((i, imgs[i:i + step]) for i in range(0, len(imgs), step)),
                   None if classes is None else np.array(classes), factor_names)
        return made

    def __reduce__(self):
        if self.path is None:
            imgs = self._rows[np.arange(len(self))]
            imgs = np.unpackbits(imgs, axis=1, count=math.prod(self.image_shape)) if self.binary else imgs
            return Images.of, (imgs.reshape(-1, *self.image_shape), self._classes if self.factor_sizes else None,
                               self.factor_names if self.named else None)
        return Images, (os.path.abspath(self.path),)

    def _take(self, shape, dtype, blocks, classes, names):
        """Check what the file says of itself, then read its images, twice if they turn out to have grays."""
        if len(shape) not in (3, 4) or 0 in shape or dtype.kind not in "biuf":
            raise ValueError(f"imgs must be numbers (N, height, width) or (N, height, width, channels), "
                             f"not {dtype} of {shape}")
        self.image_shape = (*shape[1:], 1)[:3]
        if self.image_shape[2] not in (1, 3):
            raise ValueError(f"imgs must have 1 channel or 3, which come last, not {self.image_shape[2]}: " + (
                "transpose them to (N, height, width, channels)" if shape[1] in (1, 3, 4) else
                "leave out the alpha channel, or draw them on a background" if shape[3] in (2, 4) else
                f"they are {shape}"))
        self._classes = np.zeros((shape[0], 0), np.int64) if classes is None else classes
        if self._classes.dtype.kind not in "iu" or self._classes.ndim != 2 or len(self._classes) != shape[0]:
            raise ValueError(f"classes must be integers of shape ({shape[0]}, K), not {classes.dtype} "
                             f"of {classes.shape}")
        if self._classes.size and self._classes.min() < 0:
            raise ValueError("classes must be at least 0")
        self.factor_sizes = tuple(size + 1 for size in self._classes.max(axis=0).tolist())
        self.named = names is not None
        names = np.atleast_1d(names) if self.named else [f"factor_{k}" for k in range(len(self.factor_sizes))]
        self.factor_names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
        if not len({*self.factor_names}) == len(self.factor_names) == len(self.factor_sizes):
            raise ValueError(f"factor_names must be {len(self.factor_sizes)} different ones, one for each column of "
                             f"the classes, not {', '.join(self.factor_names)}")
        self._count, self.binary = shape[0], True
        self._rows = bits(blocks, shape)
        if self._rows is None:
            self._rows, self.binary = Grays(blocks, np.float32 if dtype.kind == "f" else np.uint8), False

    def __repr__(self):
        factors = ", ".join(f"{name} ({size})" for name, size in zip(self.factor_names, self.factor_sizes))
        return (f"Images of {self.path or 'arrays'}: {len(self):,} of shape {self.image_shape}, "
                f"factors {factors or 'unknown'}")

    def __len__(self):
        return self._count

    def images(self, index):
        """float32 (N, *image_shape), from 0 to 1, of the images with this index (N,)."""
        rows = self._rows[checked(index, len(self))]
        if self.binary:
            rows = np.unpackbits(rows, axis=1, count=math.prod(self.image_shape))
        elif rows.dtype == np.uint8:
            rows = np.divide(rows, 255, dtype=np.float32)
        return rows.reshape(-1, *self.image_shape).astype(np.float32)

    def classes(self, index):
        """int64 (N, K): the class of each factor, counted from 0."""
        return self._classes[checked(index, len(self))].astype(np.int64)


def checked(index, count):
    """The index (N,) in int64. Raises ValueError if it is not an index, or not one of `count` images."""
    index = integers(index, "index")
    if index.ndim != 1:
        raise ValueError(f"index must have shape (N,), as in images([{index.flat[0] if index.size else 0}]), "
                         f"not {index.shape}")
    if ((index < 0) | (index >= count)).any():
        raise ValueError(f"index must lie in 0 … {count - 1}")
    return index
