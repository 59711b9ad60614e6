"""Memory that is used again: to have it from the system anew takes as long as the arithmetic it is wanted for."""

import math
import weakref

import numpy as np

AGE = 200  # calls of `empty`, a few training steps, after which what nobody asks for is given back to the system

_free = {}  # (count, dtype): [(call, buffer), …]
_calls = 0


def empty(shape, dtype):
    """np.empty, in the memory of an earlier such array that nobody holds any more, nor a view of it."""
    global _calls
    _calls += 1
    count, dtype = math.prod(shape), np.dtype(dtype)
    free = _free.setdefault((count, dtype), [])
    if free:
        _, buffer = free.pop()
    else:
        _forget()
        buffer = memoryview(np.empty(count, dtype))
    array = np.frombuffer(buffer, dtype)  # every view of it refers to this array
    weakref.finalize(array, lambda: free.append((_calls, buffer)))
    return array.reshape(shape)


def _forget():
    for free in _free.values():
        free[:] = [(call, buffer) for call, buffer in free if _calls - call < AGE]
