"""Memory that is used again: to have it from the system anew takes as long as the arithmetic it is wanted for."""

import math
import weakref
from collections import deque
from contextlib import suppress
from mmap import mmap

import numpy as np

AGE = 100  # calls of `empty`, about two training steps: memory that nobody has asked for since is given back

_free = {}  # (count, dtype): (call, buffer), the oldest first
_calls = 0


def empty(shape, dtype):
    """np.empty, in the memory of an earlier such array that nobody holds any more, nor a view of it."""
    global _calls
    _calls += 1
    count, dtype = math.prod(shape), np.dtype(dtype)
    if _calls % AGE == 0:
        _forget()
    free = _free.setdefault((count, dtype), deque())
    try:
        _, buffer = free.pop()
    except IndexError:
        buffer = mmap(-1, count * dtype.itemsize or 1)  # whole pages, which go back to the system and leave no gaps
    array = np.frombuffer(buffer, dtype, count)  # not an array's view: so each view of it holds on to `array` itself
    weakref.finalize(array, lambda: free.append((_calls, buffer)))
    return array.reshape(shape)


def _forget():
    for free in list(_free.values()):
        with suppress(IndexError):  # all gone
            while _calls - free[0][0] >= AGE:
                free.popleft()
