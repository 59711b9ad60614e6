"""The three loops with 9 products where im2col does 16: Winograd's minimal filtering, F(2×2, 2×2).

Take two neighbouring outputs y0, y1 of a convolution with two taps g0, g1 over three inputs d0, d1, d2. The trilinear
form of which each loop is a derivative has four terms, and three products have the same value:

    d0 g0 y0 + d1 g1 y0 + d1 g0 y1 + d2 g1 y1  =  (d0 − d1) g0 y0  +  d1 (g0 + g1) (y0 + y1)  +  (d2 − d1) g1 y1

So three numbers are made of each array, by `of_big` and `of_small`. A loop makes them of the two arrays it is given,
multiplies, and takes what comes out to the third array by the transpose of that one's transform, `to_big` or
`to_small`: that is the derivative by it. (Lavin and Gray 2016, arXiv 1509.09308, write Bᵀ d for `of_big`, G g for
`of_small` and Aᵀ m for `to_small`.)

How a 4×4 convolution of stride 2 is of this kind: write p = 2a + s. Row 2i + p of padded big is row s of the pair of
rows i + a. For each s, the taps a = 0, 1 slide over pairs one by one; s, and its twin in the columns, count as more
channels, hence 4·C of them. In two dimensions the rule is applied to rows and then to columns. A *cell*, 2×2 pixels of
small, looks at 6×6 pixels of big, which are 3×3 pairs, and 3×3 products of matrices do the work of 4×4 (Winograd 1980):

    patches  (9, cells, 4·C)  made of big, by `gather`;  `scatter` is its transpose
    squares  (9, cells, O)    made of small, by `spread`;  `collect` is its transpose
    squares  (9, 4·C, O)      made of w by the same two: its 2×2 taps, for each channel, are a cell too

    conv2d            small = collect(patches · squares of w)
    conv2d_weight     w     = collect(patchesᵀ · squares of small)
    conv2d_transpose  big   = scatter(squares of small · squares of wᵀ)

The transforms add and subtract whole vectors. About CELLS cells are transformed, multiplied and transformed back at a
time, so that what lies in between stays in the core's own cache.

N batch, H W the small side, C big's channels, O small's. For even H and W, and channels in whole vectors.
"""

import numpy as np

from tinybvae.kernels.compiler import jit
from tinybvae.kernels.gemm import VECTOR, gemm, load, store, whole_tiles
from tinybvae.kernels.im2col import add_bias, blank, crop, pad
from tinybvae.kernels.threads import indices, parallel, shared

CELLS = 32


# The rule and its transposes, on vectors.

@jit
def of_big(d0, d1, d2):
    """What stands for three inputs in the three products."""
    return d0 - d1, d1, d2 - d1


@jit
def to_big(r0, r1, r2):
    """The transpose of `of_big`, as a matrix: what three products are to the three inputs."""
    return r0, r1 - r0 - r2, r2


@jit
def of_small(y0, y1):
    """What stands for two outputs, or two taps, in the three products."""
    return y0, y0 + y1, y1


@jit
def to_small(r0, r1, r2):
    """The transpose of `of_small`: what three products are to the two outputs, or taps."""
    return r0 + r1, r1 + r2


# The transforms of row i of cells, to and from rows t, t + 1, … of the matrices.

