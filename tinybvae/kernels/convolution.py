"""The three loops of a strided convolution, fast: by fewer products (`winograd`), or from patches (`im2col`)."""

import numpy as np

from tinybvae.kernels import fusion, im2col, winograd
from tinybvae.kernels.arrays import require_fit
from tinybvae.kernels.gemm import VECTOR, whole_tiles, whole_vectors, with_zeros
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import SLICES


def _is_fast(H, W, C, O, dtype):
    """Whether `winograd` takes them: height and width in fours, channels in whole vectors."""
    lanes = VECTOR // dtype.itemsize
    return H % 4 == W % 4 == 2 * C % lanes == O % lanes == 0


def _columns_first(w):
    """(4, 4, C, O) -> (16·C, O), in the order of `im2col`."""
    return w.transpose(1, 0, 2, 3).reshape(-1, w.shape[3])


def _repeated(bias, times, channels, dtype):
    """(times · channels,)"""
    repeated = np.zeros((times, channels), dtype)
    repeated[...] = bias
    return repeated.reshape(-1)


def conv2d(big, w, bias=0):
    """small (N, H, W, O) from big (N, 2H, 2W, C), w (4, 4, C, O) and bias (O,)."""
    (N, H2, W2, C), O = big.shape, w.shape[-1]
    H, W = H2 // 2, W2 // 2
    require_fit(big, w, w.shape == (4, 4, C, O) and H2 % 2 == W2 % 2 == 0)
    bias = _repeated(bias, 1, O, w.dtype)
    rows = np.ascontiguousarray(big).reshape(N, H2, W2 * C)
    small = empty((N, H, W, O), big.dtype)
    then = fusion.take(small, N * H)
    if _is_fast(H, W, C, O, big.dtype):
        winograd.conv2d(rows, np.ascontiguousarray(w), bias, small.reshape(N * H, W, O), then)
    else:
        im2col.conv2d(rows, whole_vectors(_columns_first(w)), bias, small, then)
    return small


def conv2d_transpose(small, w, bias=0):
    """big (N, 2H, 2W, C) from small (N, H, W, O), w (4, 4, C, O) and bias (C,)."""
    (N, H, W, O), C = small.shape, w.shape[-2]
    require_fit(small, w, w.shape == (4, 4, C, O))
    bias = _repeated(bias, 2 * W, C, w.dtype)
    big = empty((N, 2 * H, 2 * W * C), small.dtype)
    then = fusion.take(big, N * 2 * H)
    if _is_fast(H, W, C, O, small.dtype):
        small = np.ascontiguousarray(small).reshape(N * H, W, O)
        winograd.conv2d_transpose(small, np.ascontiguousarray(w), bias, big, then)
    else:
        small = with_zeros(small, (N, H, whole_tiles(W), O))
        im2col.conv2d_transpose(small, whole_vectors(w.reshape(-1, O).T), bias, big, C, then)
    return big.reshape(N, 2 * H, 2 * W, C)


def conv2d_weight(big, small):
    """w (4, 4, C, O) from big (N, 2H, 2W, C) and small (N, H, W, O)."""
    (N, H, W, O), C = small.shape, big.shape[3]
    require_fit(big, small, big.shape == (N, 2 * H, 2 * W, C))
    rows = np.ascontiguousarray(big).reshape(N, 2 * H, 2 * W * C)
    w = fusion.room((4, 4, C, O), big.dtype)
    if N == 0:
        w[...] = 0
        return w
    if _is_fast(H, W, C, O, small.dtype):
        slices = empty((min(SLICES, winograd.blocks(N, H, W)[1]), whole_tiles(4), 4 * C * O), big.dtype)
        winograd.conv2d_weight(rows, np.ascontiguousarray(small).reshape(N * H, W, O), slices)
        w.reshape(2, 2, 2, 2, C, O).swapaxes(1, 2)[...] = slices[0, :4].reshape(2, 2, 2, 2, C, O)
        return w
    small = whole_vectors(small)
    slices = empty((SLICES, 16 * C, small.shape[3]), big.dtype)
    im2col.conv2d_weight(rows, small, slices)
    w[...] = slices[0, :, :O].reshape(4, 4, C, O).transpose(1, 0, 2, 3)
    return w
