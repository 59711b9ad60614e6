"""How images are kept, a row for each: a bit for each pixel in memory, or a number for each in a temporary file."""

import math
import os
import tempfile
import threading
import weakref

import numpy as np


def bits(blocks, shape):
    """One bit for each pixel, if every pixel is 0 or the one white of all images, 1 or 255; else None."""
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


class Grays:
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
