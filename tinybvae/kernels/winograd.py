"""The three loops with 25 products where im2col does 64: Winograd's minimal filtering, F(4×4, 2×2).

Take four neighbouring outputs y0 … y3 of a convolution with two taps g0, g1 over five inputs d0 … d4. The trilinear
form of which each loop is a derivative has eight terms, d[j+a] g[a] y[j]. They add up to Σ d[k] f[k], where f0 … f4 are
the coefficients of a product of polynomials:

    f(t) = f0 + f1 t + … + f4 t⁴ = g(t) y(t),  with g(t) = g0 + g1 t  and  y(t) = y0 + y1 t + y2 t² + y3 t³

Five products instead of eight tell f: its values at t = 0, 1, −2 and −1/2, and f4 = g1 y3. So five numbers are made of
each array: of w and small, by `of_taps` and `of_small`, the factors of these products; of big, by `of_big`, what they
are multiplied by in Σ d[k] f[k]. A loop makes them of the two arrays it is given, multiplies, and takes what comes out
to the third array by the transpose of that one's transform, `to_big`, `to_small` or TAPSᵀ: that is the derivative.
(Lavin and Gray 2016, arXiv 1509.09308: Bᵀ d is `of_big`, G g `of_taps`, Aᵀ of the products
`to_small`. Most other t round more.)

How a 4×4 convolution of stride 2 is of this kind: write p = 2a + e. Row 2i + p of padded big is row e of the pair of
rows i + a. For each e, the taps a = 0, 1 slide over pairs one by one; e, and its twin in the columns, count as more
channels, hence 4·C of them. In two dimensions the rule is applied in both directions (Winograd 1980): 4×4 pixels of
small, a *cell*, look at 10×10 pixels of big, 5×5 pairs, and 5×5 products of matrices do the work of 8×8:

    patches  (25, cells, 4·C)  made of big, by `gather`;  `scatter` is its transpose
    squares  (25, cells, O)    made of small, by `spread`;  `collect` is its transpose
    squares  (25, 4·C, O)      made of w's 2×2 taps, for each channel, by TAPS

    conv2d            small = collect(patches · squares of w)
    conv2d_weight     w     = TAPSᵀ · (patchesᵀ · squares of small)
    conv2d_transpose  big   = scatter(squares of small · squares of wᵀ)

The transforms add and subtract whole vectors. About CELLS cells are transformed, multiplied and transformed back at a
time, so that what lies in between stays in the core's own cache. In float32 rounding is 2e-6 of the largest number.

N batch, H W the small side, C big's channels, O small's. For H and W in fours, and channels in whole vectors.
"""

import numpy as np

from tinybvae.kernels.compiler import jit
from tinybvae.kernels.fusion import finish
from tinybvae.kernels.gemm import VECTOR, gemm, load, put, whole_tiles, with_zeros
from tinybvae.kernels.im2col import add_bias, blank, crop, pad
from tinybvae.kernels.threads import SLICES, add_up, indices, next_slice, parallel

CELLS = 32


# What stands for each array in the five products. `of_taps` divides, so that the others, on vectors, only add.

def of_taps(g0, g1):
    """The values of g, with what `of_big` and `of_small` leave out."""
    return g0 / 2, (g0 + g1) / 9, (g0 - 2 * g1) / 18, (2 * g0 - g1) / 18, g1 / 2


TAPS = np.kron(*2 * [np.transpose([of_taps(1, 0), of_taps(0, 1)])])  # (25, 4): the same, in two dimensions
TAPS = with_zeros(TAPS, (whole_tiles(25), whole_tiles(4)))


@jit
def of_big(d0, d1, d2, d3, d4):
    """2 d0 + 3 d1 − 3 d2 − 2 d3, 2 d1 + 5 d2 + 2 d3, d1 + d2 − 2 d3, then the third and the first mirrored."""
    a, b, c = d1 - d2, d3 - d2, d1 + d2 + d3
    first, last = d0 - d3 + a, d4 - d1 + b
    return first + first + a, c + c + d2 + d2 + d2, a - b - b, b - a - a, last + last + b


@jit
def to_big(r0, r1, r2, r3, r4):
    """The transpose of `of_big`'s matrix: from five products back to five inputs."""
    a, b, c, d, e = r0 + r0, r1 + r1, r2 + r2, r3 + r3, r4 + r4
    f, g = a + r0, e + r4
    return a, f + b + r2 - d - e, b + b + r1 + r2 + r3 - f - g, g + b + r3 - c - a, e


@jit
def of_small(y0, y1, y2, y3):
    """The values of y, 8 times that at −1/2."""
    a, b = y2 - y3 - y3, y0 + y0 - y1
    a, b = a + a - y1, b + b + y2
    return y0, y0 + y1 + y2 + y3, a + a + y0, b + b - y3, y3


@jit
def to_small(r0, r1, r2, r3, r4):
    """The transpose of `of_small`'s matrix: from five products back to four outputs."""
    a, b = r2 + r2, r3 + r3
    c, d = a + a, b + b
    return r0 + r1 + r2 + d + d, r1 - a - d, r1 + c + b, r1 - c - c - r3 + r4


