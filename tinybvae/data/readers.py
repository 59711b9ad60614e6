"""Files of images, opened: what a .npz or .hdf5 says of itself, and its images, block by block; or why it is refused.

What is refused: damage, wherever it can be told, and whatever would need unpickling.
"""

import errno
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager

import h5py
import numpy as np

from tinybvae.data.files import USER_BLOCK, intact

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


@contextmanager
def npz(path):
    """Shape and dtype of imgs, a function that reads them block by block, the classes, the factors' names."""
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
def hdf5(path):
    """The same of an .hdf5."""
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


def is_open(path):
    """Whether this process has this .hdf5 open: HDF5 opens a file a second time only in the same way."""
    kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_DATASET | h5py.h5f.OBJ_GROUP  # what may be open of a file
    names = {h5py.h5f.get_name(found) for found in h5py.h5f.get_obj_ids(types=kinds)}
    return any(os.path.exists(name) and os.path.samefile(name, path) for name in names)
