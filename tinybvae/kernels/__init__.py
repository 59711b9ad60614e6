"""The loops of `convolution`, fast, and the other passes over arrays that a training step needs.

README.md beside this file says how: products of matrices whose sums stay in registers (`gemm`), from patches of an
image (`im2col`) or from fewer numbers (`winograd`), in memory that was used before (`memory`). `plain` has the same
functions in NumPy. Each raises ValueError for arrays that do not fit together. Shapes as in `convolution`.
"""

import numba
import numpy as np

from tinybvae.kernels import im2col, winograd
from tinybvae.kernels.gemm import ROWS, VECTOR, microkernel, whole_tiles, whole_vectors, with_zeros
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import SLICES, indices, next_slice, parallel, part


def _require_fit(a, b, fit):
    """Raise ValueError unless they fit, as the caller says, and the dtypes are one: compiled code does not check."""
    if not fit or a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        raise ValueError(f"arrays must fit together, be both float32 or both float64, and contiguous where written to, "
                         f"not {a.dtype} of {a.shape} and {b.dtype} of {b.shape}")


def _is_fast(H, W, C, O, dtype):
    """Whether `winograd` takes them: height and width in fours, channels in whole vectors."""
    lanes = VECTOR // dtype.itemsize
    return H % 4 == W % 4 == 2 * C % lanes == O % lanes == 0


def _columns_first(w):
    """(4, 4, C, O) -> (16·C, O), in the order of `im2col`."""
    return w.transpose(1, 0, 2, 3).reshape(-1, w.shape[3])


def _taps(w):
    """(4, 4, C, O) -> (4, 4·C, O): 2×2 taps, and for each 4·C channels, in the order of `winograd`."""
    return _pairs(w).reshape(4, -1, w.shape[3])


def _pairs(w):
    """w (4, 4, C, O), rows p = 2a + s and columns q = 2b + t, from the order (a, s, b, t) to (a, b, s, t), or back."""
    return w.reshape(2, 2, 2, 2, *w.shape[2:]).transpose(0, 2, 1, 3, 4, 5)


def conv2d(big, w, bias=0):
    """small (N, H, W, O) from big (N, 2H, 2W, C), w (4, 4, C, O) and bias (O,)."""
    (N, H2, W2, C), O = big.shape, w.shape[-1]
    H, W = H2 // 2, W2 // 2
    _require_fit(big, w, w.shape == (4, 4, C, O) and H2 % 2 == W2 % 2 == 0)
    bias = np.full(O, bias, w.dtype)
    rows = np.ascontiguousarray(big).reshape(N, H2, W2 * C)
    if _is_fast(H, W, C, O, big.dtype):
        small = empty((N, H, W, O), big.dtype)
        winograd.conv2d(rows, _taps(w), bias, small.reshape(N * H, W, O))
        return small
    w = whole_vectors(_columns_first(w))
    small = empty((N, H, whole_tiles(W), w.shape[1]), big.dtype)
    im2col.conv2d(rows, w, bias, small)
    return np.ascontiguousarray(small[:, :, :W, :O])


def conv2d_transpose(small, w, bias=0):
    """big (N, 2H, 2W, C) from small (N, H, W, O), w (4, 4, C, O) and bias (C,)."""
    (N, H, W, O), C = small.shape, w.shape[-2]
    _require_fit(small, w, w.shape == (4, 4, C, O))
    bias = np.full((2 * W, C), bias, w.dtype).reshape(-1)
    big = empty((N, 2 * H, 2 * W * C), small.dtype)
    if _is_fast(H, W, C, O, small.dtype):
        small = np.ascontiguousarray(small).reshape(N * H, W, O)
        winograd.conv2d_transpose(small, np.ascontiguousarray(_taps(w).swapaxes(1, 2)), bias, big)
    else:
        small = with_zeros(small, (N, H, whole_tiles(W), O))
        im2col.conv2d_transpose(small, whole_vectors(w.reshape(-1, O).T), bias, big, C)
    return big.reshape(N, 2 * H, 2 * W, C)


