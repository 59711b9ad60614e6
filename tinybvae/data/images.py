"""Images from a .npz or .hdf5 file, DeepMind's or your own: read from front to back, without unpickling anything.

A file holds `imgs` (N, height, width) or (N, height, width, channels), of 1 channel or 3: booleans, integers 0 and 1 or
0 to 255, or floats from 0 to 1. If the factors are known, it also holds the classes of each image, integers (N, K) from
0 on, as `latents_classes` in an .npz and `latents/classes` in an .hdf5; and if the factors have names, `factor_names`,
K strings.
"""

import errno
import math
import os
import subprocess
import sys
import tempfile
import threading
import weakref
import zipfile
from contextlib import contextmanager

import h5py
import numpy as np

from tinybvae.data.files import USER_BLOCK, intact
from tinybvae.kernels.arrays import integers

BLOCK = 2 ** 24  # bytes of images that are in memory at a time in the file's own form
SEALED = "tinybvae images 1"  # in the user block of files that `python -m tinybvae.data` wrote: their digest is checked
READ_ALL = """
import h5py, sys
print("reading", flush=True)
def read(name, found):
    if isinstance(found, h5py.Dataset) and found.size and found.ndim:
        rows, chunk = len(found), (found.chunks or (1,))[0]
        step = chunk * max(1, int(sys.argv[2]) * rows // (found.nbytes * chunk))
        for first in range(0, rows, step):
            found[first:first + step]
with h5py.File(sys.argv[1], "r", locking=False) as file:
    file.visititems(read)
"""


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
        if _is_open(path):
            raise ValueError(f"{path}: it is open in this process: close it first")
        try:
            opened = _npz if zipfile.is_zipfile(path) else _hdf5 if h5py.is_hdf5(path) else None
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
        step, made.path = max(1, BLOCK // max(1, imgs[:1].nbytes)), None
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
            raise ValueError(f"factor_names must be {len(self.factor_sizes)} different ones, one for each column of the "
                             f"classes, not {', '.join(self.factor_names)}")
        self._count, self.binary = shape[0], True
        self._rows = _bits(blocks, shape)
        if self._rows is None:
            self._rows, self.binary = _Grays(blocks, np.float32 if dtype.kind == "f" else np.uint8), False

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


# An opened file is a tuple: shape and dtype of imgs, a function that reads them block by block, classes, factor names.

@contextmanager
def _npz(path):
    with zipfile.ZipFile(path) as archive:
        def read(name):
            if f"{name}.npy" in archive.namelist():
                with archive.open(f"{name}.npy") as file:
                    return np.lib.format.read_array(file, allow_pickle=False)

        def start():
            """The file of imgs, at its first pixel; shape, whether it is in column order, and dtype."""
            file = archive.open("imgs.npy")
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in header:
                raise ValueError(f"imgs is stored in version {version} of NumPy's format; 1.0 and 2.0 are known")
            return file, *header[version](file)

        def blocks():
            file, shape, columns_first, dtype = start()
            size = math.prod(shape[1:]) * dtype.itemsize
            with file, tempfile.TemporaryFile() as whole:
                if columns_first:  # an image's pixels are scattered over the file
                    while part := file.read(BLOCK):
                        whole.write(part)
                    whole.flush()
                    whole = np.memmap(whole, dtype, "r", shape=shape, order="F")
                for first in range(0, shape[0], step := max(1, BLOCK // size)):
                    count = min(step, shape[0] - first)
                    yield first, (whole[first:first + count] if columns_first else
                                  np.frombuffer(file.read(count * size), dtype).reshape(count, *shape[1:]))
                if file.read(1):  # at its end a file in an archive is checked against its checksum
                    raise ValueError(f"imgs is longer than its shape {shape}")

        names = archive.namelist()
        for name in names:
            archive.open(name).close()  # its name stands in two places, which must agree
        if "imgs.npy" not in names:
            raise ValueError("it holds no imgs")
        if "latents_classes.npy" not in names and any(name.startswith("latents") for name in names):
            raise ValueError("it holds latents, but no latents_classes")
        file, shape, _, dtype = start()
        file.close()
        yield shape, dtype, blocks, read("latents_classes"), read("factor_names")


@contextmanager
def _hdf5(path):
    _require_undamaged(path)
    with h5py.File(path, "r", locking=False) as file:  # another process may have it open
        images, classes, names = (file.get(name) for name in ("imgs", "latents/classes", "factor_names"))
        classes = file.get("latents_classes") if classes is None else classes
        if not isinstance(images, h5py.Dataset) or images.shape is None:
            raise ValueError("it holds no imgs")
        if classes is None and "latents" in file:
            raise ValueError("it holds latents, but no latents/classes")
        for name, dataset in {"imgs": images, "latents/classes": classes}.items():
            if isinstance(dataset, h5py.Dataset):
                _require_written(name, dataset)

        def blocks():
            # A chunk may span thousands of images and a few pixels of each: read whole chunks, unless they are huge.
            chunk, block = (images.chunks or (1,))[0], max(1, BLOCK // (images.nbytes // len(images)))
            step = min(chunk * max(1, block // chunk), 8 * block)
            for first in range(0, len(images), step):
                yield first, images[first:first + step]

        yield (images.shape, images.dtype, blocks, None if classes is None else classes[()],
               None if names is None else names.asstr()[()])


def _require_written(name, dataset):
    """Raise ValueError where HDF5 would give zeros in place of what it does not find."""
    if dataset.is_virtual:
        raise ValueError(f"{name} is in other files, and HDF5 does not say if one is gone: write it into this one")
    if dataset.chunks:
        expected = math.prod(-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks))
        if dataset.id.get_num_chunks() != expected:
            raise ValueError(f"{name} has {dataset.id.get_num_chunks()} chunks of {expected}")
    elif dataset.size and dataset.id.get_space_status() != h5py.h5d.SPACE_STATUS_ALLOCATED:
        raise ValueError(f"{name} was never written")


def _require_undamaged(path):
    """HDF5 itself neither notices all damage nor survives it: another process first reads a file without a digest."""
    with open(path, "rb") as file:
        start = file.read(USER_BLOCK)
        if start.startswith(SEALED.encode()):
            if intact(SEALED, start + file.read()) is None:
                raise ValueError("its digest is not that of its content")
            return
    try:
        done = subprocess.run([sys.executable, "-c", READ_ALL, path, str(BLOCK)], capture_output=True)
    except (OSError, TypeError) as error:  # TypeError: the executable is None
        raise OSError(getattr(error, "errno", errno.ENOEXEC), f"no Python could be started at sys.executable, "
                      f"{sys.executable!r}, to look for damage before this process reads it: {error}",
                      os.fspath(path)) from error
    if done.returncode in (-2, -9, -15):
        raise OSError(errno.ECANCELED, f"what looks for damage was ended by signal {-done.returncode}", os.fspath(path))
    if done.returncode >= 0 and not done.stdout.startswith(b"reading"):
        reason, = done.stderr.decode(errors="replace").split("\n")[-2:-1] or [f"exit status {done.returncode}"]
        raise OSError(errno.ENOEXEC, f"what looks for damage did not start with {sys.executable!r}: {reason}",
                      os.fspath(path))
    if done.returncode not in (0, 1):  # 1: an exception, which will be raised here, too
        raise ValueError("HDF5 does not survive reading it")


def _is_open(path):
    """Whether this process has this .hdf5 open: HDF5 opens a file a second time only in the same way."""
    kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_DATASET | h5py.h5f.OBJ_GROUP  # what may be open of a file
    names = {h5py.h5f.get_name(found) for found in h5py.h5f.get_obj_ids(types=kinds)}
    return any(os.path.exists(name) and os.path.samefile(name, path) for name in names)


# How images are kept: rows (N, bytes or pixels).

def _bits(blocks, shape):
    """One bit for each pixel, if all pixels are black or white, which is 1 or 255; else None."""
    rows, white = np.empty((shape[0], -(-math.prod(shape[1:]) // 8)), np.uint8), None
    for first, block in blocks():
        _require_range(block, first)
        top = block.max()
        if top:
            white = white or top
            if top != white or top not in (1, 255):
                return None
            if not (block.dtype.kind in "bu" and top == 1 or ((block == 0) | (block == white)).all()):
                return None
        rows[first:first + len(block)] = np.packbits(block.reshape(len(block), -1) != 0, axis=1)
    return rows


class _Grays:
    """A number for each pixel, in a file without a name, which is gone when the process ends."""

    def __init__(self, blocks, dtype):
        self.file, self.dtype, self.lock = tempfile.TemporaryFile(), np.dtype(dtype), threading.Lock()
        weakref.finalize(self, self.file.close)
        for first, block in blocks():
            _require_range(block, first)
            self.file.write(block.reshape(len(block), -1).astype(dtype).data)
        self.file.flush()
        self.pixels = block[0].size

    def __getitem__(self, index):
        size = self.pixels * self.dtype.itemsize
        rows = b"".join(self._read(size, i * size) for i in index.tolist())
        return np.frombuffer(rows, self.dtype).reshape(len(index), self.pixels)

    def _read(self, size, place):
        if hasattr(os, "pread"):  # it does not move the file's position, which forked processes have in common
            return os.pread(self.file.fileno(), size, place)
        with self.lock:
            self.file.seek(place)
            return self.file.read(size)


def _require_range(block, first):
    if block.dtype in (bool, np.uint8):
        return
    most = 1 if block.dtype.kind == "f" else 255
    wrong = ~((block >= 0) & (block <= most)).reshape(len(block), -1).all(axis=1)
    if wrong.any():
        raise ValueError(f"pixels must lie in 0 … {most} if they are {block.dtype}; image {first + wrong.argmax()} "
                         f"has others")
