"""Memory that is used again: to have it from the system anew takes as long as the arithmetic it is wanted for."""

import math
import weakref
from collections import deque
from contextlib import suppress

import numpy as np

AGE = 200  # calls of `empty`, a few training steps: what nobody has asked for since goes when new memory is made

_free = {}  # (count, dtype): (call, buffer), the oldest first
_calls = 0


def empty(shape, dtype):
    """np.empty, in the memory of an earlier such array that nobody holds any more, nor a view of it."""
    global _calls
    _calls += 1
    count, dtype = math.prod(shape), np.dtype(dtype)
    free = _free.setdefault((count, dtype), deque())
    try:
        _, buffer = free.pop()
    except IndexError:
        _forget()
        buffer = memoryview(np.empty(count, dtype))
    array = np.frombuffer(buffer, dtype)  # not an array's view: so each view of it holds on to `array` itself
    weakref.finalize(array, lambda: free.append((_calls, buffer)))
    return array.reshape(shape)


def _forget():
    for free in list(_free.values()):
        with suppress(IndexError):  # all gone
            while _calls - free[0][0] >= AGE:
                free.popleft()
