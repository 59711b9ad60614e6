"""dSprites as a function of its factors: 737,280 binary 64×64 images of one sprite, rendered on demand.

DeepMind drew each image with vector graphics, without antialiasing (dsprites-dataset, issues 2 and 3): a pixel is
white where its centre lies inside the sprite's outline. So an image needs no file. DeepMind's own files are read too,
by `DSprites(path)`, and look the same from outside.
"""

import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
from numba import prange

from tinybvae.kernels import jit, parallel

FACTOR_NAMES = ("shape", "scale", "orientation", "position_x", "position_y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
SHAPES = ("square", "ellipse", "heart")
SIZE = 64

# Outlines in pixels at scale 1 and orientation 0, u to the right and v down, from the sprite's centre, fitted to real
# images: the square's half side; the ellipse's half axes, 4/3 and 3/4 of nearly the same; of the heart the right half,
# from notch to tip, whose mirror image follows. Up to 4 pixels of an image's border differ from DeepMind's.
HALF_SIDE = 9.597
ELLIPSE = 9.62 * np.array([4 / 3, 3 / 4])
HEART = np.array([
    (0, -5.2), (.8, -7.19), (2.6, -8.82), (3.91, -9.32), (5.45, -9.31), (6.77, -8.85), (8.03, -8), (9.01, -6.64),
    (9.57, -4.92), (9.6, -3.56), (9.25, -1.96), (8.37, -.35), (7.7, .54), (6.53, 1.92), (5.4, 3), (3.48, 4.83),
    (2, 6.36), (.57, 8.25), (0, 9.63)])


def _outlines():
    """The closed polygon of each shape: (3, V, 2), shorter ones filled up with their first vertex."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    square = HALF_SIDE * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    ellipse = ELLIPSE * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    heart = np.concatenate([HEART, HEART[-2:0:-1] * (-1, 1)])
    table = np.empty((3, len(ellipse), 2))
    for shape, polygon in enumerate((square, ellipse, heart)):
        table[shape] = polygon[0]
        table[shape, :len(polygon)] = polygon
    return table


OUTLINES = _outlines()


@jit
def _fill(u, v, scale, orientation, x, y, image):
    """Draw the polygon (u, v), scaled, turned and with its centre at pixel (x, y), into an image of zeros.

    Scan conversion: a pixel is inside if an odd number of edges cross its row to its left. Each crossing is noted at
    the first pixel to its right; a running exclusive-or along the row then fills.
    """
    cosine, sine = scale * np.cos(orientation), scale * np.sin(orientation)
    rows, columns = image.shape
    first, last = rows, 0
    for a in range(len(u)):
        b = (a + 1) % len(u)
        xa, ya = x + cosine * u[a] + sine * v[a], y - sine * u[a] + cosine * v[a]
        xb, yb = x + cosine * u[b] + sine * v[b], y - sine * u[b] + cosine * v[b]
        low, high = max(0, int(np.ceil(min(ya, yb)))), min(rows, int(np.ceil(max(ya, yb))))
        for row in range(low, high):
            column = int(np.ceil(xa + (row - ya) * (xb - xa) / (yb - ya)))
            if column < columns:
                image[row, max(0, column)] = 1 - image[row, max(0, column)]
        first, last = min(first, low), max(last, high)
    for row in range(first, last):
        inside = image[row, 0]
        for column in range(1, columns):
            inside = abs(inside - image[row, column])
            image[row, column] = inside


@parallel
def _render(outlines, shape, scale, orientation, x, y, images):
    for n in prange(len(shape)):
        u, v = outlines[shape[n], :, 0], outlines[shape[n], :, 1]
        images[n] = 0
        _fill(u, v, scale[n], orientation[n], 15.5 + 32 * x[n], 15.5 + 32 * y[n], images[n])


def render(shape, scale, orientation, x, y):
    """Images of sprites with the given factor values, one number or N of each: float32 (N, 64, 64, 1), 0 or 1.

    shape: 0 square, 1 ellipse, 2 heart; scale: .5 to 1 in dSprites; orientation in radians; x, y: 0 to 1.
    Raises ValueError if a shape is unknown, a value is beyond ±1e6, or the arrays are not one number or N each.
    """
    shape, *real = np.broadcast_arrays(np.atleast_1d(shape), scale, orientation, x, y)
    if shape.ndim != 1:
        raise ValueError(f"render takes one number or N of each, not arrays that broadcast to {shape.shape}")
    if not np.isin(shape, (0, 1, 2)).all():
        raise ValueError(f"shape must be 0, 1 or 2 ({', '.join(SHAPES)})")
    real = [np.array(values, np.float64) for values in real]
    if not all((np.abs(values) <= 1e6).all() for values in real):
        raise ValueError("scale, orientation, x and y must be numbers, and lie within ±1e6")
    images = np.empty((len(shape), SIZE, SIZE), np.float32)
    _render(OUTLINES, shape.astype(np.int64), *real, images)
    return images[..., None]


class DSprites:
    """The data set, in DeepMind's order: index = ((shape·6 + scale)·40 + orientation)·1024 + x·32 + y.

    DSprites() renders each image when asked for it. DSprites(path) reads DeepMind's .npz or .hdf5 once, in order and
    without unpickling anything, and keeps one bit a pixel (378 MB for the whole set). A file may hold a part of the
    data set: `index` then counts the file's images. Raises ValueError if the file is missing or is not such a file.

    Each method takes integers (N,) and raises ValueError for any that do not exist.
    """

    factor_names = FACTOR_NAMES
    factor_sizes = FACTOR_SIZES

    def __init__(self, path=None):
        self._packed = None
        self._numbers = np.arange(np.prod(FACTOR_SIZES))  # the place in the whole set of each image
        if path is not None:
            self._packed, classes = _read(Path(path))
            self._numbers = np.ravel_multi_index(classes.T, FACTOR_SIZES)
        self._order = np.argsort(self._numbers, kind="stable")

    def __len__(self):
        return len(self._numbers)

    def images(self, index):
        """float32 (N, 64, 64, 1), each pixel 0 or 1."""
        index = self._checked(index)
        if self._packed is None:
            shape, *_ = self.classes(index).T
            return render(shape, *self.values(index).T[1:])
        pixels = np.unpackbits(self._packed[index], axis=1)
        return pixels.reshape(-1, SIZE, SIZE, 1).astype(np.float32)

    def classes(self, index):
        """int64 (N, 5): the class of each factor, counted from 0."""
        return np.stack(np.unravel_index(self._numbers[self._checked(index)], FACTOR_SIZES), axis=-1)

    def values(self, index):
        """float64 (N, 5): shape 1 to 3, scale .5 to 1, orientation 0 to 2π, x and y 0 to 1 (latents_values)."""
        return self.classes(index) / (1, 10, 39 / (2 * np.pi), 31, 31) + (1, .5, 0, 0, 0)

    def index(self, classes):
        """int64 (N,): the inverse of `classes`. Raises ValueError for classes that do not exist."""
        classes = _integers(classes, "classes")
        if classes.ndim != 2 or classes.shape[1] != 5:
            raise ValueError(f"classes must have shape (N, 5), not {classes.shape}")
        if ((classes < 0) | (classes >= FACTOR_SIZES)).any():
            raise ValueError(f"classes must lie in 0 … size − 1, sizes {FACTOR_SIZES}")
        numbers = np.ravel_multi_index(classes.T, FACTOR_SIZES)
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


# DeepMind's files: imgs (N, 64, 64) uint8, and latents classes (N, 6), a constant colour first.

def _read(path):
    """The packed images (N, 512) and the five factor classes (N, 5) of one of DeepMind's files."""
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError(f"{path}: no such file, or none that may be read; give DeepMind's dsprites .npz or .hdf5")
    try:
        if zipfile.is_zipfile(path):
            return _read_npz(path)
        if h5py.is_hdf5(path):
            return _read_hdf5(path)
    except Exception as error:  # zipfile and its decompressors, NumPy and h5py raise all kinds for damaged files
        raise ValueError(f"{path}: damaged, or not DeepMind's dsprites: {error}") from error
    raise ValueError(f"{path}: neither a whole .npz nor a whole .hdf5 file; give DeepMind's dsprites file")


def _read_npz(path):
    with zipfile.ZipFile(path) as archive:
        for name in ("imgs.npy", "latents_classes.npy"):
            if name not in archive.namelist():
                raise ValueError(f"it holds no {name.removesuffix('.npy')}")
        with archive.open("latents_classes.npy") as file:
            classes = np.lib.format.read_array(file, allow_pickle=False)
        with archive.open("imgs.npy") as file:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in header:
                raise ValueError(f"imgs is stored in version {version} of NumPy's format; 1.0 and 2.0 are known")
            shape, columns_first, dtype = header[version](file)
            if columns_first:
                raise ValueError("imgs is stored in column order")

            def block(start, stop):
                pixels = np.frombuffer(file.read((stop - start) * SIZE * SIZE), dtype)
                return pixels.reshape(stop - start, SIZE, SIZE)
            packed = _pack(shape, dtype, classes, block, 4096)
            if file.read(1):
                raise ValueError(f"imgs is longer than its shape {shape}")
            return packed


def _read_hdf5(path):
    with h5py.File(path) as file:
        for name in ("imgs", "latents/classes"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise ValueError(f"it holds no {name}")
        images = file["imgs"]
        # A chunk may span thousands of images and a few pixels of each: read whole chunks, once.
        step = min(max(4096, (images.chunks or (0,))[0]), 32768)
        return _pack(images.shape, images.dtype, file["latents/classes"][()],
                     lambda start, stop: images[start:stop], step)


def _pack(shape, dtype, classes, block, step):
    """Check what the file says of itself, then pack its images, `step` at a time, into one bit a pixel."""
    if dtype != np.uint8 or len(shape) != 3 or shape[1:] != (SIZE, SIZE) or not 0 < shape[0] <= np.prod(FACTOR_SIZES):
        raise ValueError(f"imgs must be uint8 of shape (N, 64, 64), N from 1 to 737280, not {dtype} of {shape}")
    if classes.dtype.kind not in "iu" or classes.shape != (shape[0], 6):
        raise ValueError(f"classes must be integers of shape ({shape[0]}, 6), not {classes.dtype} of {classes.shape}")
    if ((classes < 0) | (classes >= (1, *FACTOR_SIZES))).any():
        raise ValueError(f"classes must lie in 0 … size − 1, sizes {(1, *FACTOR_SIZES)}")
    count = shape[0]
    packed = np.empty((count, SIZE * SIZE // 8), np.uint8)
    for start in range(0, count, step):
        pixels = block(start, min(start + step, count))
        wrong = (pixels > 1).any(axis=(1, 2))
        if wrong.any():
            raise ValueError(f"pixels must be 0 or 1; image {start + wrong.argmax()} has others")
        packed[start:start + step] = np.packbits(pixels.reshape(len(pixels), -1), axis=1)
    return packed, classes[:, 1:].astype(np.int64)
