"""Memory that is used again: to fetch it from the system anew takes as long as the arithmetic that it is fetched for."""

import math
import weakref

import numpy as np

LIMIT = 2 ** 28  # bytes that are kept without being in use

_free = {}  # (count, dtype): buffers
_kept = 0  # bytes


def empty(shape, dtype):
    """np.empty, in the memory of an earlier such array that nobody holds any more, nor a view of it."""
    global _kept
    count, dtype = math.prod(shape), np.dtype(dtype)
    free = _free.setdefault((count, dtype), [])
    if free:
        buffer = free.pop()
        _kept -= buffer.nbytes
    else:
        buffer = memoryview(np.empty(count, dtype))
    array = np.frombuffer(buffer, dtype)  # every view of it refers to this array
    weakref.finalize(array, _keep, free, buffer)
    return array.reshape(shape)


def _keep(free, buffer):
    global _kept
    if _kept + buffer.nbytes > LIMIT:  # sizes of another batch, most likely
        for buffers in _free.values():
            buffers.clear()
        _kept = 0
    free.append(buffer)
    _kept += buffer.nbytes