# The transforms of row i of cells, to and from rows m, m + 1, … of the matrices: first along one direction of a cell.

@jit
def gather(padded, i, C, patches, m):
    """patches from big (2H+2, (2W+2)·C), padded by a pixel of zeros."""
    cell = _cell(padded)
    for j in range(padded.shape[1] // (8 * C)):
        for e in range(2):
            for k in range(0, 2 * C, cell.shape[2]):
                for b in range(5):
                    _store(cell[:, b], (0,), of_big(*_five(padded[8 * i + e::2], (8 * C * j + k + 2 * C * b,))), False)
                for a in range(5):
                    _store(patches[5 * a:], (m + j, 2 * C * e + k), of_big(*_five(cell[a], (0,))), False)


@jit
def scatter(patches, m, padded, i, C):
    """The transpose of `gather`: what patches hold is added to big where they overlap."""
    cell = _cell(padded)
    for j in range(padded.shape[1] // (8 * C)):
        for e in range(2):
            for k in range(0, 2 * C, cell.shape[2]):
                for a in range(5):
                    _store(cell[a], (0,), to_big(*_five(patches[5 * a:], (m + j, 2 * C * e + k))), False)
                for b in range(5):
                    _store(padded[8 * i + e::2], (8 * C * j + k + 2 * C * b,), to_big(*_five(cell[:, b], (0,))), True)


@jit
def spread(small, i, squares, m):
    """squares from small (N·H, W, O)."""
    cell = _cell(small)
    for j in range(small.shape[1] // 4):
        for o in range(0, small.shape[2], cell.shape[2]):
            for b in range(4):
                _store(cell[:, b], (0,), of_small(*_four(small[4 * i:], (4 * j + b, o))), False)
            for a in range(5):
                _store(squares[5 * a:], (m + j, o), of_small(*_four(cell[a], (0,))), False)


@jit
def collect(squares, m, small, i):
    """The transpose of `spread`."""
    cell = _cell(small)
    for j in range(small.shape[1] // 4):
        for o in range(0, small.shape[2], cell.shape[2]):
            for a in range(5):
                _store(cell[a], (0,), to_small(*_five(squares[5 * a:], (m + j, o))), False)
            for b in range(4):
                _store(small[4 * i:], (4 * j + b, o), to_small(*_five(cell[:, b], (0,))), False)


@jit
def _cell(array):
    """Room for a cell between the two steps of a transform, a vector a pair or pixel."""
    return np.empty((5, 5, VECTOR // array.itemsize), array.dtype)


@jit
def _four(array, at):
    """The vectors at this place in array[0], array[1], …"""
    return load(array, (0,) + at), load(array, (1,) + at), load(array, (2,) + at), load(array, (3,) + at)


@jit
def _five(array, at):
    return *_four(array, at), load(array, (4,) + at)


@jit
def _store(array, at, vectors, add):
    for r in range(len(vectors)):
        put(array, (r,) + at, vectors[r], add)


# The three loops. Threads share the slices of the batch. Rows of cells are counted through all images: so small is one
# tall image, (N·H, W, O), and a block of about CELLS cells may hold several small images, or a part of a big one.

@jit
def _matrices(cells, numbers, dtype):
    """Room for 25, and for a row more than needed, lest they compete for the same places in the cache."""
    return np.empty((25, whole_tiles(cells) + 1, numbers), dtype)


@jit
def blocks(N, H, W):
    """How many images make a block, of about CELLS cells, or half of them all; and how many blocks there are."""
    images = max(1, min(CELLS // (H // 4 * (W // 4)), -(-N // 2)))
    return images, -(-N // images)


@jit
def _rows_of_slice(s, N, H, columns):
    """The rows of cells of slice s, from its first to the next slice's first: a block or more, or none."""
    images, count = blocks(N, H, 4 * columns)
    own = indices(count, s)
    return H // 4 * images * own.start, H // 4 * min(images * own.stop, N)


@jit
def _gather_rows(big, first, last, padded, C, patches):
    """patches from these rows of cells; `padded` is the image they are in, and stays from one call to the next."""
    H, columns = big.shape[1] // 2, big.shape[2] // (8 * C)
    for row in range(first, last):
        n, i = divmod(row, H // 4)
        if i == 0:
            pad(big[n], padded, C)
        gather(padded, i, C, patches, (row - first) * columns)


@jit
def _squares_of_w(w, turned):
    """(25, 4·C, O), or (25, O, 4·C), of w (4, 4, C, O).

    Each thread makes its own: to fetch them from another's core would take longer.
    """
    C, O = w.shape[2:]
    taps = np.empty((4, 4 * C * O), w.dtype)
    for p in range(4):
        for q in range(4):
            for c in range(C):
                k = p % 2 * 2 * C + q % 2 * C + c
                for o in range(O):
                    taps[p // 2 * 2 + q // 2, 4 * C * o + k if turned else O * k + o] = w[p, q, c, o]
    squares = np.empty((len(TAPS), taps.shape[1]), w.dtype)
    gemm(TAPS.astype(w.dtype), taps, squares, 25, 4, False)
    return squares.reshape(-1, O, 4 * C) if turned else squares.reshape(-1, 4 * C, O)


@parallel
def conv2d(work, big, w, bias, small, then):
    """small (N·H, W, O) from big (N, 2H, 2W·C), w (4, 4, C, O) and bias (O,); then what `fusion` says."""
    N, H, columns = len(big), big.shape[1] // 2, small.shape[1] // 4
    rows, w = max(1, CELLS // columns), _squares_of_w(w, False)
    K, O = w.shape[1:]
    s = next_slice(work)
    while s >= 0:
        padded = blank(big, K // 4)
        patches, squares = _matrices(rows * columns, K, w.dtype), _matrices(rows * columns, O, w.dtype)
        start, stop = _rows_of_slice(s, N, H, columns)
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            _gather_rows(big, first, last, padded, K // 4, patches)
            for r in range(25):
                gemm(patches[r], w[r], squares[r], (last - first) * columns, K, False)
            for cell in squares[6, :(last - first) * columns]:
                add_bias(cell, bias, cell)  # at t = 1, twice: added to all pixels
            for row in range(first, last):
                collect(squares, (row - first) * columns, small, row)
                _bias_alone(big, bias, small, 4 * row)
                finish(small[4 * row:4 * row + 4].reshape(4, -1), then, 4 * row, s)
        s = next_slice(work)


@jit
def _any(rows):
    """Whether a number in them is not 0."""
    for m in range(len(rows)):
        for k in range(rows.shape[1]):
            if rows[m, k] != 0:
                return True
    return False


@jit
def _bias_alone(big, bias, small, start):
    """In four rows of small, from `start` on, exactly the bias for a pixel that looks at zeros only.

    A sum of products would differ by a rounding error, and in a new model, whose biases are zero, each black pixel
    would lie on one side or the other of the ReLU's kink.
    """
    H, C = big.shape[1] // 2, big.shape[2] // (2 * small.shape[1])
    for y in range(start, start + 4):
        n, i = divmod(y, H)
        for j in range(small.shape[1]):
            if not _any(big[n, max(2 * i - 1, 0):2 * i + 3, max(2 * j - 1, 0) * C:(2 * j + 3) * C]):
                for o in range(len(bias)):
                    small[y, j, o] = bias[o]


@parallel
def conv2d_transpose(work, small, w, bias, big, then):
    """big (N, 2H, 2W·C) from small (N·H, W, O), w (4, 4, C, O) and bias (2W·C,); then the same."""
    N, H, columns = len(big), big.shape[1] // 2, small.shape[1] // 4
    rows, w = max(1, CELLS // columns), _squares_of_w(w, True)
    O, K = w.shape[1:]
    s = next_slice(work)
    while s >= 0:
        padded = blank(big, K // 4)
        squares, patches = _matrices(rows * columns, O, w.dtype), _matrices(rows * columns, K, w.dtype)
        start, stop = _rows_of_slice(s, N, H, columns)
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            for row in range(first, last):
                spread(small, row, squares, (row - first) * columns)
            for r in range(25):
                gemm(squares[r], w[r], patches[r], (last - first) * columns, O, False)
            for row in range(first, last):
                n, i = divmod(row, H // 4)
                if i == 0:
                    padded[:] = 0
                scatter(patches, (row - first) * columns, padded, i, K // 4)
                if i == H // 4 - 1:
                    crop(padded, bias, big[n], K // 4, then, 2 * H * n, s)
        s = next_slice(work)


@parallel
def conv2d_weight(work, big, small, slices):
    """slices[0] (4 in whole tiles, 4·C·O) becomes w's taps, from big (N, 2H, 2W·C) and small (N·H, W, O).

    There are SLICES of them, or as many as blocks.
    """
    N, H, (W, O) = len(big), big.shape[1] // 2, small.shape[1:]
    K, columns = slices.shape[2] // O, W // 4
    rows = max(1, CELLS // columns)
    s = next_slice(work)
    while s >= 0:
        start, stop = _rows_of_slice(s, N, H, columns)
        if start < stop:
            padded = blank(big, K // 4)
            patches, squares = _matrices(rows * columns, K, big.dtype), _matrices(rows * columns, O, big.dtype)
            total = np.zeros((25, K, O), big.dtype)
            for first in range(start, stop, rows):
                last = min(first + rows, stop)
                _gather_rows(big, first, last, padded, K // 4, patches)
                for row in range(first, last):
                    spread(small, row, squares, (row - first) * columns)
                for r in range(25):
                    gemm(patches[r].T, squares[r], total[r], K, (last - first) * columns, True)
            own = s * len(slices) // SLICES
            gemm(TAPS.T.astype(big.dtype), total.reshape(25, K * O), slices[own], 4, 25, False)
            add_up(work, slices, own)
        s = next_slice(work)
