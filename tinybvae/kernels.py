"""The three loops of a strided convolution, vectorised and parallel; `reference` says what they compute.

Read as matrices, each loop is one product with the patches of an image, patch[x, k] = the k-th of the 16·C numbers
that pixel x of `small` looks at:

    conv2d            small[x, o]  = Σ_k patch[x, k] · w[k, o]
    conv2d_weight     w[k, o]      = Σ_x patch[x, k] · small[x, o]
    conv2d_transpose  patch[x, k]  = Σ_o small[x, o] · w[k, o],  and patches that overlap in `big` add up

The patch matrix, four times as large as the image, is never stored. In an image padded by one pixel and laid out
flat, patch[x, k] = padded[corner[x] + tap[k]]: where the patch begins, plus where in a patch its k-th number lies.

What makes it fast is the inner step, one for all three, on a *tile* of ROWS × LANES sums:

    tile[r, :] += a[r] · b[:]          ROWS numbers of a, LANES contiguous numbers of b: `add_outer`

A core multiplies and adds 8 or 16 numbers with one instruction, and can begin two of those each cycle, but can fetch
only about two such vectors from its nearest cache in that time. So sums must stay in registers while they grow. An
array in a Numba loop always lives in memory; a value of the small Tile type below does not: it is 8 × 32 numbers, on
AVX-512 sixteen of the thirty-two registers, and each step does 16 multiply-adds for 2 loads of b and 8 of a. LLVM
splits the 32 lanes into whatever vectors the processor has, so that the same source runs anywhere.

Threads take whole images, so that none writes where another does. Weight gradients sum over images: the batch is cut
into SLICES sums, added in order, so that the result's bits do not depend on the number of threads.

Shapes as in `reference`; O is padded to a multiple of LANES inside. float32 and float64 run the same source.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array


ROWS, LANES = 8, 32
SLICES = 16


# The register tile: a Numba type, and the four things one can do with it. `rows` is an array of offsets;
# a tile's row r lives at a[rows[t + r] + offset].

class Tile(types.Type):
    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Tile({dtype})")


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile):
        number = manager.lookup(tile.dtype).get_data_type()
        super().__init__(manager, tile, ir.ArrayType(ir.VectorType(number, LANES), ROWS))


OFFSETS = types.Array(types.intp, 1, "C")


def _address(context, builder, array_type, array, offset):
    return builder.gep(make_array(array_type)(context, builder, array).data, [offset])


def _row_addresses(context, builder, array_type, array, rows, t, offset):
    start = _address(context, builder, array_type, array, offset)
    table = _address(context, builder, OFFSETS, rows, t)
    entries = [builder.gep(table, [ir.Constant(ir.IntType(64), r)]) for r in range(ROWS)]
    return [builder.gep(start, [builder.load(entry)]) for entry in entries]


def _as_vector(builder, pointer, tile_type):
    return builder.bitcast(pointer, tile_type.element.as_pointer())


@intrinsic
def zero_tile(typing, array):
    """A tile of zeros, of the array's dtype."""
    tile = Tile(array.dtype)

    def codegen(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(tile), None)
    return tile(array), codegen


