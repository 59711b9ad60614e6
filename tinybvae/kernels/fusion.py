"""Fusion: the kernel that makes what a ReLU takes applies it, to a part that is still in its core's cache.

A chain knows which layer comes next, a kernel knows when a part is done: what they tell each other stands here. On the
way back, a ReLU makes dx of the dy that a kernel made, by the signs of its y; and dx is dy of a convolution before it,
whose bias asks for its sums: the kernel has them, too.
"""

import threading

import numpy as np

from tinybvae.kernels.arrays import require_fit
from tinybvae.kernels.compiler import jit
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import SLICES


class _Now(threading.local):
    relu = None       # (y, or None on the way forward; negative_slope) of the ReLU that takes what is made next
    gradient = False  # or room for the weight's gradient, of the layer that goes back
    applied = ()      # the array in which a kernel has applied it, until the ReLU asks
    summed = (), ()   # such an array, and sums of parts of its rows


NOW = _Now()
NONE = {np.dtype(kind): np.empty((0, 0), kind) for kind in (np.float32, np.float64)}


def forget():
    NOW.relu, NOW.gradient, NOW.applied, NOW.summed = None, False, (), ((), ())


def take(made, rows, sums=True):
    """For a kernel that is to make an array: (signs (rows, K), negative_slope, sums (SLICES, K)), for `finish`.

    Without a ReLU negative_slope is 1; without a y, or sums, there are no rows of them.
    """
    if NOW.relu is None:
        return nothing(made)
    (y, negative_slope), NOW.relu, NOW.applied, kind = NOW.relu, None, made, made.dtype.type
    if y is None:
        return nothing(made, negative_slope)
    require_fit(made, y, made.size == y.size)
    signs = y.reshape(rows, -1)
    totals = np.zeros((SLICES, signs.shape[1] if sums else 0), kind)
    if sums:
        NOW.summed = made, totals
    return signs, kind(negative_slope), totals


def room(shape, dtype):
    """An array for a weight's gradient."""
    given, NOW.gradient = NOW.gradient, False
    return given if given is not False and (given.shape, given.dtype) == (shape, dtype) else empty(shape, dtype)


def nothing(made, negative_slope=1):
    none = NONE[made.dtype]
    return none, made.dtype.type(negative_slope), none


def is_applied(array):
    """Whether a kernel has done to the array what a ReLU is asked for now."""
    applied = array is NOW.applied or array.base is NOW.applied
    if applied:
        NOW.applied = ()
    return applied


@jit
def finish(rows, then, first, s):
    """Apply what `take` said to some of the rows, which begin at `first`, of slice s."""
    signs, negative_slope, sums = then
    if negative_slope == 1:
        return
    for m in range(len(rows)):
        row = rows[m]
        if len(signs) == 0:
            for k in range(len(row)):
                row[k] = row[k] if row[k] > 0 else negative_slope * row[k]
        else:
            sign, total = signs[first + m], sums[s]
            for k in range(len(row)):
                dx = row[k] if sign[k] > 0 else negative_slope * row[k]
                row[k] = dx
                total[k] += dx