@jit
def gather(padded, i, C, patches, t):
    """patches from big (2H+2, (2W+2)·C), padded by a pixel of zeros."""
    for j in range(padded.shape[1] // (4 * C)):
        for s in range(2):
            for k in range(0, 2 * C, VECTOR // padded.itemsize):
                y, x, to = 4 * i + s, 4 * C * j + k, 2 * C * s + k
                a0, a1, a2 = of_big(*_load_column(padded, y, x))
                b0, b1, b2 = of_big(*_load_column(padded, y, x + 2 * C))
                c0, c1, c2 = of_big(*_load_column(padded, y, x + 4 * C))
                _store_three(patches, 0, t + j, to, of_big(a0, b0, c0))
                _store_three(patches, 3, t + j, to, of_big(a1, b1, c1))
                _store_three(patches, 6, t + j, to, of_big(a2, b2, c2))


@jit
def scatter(patches, t, padded, i, C):
    """The transpose of `gather`: what patches hold is added to big where they overlap."""
    for j in range(padded.shape[1] // (4 * C)):
        for s in range(2):
            for k in range(0, 2 * C, VECTOR // padded.itemsize):
                y, x, at = 4 * i + s, 4 * C * j + k, 2 * C * s + k
                a0, b0, c0 = to_big(*_load_three(patches, 0, t + j, at))
                a1, b1, c1 = to_big(*_load_three(patches, 3, t + j, at))
                a2, b2, c2 = to_big(*_load_three(patches, 6, t + j, at))
                _add_column(padded, y, x, to_big(a0, a1, a2))
                _add_column(padded, y, x + 2 * C, to_big(b0, b1, b2))
                _add_column(padded, y, x + 4 * C, to_big(c0, c1, c2))


@jit
def spread(small, i, squares, t):
    """squares from small (H, W, O)."""
    y = 2 * i
    for j in range(small.shape[1] // 2):
        x = 2 * j
        for o in range(0, small.shape[2], VECTOR // small.itemsize):
            a0, a1, a2 = of_small(load(small, (y, x, o)), load(small, (y + 1, x, o)))
            b0, b1, b2 = of_small(load(small, (y, x + 1, o)), load(small, (y + 1, x + 1, o)))
            _store_three(squares, 0, t + j, o, of_small(a0, b0))
            _store_three(squares, 3, t + j, o, of_small(a1, b1))
            _store_three(squares, 6, t + j, o, of_small(a2, b2))


@jit
def collect(squares, t, small, i):
    """The transpose of `spread`."""
    y = 2 * i
    for j in range(small.shape[1] // 2):
        x = 2 * j
        for o in range(0, small.shape[2], VECTOR // small.itemsize):
            a0, b0 = to_small(*_load_three(squares, 0, t + j, o))
            a1, b1 = to_small(*_load_three(squares, 3, t + j, o))
            a2, b2 = to_small(*_load_three(squares, 6, t + j, o))
            a, c = to_small(a0, a1, a2)
            b, d = to_small(b0, b1, b2)
            store(small, (y, x, o), a)
            store(small, (y, x + 1, o), b)
            store(small, (y + 1, x, o), c)
            store(small, (y + 1, x + 1, o), d)


@jit
def _load_three(matrices, r, t, k):
    return load(matrices, (r, t, k)), load(matrices, (r + 1, t, k)), load(matrices, (r + 2, t, k))


@jit
def _store_three(matrices, r, t, k, vectors):
    a, b, c = vectors
    store(matrices, (r, t, k), a)
    store(matrices, (r + 1, t, k), b)
    store(matrices, (r + 2, t, k), c)


@jit
def _load_column(padded, y, x):
    return load(padded, (y, x)), load(padded, (y + 2, x)), load(padded, (y + 4, x))


@jit
def _add_column(padded, y, x, vectors):
    a, b, c = vectors
    store(padded, (y, x), load(padded, (y, x)) + a)
    store(padded, (y + 2, x), load(padded, (y + 2, x)) + b)
    store(padded, (y + 4, x), load(padded, (y + 4, x)) + c)


# The three loops. Threads share the slices of the batch. Rows of cells are counted through all images: so small is one
# tall image, (N·H, W, O), and a block of about CELLS cells may hold several small images, or a part of a big one.

@jit
def _matrices(cells, numbers, dtype):
    """Room for nine, and for a row more than needed, lest the nine compete for the same places in the cache."""
    return np.empty((9, whole_tiles(cells) + 1, numbers), dtype)


@jit
def _rows_of_slice(s, N, H):
    """The rows of cells of slice s, from its first to the next slice's first."""
    images = indices(N, s)
    return H // 2 * images.start, H // 2 * images.stop


@jit
def _gather_rows(big, first, last, padded, C, patches):
    """patches from these rows of cells; `padded` is the image they are in, and stays from one call to the next."""
    H, columns = big.shape[1] // 2, big.shape[2] // (4 * C)
    for row in range(first, last):
        n, i = divmod(row, H // 2)
        if i == 0:
            pad(big[n], padded, C)
        gather(padded, i, C, patches, (row - first) * columns)


@parallel
def conv2d(work, big, w, bias, small):
    """small (N·H, W, O) from big (N, 2H, 2W·C), squares of w (9, 4·C, O) and bias (O,)."""
    N, H, columns = len(big), big.shape[1] // 2, small.shape[1] // 2
    K, O = w.shape[1:]
    rows = max(1, CELLS // columns)
    for s in shared(work):
        padded = blank(big, K // 4)
        patches, squares = _matrices(rows * columns, K, w.dtype), _matrices(rows * columns, O, w.dtype)
        start, stop = _rows_of_slice(s, N, H)
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            _gather_rows(big, first, last, padded, K // 4, patches)
            for r in range(9):
                gemm(patches[r], w[r], squares[r], (last - first) * columns, K, False)
            add_bias(squares[4], bias, (last - first) * columns)  # `to_small` hands it on to all pixels of a cell
            for row in range(first, last):
                collect(squares, (row - first) * columns, small, row)


@parallel
def conv2d_transpose(work, small, w, bias, big):
    """big (N, 2H, 2W·C) from small (N·H, W, O), squares of w, transposed (9, O, 4·C), and bias (2W·C,)."""
    N, H, columns = len(big), big.shape[1] // 2, small.shape[1] // 2
    O, K = w.shape[1:]
    rows = max(1, CELLS // columns)
    for s in shared(work):
        padded = blank(big, K // 4)
        squares, patches = _matrices(rows * columns, O, w.dtype), _matrices(rows * columns, K, w.dtype)
        start, stop = _rows_of_slice(s, N, H)
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            for row in range(first, last):
                spread(small, row, squares, (row - first) * columns)
            for r in range(9):
                gemm(squares[r], w[r], patches[r], (last - first) * columns, O, False)
            for row in range(first, last):
                n, i = divmod(row, H // 2)
                if i == 0:
                    padded[:] = 0
                scatter(patches, (row - first) * columns, padded, i, K // 4)
                if i == H // 2 - 1:
                    crop(padded, bias, big[n], K // 4)


@parallel
def conv2d_weight(work, big, small, slices):
    """Slices (SLICES, 9, 4·C, O), whose sum is the squares of w, from big (N, 2H, 2W·C) and small (N·H, W, O)."""
    N, H, columns = len(big), big.shape[1] // 2, small.shape[1] // 2
    K, O = slices.shape[2:]
    rows = max(1, CELLS // columns)
    for s in shared(work):
        padded = blank(big, K // 4)
        patches, squares = _matrices(rows * columns, K, big.dtype), _matrices(rows * columns, O, big.dtype)
        start, stop = _rows_of_slice(s, N, H)
        slices[s] = 0
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            _gather_rows(big, first, last, padded, K // 4, patches)
            for row in range(first, last):
                spread(small, row, squares, (row - first) * columns)
            _gemm_transposed(patches, squares, slices[s], (last - first) * columns)


@jit
def _gemm_transposed(patches, squares, total, t):
    """total += patchesᵀ · squares, over the first t cells."""
    for r in range(9):
        gemm(patches[r].T, squares[r], total[r], total.shape[1], t, True)
