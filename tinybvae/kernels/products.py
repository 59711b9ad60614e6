"""The product of two matrices of any shape and order, by threads that share its tiles."""

import numpy as np

from tinybvae.kernels.arrays import require_fit
from tinybvae.kernels.gemm import ROWS, VECTOR, microkernel, whole_vectors, with_zeros
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import indices, next_slice, parallel


def matmul(a, b):
    """a (M, K) @ b (K, N)."""
    (M, K), N = a.shape, b.shape[1]
    require_fit(a, b, b.shape == (K, N))
    if b.flags.fnc and b.size > a.size:  # only Fortran-contiguous: (bᵀ aᵀ)ᵀ, the same sums: copy the smaller one
        return np.ascontiguousarray(matmul(b.T, np.ascontiguousarray(a.T)).T)
    if M < ROWS or not a.flags.forc:  # neither C- nor F-contiguous
        a = with_zeros(a, (max(M, ROWS), K))
    b = whole_vectors(b) if N < VECTOR // b.itemsize else np.ascontiguousarray(b)
    c = empty((len(a), b.shape[1]), a.dtype)
    _matmul(a, b, c)
    return c if c.shape == (M, N) else np.ascontiguousarray(c[:M, :N])


@parallel
def _matmul(work, a, b, c):
    """The last tile of a row or column begins early: it computes some numbers a second time, to the same bits."""
    (M, N), lanes = c.shape, VECTOR // c.itemsize
    rows, columns = -(-M // ROWS), -(-N // lanes)
    s = next_slice(work)
    while s >= 0:
        for t in indices(rows * columns, s):
            microkernel(a, min(t % rows * ROWS, M - ROWS), b, min(t // rows * lanes, N - lanes), c, len(b), False)
        s = next_slice(work)
