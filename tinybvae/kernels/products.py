"""The product of two matrices of any shape and order, by threads that share its tiles."""

import numpy as np

from tinybvae.kernels import fusion
from tinybvae.kernels.arrays import require_fit
from tinybvae.kernels.gemm import ROWS, VECTOR, load, microkernel, put_rows, rectified, store, whole_vectors, with_zeros
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import indices, next_slice, parallel


def matmul(a, b):
    """a (M, K) @ b (K, N)."""
    return _product(a, b, None, fusion.room)


def linear(x, w, bias=None):
    """x (N, inputs) @ w (inputs, outputs) + bias (outputs,)."""
    return _product(x, w, bias, empty, fusion.take)


def _product(x, w, bias, room, then=lambda y, *_: fusion.nothing(y)):
    (N, inputs), outputs = x.shape, w.shape[1]
    require_fit(x, w, w.shape == (inputs, outputs))
    turned = bias is None and w.flags.fnc and w.size > x.size  # wᵀ is contiguous: yᵀ = wᵀ xᵀ is of the same sums, and
    a, b = (w.T, np.ascontiguousarray(x.T)) if turned else (x, w)  # copies the smaller one
    if len(a) < ROWS or not a.flags.forc:  # neither C- nor F-contiguous
        a = with_zeros(a, (max(len(a), ROWS), a.shape[1]))
    b = whole_vectors(b) if b.shape[1] < VECTOR // b.itemsize else np.ascontiguousarray(b)
    bias_there = np.zeros(b.shape[1], b.dtype)
    if bias is not None:
        bias_there[:outputs] = bias
    y = room((N, outputs) if turned else (len(a), b.shape[1]), x.dtype)
    whole = y.shape == (N, outputs)
    signs, negative_slope, _ = then(y, N, False) if whole else fusion.nothing(y)
    _multiply(a, b, bias_there, y, turned, signs, negative_slope)
    return y if whole else np.ascontiguousarray(y[:N, :outputs])


@parallel
def _multiply(work, a, b, bias, y, turned, signs, negative_slope):
    """y, or yᵀ if `turned`, from a and b of at least a tile's rows and columns; then what `fusion` says.

    The last tile of a row or column begins early: it computes some numbers a second time, to the same bits.
    """
    (M, K), N, lanes = a.shape, b.shape[1], VECTOR // b.itemsize
    rows, columns, tile = -(-M // ROWS), -(-N // lanes), np.empty((ROWS, lanes), b.dtype)
    s = next_slice(work)
    while s >= 0:
        for t in indices(rows * columns, s):
            m, n = min(t % rows * ROWS, M - ROWS), min(t // rows * lanes, N - lanes)
            sums = microkernel(a, m, b, n, K)
            if turned:
                put_rows(tile, 0, 0, sums, False)
                for j in range(n, min(n + lanes, len(y))):
                    for i in range(m, min(m + ROWS, y.shape[1])):
                        total = tile[i - m, j - n]
                        sign = signs[j, i] if len(signs) > 0 else total
                        y[j, i] = total if sign > 0 else negative_slope * total
            else:
                for r in range(ROWS):
                    total = sums[r] + load(bias, (n,))
                    sign = load(signs, (m + r, n)) if len(signs) > 0 else total
                    store(y, (m + r, n), rectified(total, sign, negative_slope))
        s = next_slice(work)
