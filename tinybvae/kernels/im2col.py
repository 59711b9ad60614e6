"""The three loops as products of matrices, by im2col, for any number of channels and any size.

For a row of pixels of small there is a matrix, patches (W, 16·C): its row j holds the 4×4 pixels of big that pixel j
looks at. Then

    conv2d            small[i]  = patches · w
    conv2d_weight     w        += patchesᵀ · small[i]
    conv2d_transpose  patches   = small[i] · wᵀ,  and patches that overlap in big add up

The first two need not copy 16·C numbers a pixel: four rows of big are laid out column by column in a `strip`, in which
the patches of neighbouring pixels are windows that overlap, 8·C numbers apart. There a patch's numbers, and w's, come
in the order (q, p, c), columns first; in the third they come as (p, q, c).

N batch, H W the small side, C big's channels, O small's. big is flat in its rows, (N, 2H, 2W·C).
"""

import numpy as np

from tinybvae.kernels.compiler import jit
from tinybvae.kernels.fusion import finish
from tinybvae.kernels.gemm import gemm, whole_tiles
from tinybvae.kernels.threads import add_up, indices, next_slice, parallel


@jit
def blank(big, C):
    """Room for one image of big, with a pixel of zeros around it: (2H+2, (2W+2)·C)."""
    return np.zeros((big.shape[1] + 2, big.shape[2] + 2 * C), big.dtype)


@jit
def pad(image, padded, C):
    """Copy an image (2H, 2W·C) into a blank."""
    for y in range(len(image)):
        source, target = image[y], padded[y + 1, C:]
        for k in range(len(source)):
            target[k] = source[k]


@jit
def crop(padded, bias, image, C, then, first, s):
    """Copy it back, and add a bias to each row (2W·C,); then what `fusion` says, of rows from `first` on."""
    for y in range(len(image)):
        add_bias(padded[y + 1, C:], bias, image[y])
        finish(image[y:y + 1], then, first + y, s)


@jit
def add_bias(source, bias, target):
    """target (n,) = source + bias"""
    for k in range(len(bias)):
        target[k] = source[k] + bias[k]


@jit
def _windows(W, C, dtype):
    """A strip of zeros, and the windows on it: as many as W, rounded up to whole tiles.

    patches[j, 8·C + k], beyond the end of row j, is patches[j + 1, k]: so a window is a row and the next one, for a
    product that checks no bounds.
    """
    strip = np.zeros((whole_tiles(W) + 1) * 8 * C, dtype)
    return strip, strip.reshape(-1, 8 * C)


@jit
def _fill(strip, padded, i, C):
    """Lay out the four rows of big that row i of small looks at."""
    if C == 1:  # a picture: the same, but with strides that LLVM knows, so that it moves several numbers at once
        row0, row1, row2, row3 = padded[2 * i], padded[2 * i + 1], padded[2 * i + 2], padded[2 * i + 3]
        for x in range(padded.shape[1]):
            strip[4 * x], strip[4 * x + 1], strip[4 * x + 2], strip[4 * x + 3] = row0[x], row1[x], row2[x], row3[x]
        return
    for p in range(4):
        for c in range(C):
            source, target = padded[2 * i + p, c:], strip[p * C + c:]
            for x in range(padded.shape[1] // C):
                target[4 * C * x] = source[C * x]


@parallel
def conv2d(work, big, w, bias, small, then):
    """small (N, H, W, O) from big (N, 2H, 2W·C), w (16·C, O in whole vectors), bias (O,); then what `fusion` says."""
    (N, H, W), K = small.shape[:3], len(w)
    C = K // 16
    s = next_slice(work)
    while s >= 0:
        padded, products = blank(big, C), np.empty((whole_tiles(W), w.shape[1]), w.dtype)
        strip, patches = _windows(W, C, w.dtype)
        for n in indices(N, s):
            pad(big[n], padded, C)
            for i in range(H):
                _fill(strip, padded, i, C)
                gemm(patches, w, products, W, K, False)
                for j in range(W):
                    add_bias(products[j], bias, small[n, i, j])
                finish(small[n, i].reshape(1, -1), then, H * n + i, s)
        s = next_slice(work)


@parallel
def conv2d_transpose(work, small, w, bias, big, C, then):
    """big (N, 2H, 2W·C) from small (N, H, W in whole tiles, O), wᵀ (O, 16·C in whole vectors) and bias (2W·C,)."""
    N, H, W, O = len(big), big.shape[1] // 2, big.shape[2] // (2 * C), len(w)
    s = next_slice(work)
    while s >= 0:
        padded = blank(big, C)
        patches = np.empty((small.shape[2], w.shape[1]), w.dtype)
        for n in indices(N, s):
            padded[:] = 0
            for i in range(H):
                gemm(small[n, i], w, patches, W, O, False)
                _add_patches(patches, padded, i, W, C)
            crop(padded, bias, big[n], C, then, 2 * H * n, s)
        s = next_slice(work)


@jit
def _add_patches(patches, padded, i, W, C):
    """Add the patches of row i of small to the rows of big that they are of."""
    if C == 1:  # as in `_fill`
        for p in range(4):
            row = padded[2 * i + p]
            for j in range(W):
                for k in range(4):
                    row[2 * j + k] += patches[j, 4 * p + k]
        return
    for j in range(W):
        for p in range(4):
            source, target = patches[j, 4 * C * p:], padded[2 * i + p, 2 * C * j:]
            for k in range(4 * C):
                target[k] += source[k]


@parallel
def conv2d_weight(work, big, small, slices):
    """slices (SLICES, 16·C, O), of which slices[0] becomes w, from big (N, 2H, 2W·C) and small (N, H, W, O)."""
    (N, H, W, O), K = small.shape, slices.shape[1]
    C = K // 16
    s = next_slice(work)
    while s >= 0:
        padded = blank(big, C)
        strip, patches = _windows(W, C, big.dtype)
        slices[s] = 0
        for n in indices(N, s):
            pad(big[n], padded, C)
            for i in range(H):
                _fill(strip, padded, i, C)
                gemm(patches.T, small[n, i], slices[s], K, W, True)
        add_up(work, slices, s)
        s = next_slice(work)