def conv2d_weight(big, small):
    """w (4, 4, C, O) from big (N, 2H, 2W, C) and small (N, H, W, O)."""
    (N, H, W, O), C = small.shape, big.shape[3]
    _require_fit(big, small, big.shape == (N, 2 * H, 2 * W, C))
    rows = np.ascontiguousarray(big).reshape(N, 2 * H, 2 * W * C)
    if _is_fast(H, W, C, O, small.dtype):
        slices = empty((SLICES, whole_tiles(4), 4 * C * O), big.dtype)
        winograd.conv2d_weight(rows, np.ascontiguousarray(small).reshape(N * H, W, O), slices)
        return _pairs(slices[:, :4].sum(axis=0).reshape(4, 4, C, O)).reshape(4, 4, C, O)
    small = whole_vectors(small)
    slices = empty((SLICES, 16 * C, small.shape[3]), big.dtype)
    im2col.conv2d_weight(rows, small, slices)
    return slices.sum(axis=0)[:, :O].reshape(4, 4, C, O).transpose(1, 0, 2, 3).copy()


def matmul(a, b):
    """a (M, K) @ b (K, N), for the linear layers."""
    (M, K), N = a.shape, b.shape[1]
    _require_fit(a, b, b.shape == (K, N))
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


# The passes over whole arrays in between.

def sum_pixels(y):
    """Σ y (N, H, W, O) over all but the channels: (O,)."""
    N, H, W, O = y.shape
    slices = empty((SLICES, W * O), y.dtype)
    _sum_rows(np.ascontiguousarray(y).reshape(N * H, W * O), slices)
    return slices.reshape(-1, O).sum(axis=0)


@parallel
def _sum_rows(work, rows, slices):
    """Sums of SLICES parts of the rows (M, K)."""
    s = next_slice(work)
    while s >= 0:
        total = slices[s]
        total[:] = 0
        for m in indices(len(rows), s):
            row = rows[m]
            for k in range(len(row)):
                total[k] += row[k]
        s = next_slice(work)


# In place, for LLVM cannot vectorize a loop over two arrays that may be the same one.

def relu(x, negative_slope, y=None):
    """y = x where x > 0, else negative_slope · x; NaN where x is. y may be x; if none is given, it is a new array."""
    y = empty(x.shape, x.dtype) if y is None else y
    _require_fit(x, y, x.shape == y.shape and y.flags.c_contiguous)
    if y is not x:
        y[...] = x
    _relu(y.reshape(-1), y.dtype.type(negative_slope))
    return y


@parallel
def _relu(work, y, negative_slope):
    s = next_slice(work)
    while s >= 0:
        ys = part(y, s)
        for i in range(len(ys)):
            ys[i] = ys[i] if ys[i] > 0 else negative_slope * ys[i]
        s = next_slice(work)


def relu_backward(dy, y, negative_slope, dx=None):
    """dx = dy where y > 0, else negative_slope · dy. dx may be dy, but not y; if none is given, it is a new array."""
    dx = empty(dy.shape, dy.dtype) if dx is None else dx
    _require_fit(dy, y, dy.shape == y.shape)
    _require_fit(dy, dx, dy.shape == dx.shape and dx.flags.c_contiguous and not np.may_share_memory(dx, y))
    if dx is not dy:
        dx[...] = dy
    _relu_backward(dx.reshape(-1), y.reshape(-1), dx.dtype.type(negative_slope))
    return dx


@parallel
def _relu_backward(work, dx, y, negative_slope):
    s = next_slice(work)
    while s >= 0:
        dxs, ys = part(dx, s), part(y, s)
        for i in range(len(ys)):
            dxs[i] = dxs[i] if ys[i] > 0 else negative_slope * dxs[i]
        s = next_slice(work)


if numba.config.DISABLE_JIT:  # NUMBA_DISABLE_JIT=1: the plain twins, to step through with a debugger
    from tinybvae.kernels.plain import (conv2d, conv2d_transpose, conv2d_weight, matmul, relu,  # noqa: F811
                                        relu_backward, sum_pixels)
