"""DeepMind's files of dSprites, .npz and .hdf5: read without unpickling anything; written as .hdf5.

Both hold imgs (N, 64, 64) uint8, 0 or 1, and the latents' classes and values (N, 6), a constant colour first.
"""

import math
import os
import zipfile

import h5py
import numpy as np
from tqdm import tqdm

from tinybvae.dsprites.sprites import FACTOR_SIZES, SIZE

BLOCK = 4096  # images that are in memory unpacked, at a time


def read(path):
    """The packed images (N, 512) and the five factor classes (N, 5) of one of DeepMind's files."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise ValueError(f"{path}: no such file, or it may not be read: give DeepMind's dsprites .npz or .hdf5")
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
            packed = _pack(shape, dtype, classes, block, BLOCK)
            if file.read(1):
                raise ValueError(f"imgs is longer than its shape {shape}")
            return packed


def _read_hdf5(path):
    with h5py.File(path) as file:
        for name in ("imgs", "latents/classes"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise ValueError(f"it holds no {name}")
        images = file["imgs"]
        # A chunk may span thousands of images and a few pixels of each: read whole chunks, unless they are huge.
        chunk = (images.chunks or (1,))[0]
        step = min(chunk * max(1, BLOCK // chunk), 8 * BLOCK)
        return _pack(images.shape, images.dtype, file["latents/classes"][()],
                     lambda start, stop: images[start:stop], step)


def _pack(shape, dtype, classes, block, step):
    """Check what the file says of itself, then pack its images, `step` at a time, into one bit a pixel."""
    if dtype != np.uint8 or len(shape) != 3 or shape[1:] != (SIZE, SIZE) or not 0 < shape[0] <= math.prod(FACTOR_SIZES):
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


def hdf5(sprites):
    """The bytes of an .hdf5 file in DeepMind's layout, with all images of a `DSprites`; shows a progress bar.

    Its chunks hold 64 whole images each, so that a batch can be read without the rest, and a checksum.
    """
    count = len(sprites)
    with (h5py.File("in memory", "w", driver="core", backing_store=False) as file,
          tqdm(total=count, unit=" images", disable=None) as bar):
        how = {"compression": "gzip", "compression_opts": 6, "fletcher32": True}
        column = (min(count, BLOCK), 1)
        images = file.create_dataset("imgs", (count, SIZE, SIZE), np.uint8, chunks=(min(count, 64), SIZE, SIZE), **how)
        classes = file.create_dataset("latents/classes", (count, 6), np.int64, chunks=column, **how)
        values = file.create_dataset("latents/values", (count, 6), np.float64, chunks=column, **how)
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            index = np.arange(start, stop)
            images[start:stop] = sprites.images(index)[..., 0].astype(np.uint8)
            classes[start:stop] = np.insert(sprites.classes(index), 0, 0, axis=1)  # the colour: white, always
            values[start:stop] = np.insert(sprites.values(index), 0, 1, axis=1)
            bar.update(stop - start)
        file.flush()
        return file.id.get_file_image()
