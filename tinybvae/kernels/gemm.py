"""The product of two matrices (GEMM), at the speed of the processor's registers.

A core multiplies and adds sixteen float32 with one AVX-512 instruction (eight with AVX2) and begins two of those in
each cycle, but fetches only about two such vectors from its nearest cache in that time. So sums must stay in registers
while they grow. The micro-kernel, `microkernel`, holds a tile of ROWS × lanes of them, and each of its steps,

    sum[r, :] += a[m + r, k] · b[k, n : n + lanes]    for each r < ROWS

fetches one vector of b and ROWS numbers of a for ROWS × lanes multiply-adds. Numba keeps local variables in registers,
but not elements of arrays, and has no type for a vector. `Vector` adds one: VECTOR bytes of neighbours in an array, two
registers. On AVX-512 the sums of 8 rows take 16 of 32 registers, on AVX2 those of 4 rows 8 of 16; LLVM finds a way on
others. A step's multiply-adds do not wait for each other, and 8 of them have to be under way to keep a core busy.

float32 and float64 run the same source.
"""

import operator

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import make_array

from tinybvae.kernels.compiler import jit

FEATURES = numba.config.CPU_FEATURES  # NUMBA_CPU_FEATURES, or those of the processor
FEATURES = binding.get_host_cpu_features().flatten() if FEATURES is None else FEATURES
VECTOR, ROWS = (128, 8) if "+avx512f" in FEATURES else (64, 4)


class Vector(types.Type):
    """Numba's type of a vector of `lanes` numbers."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, 8 * VECTOR // dtype.bitwidth
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, ir.VectorType(manager.lookup(vector.dtype).get_data_type(), vector.lanes))


def _pointer(context, builder, array_type, array, index):
    array, index = make_array(array_type)(context, builder, array), cgutils.unpack_tuple(builder, index)
    return cgutils.get_item_pointer(context, builder, array_type, array, index)


def _vector_pointer(context, builder, array_type, array, index):
    kind = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(_pointer(context, builder, array_type, array, index), kind.as_pointer())


def _index(array):
    return types.UniTuple(types.intp, array.ndim)


@intrinsic
def load(typing, array, index):
    """The vector that begins at array[index], along the last axis, which must be contiguous. No bounds are checked."""
    def generate(context, builder, signature, arguments):
        return builder.load(_vector_pointer(context, builder, array, *arguments), align=array.dtype.bitwidth // 8)
    return Vector(array.dtype)(array, _index(array)), generate


@intrinsic
def store(typing, array, index, vector):
    """array[index], and what follows it along the last axis, = vector. No bounds are checked."""
    def generate(context, builder, signature, arguments):
        *place, value = arguments
        builder.store(value, _vector_pointer(context, builder, array, *place), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()
    return types.void(array, _index(array), vector), generate


@intrinsic
def zeros(typing, array):
    """A vector of zeros, of the array's dtype."""
    vector = Vector(array.dtype)
    return vector(array), lambda context, *_: ir.Constant(context.get_value_type(vector), None)


@intrinsic
def fma(typing, total, array, index, vector):
    """total + array[index] · vector"""
    def generate(context, builder, signature, arguments):
        total, *place, vector = arguments
        kind, number = total.type, builder.load(_pointer(context, builder, array, *place))
        instruction = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{kind.count}f{array.dtype.bitwidth}")
        return builder.call(instruction, [_repeated(builder, number, kind), vector, total])
    return total(total, array, _index(array), vector), generate


@intrinsic
def rectified(typing, vector, sign, negative_slope):
    """vector where the sign is above 0, else negative_slope · vector"""
    def generate(context, builder, signature, arguments):
        vector, sign, number = arguments
        less = builder.fmul(_repeated(builder, number, vector.type), vector)
        return builder.select(builder.fcmp_ordered(">", sign, ir.Constant(sign.type, None)), vector, less)
    return vector(vector, vector, vector.dtype), generate


def _repeated(builder, number, kind):
    """A vector of a kind, of that number only."""
    lane, unknown = ir.IntType(32), ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(unknown, number, ir.Constant(lane, 0))
    return builder.shuffle_vector(first, unknown, ir.Constant(ir.VectorType(lane, kind.count), None))


def _elementwise(operation, instruction):
    @intrinsic
    def compute(typing, a, b):
        return a(a, b), lambda context, builder, signature, arguments: getattr(builder, instruction)(*arguments)

    @overload(operation)
    def choose(a, b):
        if isinstance(a, Vector) and a == b:
            return lambda a, b: compute(a, b)


_elementwise(operator.add, "fadd")
_elementwise(operator.sub, "fsub")


@jit
def microkernel(a, m, b, n, K):
    """The rows of a[m : m + ROWS, :K] @ b[:K, n : n + lanes]: ROWS vectors."""
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = zeros(b)
    for k in range(K):
        row = load(b, (k, n))
        c0 = fma(c0, a, (m, k), row)
        c1 = fma(c1, a, (m + 1, k), row)
        c2 = fma(c2, a, (m + 2, k), row)
        c3 = fma(c3, a, (m + 3, k), row)
        if ROWS == 8:
            c4 = fma(c4, a, (m + 4, k), row)
            c5 = fma(c5, a, (m + 5, k), row)
            c6 = fma(c6, a, (m + 6, k), row)
            c7 = fma(c7, a, (m + 7, k), row)
    return (c0, c1, c2, c3, c4, c5, c6, c7)[:ROWS]


@jit
def put(c, index, vector, add):
    store(c, index, load(c, index) + vector if add else vector)


@jit
def put_rows(c, m, n, vectors, add):
    """c[m, n : n + lanes] = vectors[0], and so on row by row, or += if `add`."""
    for r in range(len(vectors)):
        put(c, (m + r, n), vectors[r], add)


@jit
def gemm(a, b, c, M, K, add):
    """c[:M] = a[:M, :K] @ b[:K], or += if `add`, with M rounded up to whole tiles.

    a and c need so many rows, and the rows of b and c are whole vectors.
    """
    for m in range(0, M, ROWS):
        for n in range(0, c.shape[1], VECTOR // c.itemsize):
            put_rows(c, m, n, microkernel(a, m, b, n, K), add)


@jit
def whole_tiles(rows):
    return -(-rows // ROWS) * ROWS


def whole_vectors(array):
    """The array, contiguous, its last axis filled up with zeros to whole vectors."""
    lanes = VECTOR // array.itemsize
    return with_zeros(array, (*array.shape[:-1], -(-array.shape[-1] // lanes) * lanes))


def with_zeros(array, shape):
    """The array, contiguous, filled up with zeros to a shape."""
    if array.shape == shape:
        return np.ascontiguousarray(array)
    filled = np.zeros(shape, array.dtype)
    filled[tuple(map(slice, array.shape))] = array
    return filled
