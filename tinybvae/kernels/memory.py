"""Memory that is used again: to have it from the system anew takes as long as the arithmetic it is wanted for."""

import ctypes
import math
import mmap
import os
import time
from collections import deque

import numpy as np

SMALL = 2 ** 17  # bytes: for less, malloc has some that was used before, too
AGE = 10.0  # seconds, longer than a training step: `empty` gives back, as often, what nobody has asked for since then
HUGE = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux: pages of 2 MiB, for which the processor looks up less
PRIVATE = mmap.ACCESS_COPY if os.name == "posix" else mmap.ACCESS_DEFAULT  # a forked process gets a copy

try:
    _trim = ctypes.CDLL(None).malloc_trim  # glibc's: what arrays of other sizes needed, it keeps until somebody asks
except (AttributeError, OSError, TypeError):  # another system's library
    def _trim(_):
        pass

_free = {}  # bytes: deque of (since when, buffer), the oldest first
_checked = _now = 0.0  # seconds


class _Loan(np.ndarray):
    """The bytes of a buffer, which comes back when nobody holds them any more, nor a view of them."""

    def __del__(self, free=_free):
        free[self.size].append((_now, self.base))


def empty(shape, dtype):
    """np.empty, in the memory of an earlier such array that nobody holds any more, nor a view of it."""
    global _checked, _now
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    _now = time.monotonic()
    if _now - _checked >= AGE:
        release(AGE)
        _checked = _now
    try:
        _, buffer = _free.setdefault(size, deque()).pop()
    except IndexError:
        buffer = mmap.mmap(-1, size, access=PRIVATE)  # of whole pages
        if HUGE and len(buffer) >= 2 ** 21:
            buffer.madvise(HUGE)
    return np.ndarray(shape, dtype, _Loan(size, np.uint8, buffer))


def release(age=0.0):
    """Give the memory back to the system that nobody holds, and nobody has asked for since `age` seconds."""
    for free in list(_free.values()):
        try:
            while time.monotonic() - free[0][0] >= age:
                free.popleft()
        except IndexError:  # none is left: asking first would not do, other threads take some
            pass
    if not age:
        _trim(0)