@intrinsic
def load_tile(typing, array, rows, t, offset):
    """tile[r, :] = array[rows[t + r] + offset : … + LANES]"""
    tile = Tile(array.dtype)

    def codegen(context, builder, signature, arguments):
        tile_type = context.get_value_type(tile)
        value = ir.Constant(tile_type, ir.Undefined)
        for r, pointer in enumerate(_row_addresses(context, builder, signature.args[0], *arguments)):
            vector = builder.load(_as_vector(builder, pointer, tile_type), align=tile.dtype.bitwidth // 8)
            value = builder.insert_value(value, vector, r)
        return value
    return tile(array, OFFSETS, types.intp, types.intp), codegen


@intrinsic
def store_tile(typing, tile, array, rows, t, offset):
    """array[rows[t + r] + offset : … + LANES] = tile[r, :]"""
    def codegen(context, builder, signature, arguments):
        value, *place = arguments
        for r, pointer in enumerate(_row_addresses(context, builder, signature.args[1], *place)):
            pointer = _as_vector(builder, pointer, value.type)
            builder.store(builder.extract_value(value, r), pointer, align=tile.dtype.bitwidth // 8)
        return context.get_dummy_value()
    return types.void(tile, array, OFFSETS, types.intp, types.intp), codegen


@intrinsic
def add_outer(typing, tile, a, rows, t, offset, b, start):
    """tile[r, :] + a[rows[t + r] + offset] · b[start : start + LANES]"""
    def codegen(context, builder, signature, arguments):
        value, *place, b_value, b_start = arguments
        vector_type = value.type.element
        bits = tile.dtype.bitwidth
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector_type, [vector_type] * 3), f"llvm.fmuladd.v{LANES}f{bits}")
        pointer = _address(context, builder, signature.args[5], b_value, b_start)
        vector = builder.load(_as_vector(builder, pointer, value.type), align=bits // 8)
        undefined = ir.Constant(vector_type, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
        for r, pointer in enumerate(_row_addresses(context, builder, signature.args[1], *place)):
            number = builder.insert_element(undefined, builder.load(pointer), ir.Constant(ir.IntType(32), 0))
            number = builder.shuffle_vector(number, undefined, first)
            total = builder.call(multiply_add, [number, vector, builder.extract_value(value, r)])
            value = builder.insert_value(value, total, r)
        return value
    return tile(tile, a, OFFSETS, types.intp, types.intp, b, types.intp), codegen


# Where things lie in a flat image. Tables are filled up to whole tiles with their last entry: a tile that hangs over
# the end computes the last pixel again and stores the same bits.

jit = numba.njit(cache=True, error_model="numpy")
parallel = numba.njit(cache=True, error_model="numpy", parallel=True)


@jit
def corners(H, W, C):
    """Where the patch of each pixel of small (H, W) begins in a padded image (2H+2, 2W+2, C)."""
    table = np.empty(-(-H * W // ROWS) * ROWS, np.intp)
    for x in range(len(table)):
        i, j = divmod(min(x, H * W - 1), W)
        table[x] = (2 * i * (2 * W + 2) + 2 * j) * C
    return table


@jit
def taps(W, C):
    """Where the numbers (p, q, c) of a patch lie, counted from its corner."""
    table = np.empty(16 * C, np.intp)
    for k in range(len(table)):
        p, qc = divmod(k, 4 * C)
        table[k] = p * (2 * W + 2) * C + qc
    return table


@jit
def row_starts(count, width):
    """Where the rows of a (count, width) matrix begin."""
    table = np.empty(-(-count // ROWS) * ROWS, np.intp)
    for x in range(len(table)):
        table[x] = min(x, count - 1) * width
    return table


@jit
def blank(H, W, C, dtype):
    """A padded image of zeros, flat."""
    return np.zeros((2 * H + 2) * (2 * W + 2) * C, dtype)


@jit
def interior(padded, y, W, C):
    """Row y of the image inside a padded one, flat: a view of 2W·C numbers."""
    return padded[((y + 1) * (2 * W + 2) + 1) * C:][:2 * W * C]


@jit
def pad_image(image, padded):
    """Copy an image (2H, 2W, C) into the interior of a padded one."""
    for y in range(image.shape[0]):
        interior(padded, y, image.shape[1] // 2, image.shape[2])[:] = image[y].reshape(-1)


# The three kernels.

@parallel
def _conv2d(big, w, small):
    N, H, W, O = small.shape
    C = big.shape[3]
    weights = w.reshape(-1)
    corner, tap, pixel = corners(H, W, C), taps(W, C), row_starts(H * W, O)
    for n in prange(N):
        padded = blank(H, W, C, big.dtype)
        pad_image(big[n], padded)
        image = small[n].reshape(-1)
        for x in range(0, H * W, ROWS):
            for o in range(0, O, LANES):
                tile = zero_tile(weights)
                for k in range(16 * C):
                    tile = add_outer(tile, padded, corner, x, tap[k], weights, k * O + o)
                store_tile(tile, image, pixel, x, o)


@parallel
def _conv2d_weight(big, small, slices):
    N, H, W, O = small.shape
    C = big.shape[3]
    corner, tap, row = corners(H, W, C), taps(W, C), row_starts(16 * C, O)
    for s in prange(SLICES):
        padded = blank(H, W, C, big.dtype)
        slices[s] = 0
        weights = slices[s].reshape(-1)
        for n in range(N * s // SLICES, N * (s + 1) // SLICES):
            pad_image(big[n], padded)
            image = small[n].reshape(-1)
            for k in range(0, 16 * C, ROWS):
                for o in range(0, O, LANES):
                    tile = load_tile(weights, row, k, o)
                    for x in range(H * W):
                        tile = add_outer(tile, padded, tap, k, corner[x], image, x * O + o)
                    store_tile(tile, weights, row, k, o)


@parallel
def _conv2d_transpose(small, w, big):
    N, H, W, O = small.shape
    C, K = big.shape[3], w.shape[1]
    weights = w.reshape(-1)
    corner, tap, pixel, row = corners(H, W, C), taps(W, C), row_starts(H * W, O), row_starts(ROWS, K)
    for n in prange(N):
        padded = blank(H, W, C, big.dtype)
        image = small[n].reshape(-1)
        patches = np.empty(ROWS * K, big.dtype)
        for x in range(0, H * W, ROWS):
            for k in range(0, K, LANES):
                tile = zero_tile(weights)
                for o in range(O):
                    tile = add_outer(tile, image, pixel, x, o, weights, o * K + k)
                store_tile(tile, patches, row, 0, k)
            for r in range(min(ROWS, H * W - x)):
                for k in range(0, 16 * C, 4 * C):
                    target, source = padded[corner[x + r] + tap[k]:][:4 * C], patches[r * K + k:][:4 * C]
                    for c in range(4 * C):
                        target[c] += source[c]
        for y in range(2 * H):
            big[n, y] = interior(padded, y, W, C).reshape(2 * W, C)


@parallel
def _matmul(a, row_step, column_step, b, c):
    M, (K, N) = len(c), b.shape
    matrix, result = b.reshape(-1), c.reshape(-1)
    row, target = row_starts(M, row_step), row_starts(M, N)
    tiles = len(row) // ROWS
    for task in prange(tiles * (N // LANES)):
        n, m = task // tiles * LANES, task % tiles * ROWS
        tile = zero_tile(b)
        for k in range(K):
            tile = add_outer(tile, a, row, m, k * column_step, matrix, k * N + n)
        store_tile(tile, result, target, m, n)


def _fill_lanes(matrix):
    """Pad the last axis with zeros to a multiple of LANES, contiguous."""
    missing = -matrix.shape[-1] % LANES
    return np.ascontiguousarray(np.pad(matrix, [(0, 0)] * (matrix.ndim - 1) + [(0, missing)]) if missing else matrix)


def _require_fit(a, b, fit):
    """Raise ValueError unless the shapes fit, as the caller says, and the dtypes are one: nothing below checks."""
    if not fit or a.dtype != b.dtype or a.dtype not in (np.float32, np.float64):
        raise ValueError(f"arrays must fit together and be both float32 or both float64, "
                         f"not {a.dtype} of {a.shape} and {b.dtype} of {b.shape}")


# Each raises ValueError for arrays that do not fit together.

def conv2d(big, w):
    """small (N, H, W, O) from big (N, 2H, 2W, C) and w (4, 4, C, O): `reference.conv2d`, fast."""
    (N, H2, W2, C), O = big.shape, w.shape[3]
    _require_fit(big, w, w.shape == (4, 4, C, O) and H2 % 2 == W2 % 2 == 0)
    weights = _fill_lanes(w.reshape(16 * C, O))
    small = np.empty((N, H2 // 2, W2 // 2, weights.shape[1]), big.dtype)
    _conv2d(np.ascontiguousarray(big), weights, small)
    return small if small.shape[3] == O else np.ascontiguousarray(small[..., :O])


def conv2d_transpose(small, w):
    """big (N, 2H, 2W, C) from small (N, H, W, O) and w (4, 4, C, O): `reference.conv2d_transpose`, fast."""
    (N, H, W, O), C = small.shape, w.shape[2]
    _require_fit(small, w, w.shape == (4, 4, C, O))
    big = np.empty((N, 2 * H, 2 * W, C), small.dtype)
    _conv2d_transpose(np.ascontiguousarray(small), _fill_lanes(w.reshape(16 * C, O).T), big)
    return big


def conv2d_weight(big, small):
    """w (4, 4, C, O) from big (N, 2H, 2W, C) and small (N, H, W, O): `reference.conv2d_weight`, fast."""
    (N, H, W, O), C = small.shape, big.shape[3]
    _require_fit(big, small, big.shape == (N, 2 * H, 2 * W, C))
    small = _fill_lanes(small)
    slices = np.empty((SLICES, 16 * C, small.shape[3]), big.dtype)
    _conv2d_weight(np.ascontiguousarray(big), small, slices)
    return slices.sum(axis=0)[:, :O].reshape(4, 4, C, O)


def matmul(a, b):
    """a (M, K) @ b (K, N), for the linear layers. Either may be a transposed view: of a it costs no copy, of b it does.

    NumPy's own product is as fast, but its threads keep spinning after each call and take the cores from Numba's.
    """
    (M, K), N = a.shape, b.shape[1]
    _require_fit(a, b, b.shape == (K, N))
    if not b.flags.c_contiguous and b.size > a.size:  # (bᵀ aᵀ)ᵀ, the same sums: copy the smaller one
        return np.ascontiguousarray(matmul(b.T, np.ascontiguousarray(a.T)).T)
    steps = (K, 1) if a.flags.c_contiguous else (1, M)
    flat = (a if a.flags.c_contiguous else a.T).reshape(-1)
    matrix = _fill_lanes(b)
    c = np.empty((M, matrix.shape[1]), a.dtype)
    _matmul(flat, *steps, matrix, c)
    return c if c.shape[1] == N else np.ascontiguousarray(c[:, :N])


if numba.config.DISABLE_JIT:  # NUMBA_DISABLE_JIT=1: the plain twins, to step through with a debugger
    from tinybvae.reference import conv2d, conv2d_transpose, conv2d_weight, matmul  # noqa: F811
