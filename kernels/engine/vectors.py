"""Vectors as values of compiled code, so that a kernel decides what stays in registers.

LLVM vectorizes plain loops by itself, and nearly everywhere in kernels/ that is enough. A matrix product needs more:
accumulators that stay in registers for the whole k loop. And LLVM does not vectorize a search for a maximum as long as
elements may be NaN. A few operations fill the gap, most of them one instruction:

    load(array, i)                  the LANES elements from array[i] on; i may be a tuple, as in array[2, 5]
    store(array, i, v)              write them there
    splat(x)                        x in every lane
    add(a, b)                       a + b
    subtract(a, b)                  a - b
    multiply(a, b)                  a * b
    fma(a, b, c)                    a * b + c, rounded once (twice on x86 processors without FMA)
    maximum(a, b)                   lane by lane the larger one
    where(condition, a)             a where the condition is not zero, and zero elsewhere
    reduce_max(a), reduce_add(a)    the maximum and the sum of all lanes
    transpose_square(x, (i, j), out, (r, c))    out[r:, c:] = x[i:, j:].T, LANES rows and LANES columns

    prefetch(array, i)                          prefetch the cache line of array[i], to read, into the L2 cache
    prefetch_rows(n, array, (i, j))             prefetch two vectors each of array[i, j], array[i + 1, j], ..., to write

The LANES elements of a vector are contiguous in a row of `array`. As in C bounds are not checked, and an index may not
be negative. Several rows of vectors as one value: vector_rows.py.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from ..runtime.compiling import has_fma, vector_bits

VECTOR_BITS, HAS_FMA = vector_bits() or 128, has_fma()


class Vector(types.Type):
    """As many elements of a dtype as a register holds."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, VECTOR_BITS // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    """For LLVM a vector is a value, as a scalar is."""

    def __init__(self, manager, vector):
        scalar = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(scalar, vector.lanes))


def lanes(array) -> int:
    """How many of an array's elements a vector holds."""
    return VECTOR_BITS // (8 * array.itemsize)


@overload(lanes, inline="always")
def _lanes_of_type(array):
    n_lanes = VECTOR_BITS // array.dtype.bitwidth
    return lambda array: n_lanes


def address(context, builder, array_type, array, index_type, index):
    """A pointer to an element of an array."""
    indices = cgutils.unpack_tuple(builder, index) if isinstance(index_type, types.BaseTuple) else [index]
    array = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, array, indices)


def vector_pointer(context, builder, vector, *element):
    """A pointer to a vector in memory; for intrinsics."""
    return builder.bitcast(address(context, builder, *element), context.get_value_type(vector).as_pointer())


def fused_multiply_add(context, builder, vector, *values):
    """a * b + c of three vectors, rounded once where the processor can; for intrinsics.

    Elsewhere llvm.fma would call the C library for each element, which takes a hundred times as long.
    """
    kind = context.get_value_type(vector)
    function = ir.FunctionType(kind, [kind] * 3)
    operation = "fma" if HAS_FMA else "fmuladd"
    name = f"llvm.{operation}.v{vector.lanes}f{vector.dtype.bitwidth}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)


@intrinsic
def load(typing, array, index):
    """A vector of the elements from array[index] on."""
    vector = Vector(array.dtype)

    def build(context, builder, signature, values):
        pointer = vector_pointer(context, builder, vector, array, values[0], index, values[1])
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, index), build


@intrinsic
def store(typing, array, index, vector):
    """Write the vector to the elements from array[index] on."""

    def build(context, builder, signature, values):
        pointer = vector_pointer(context, builder, vector, array, values[0], index, values[1])
        builder.store(values[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, vector), build


def broadcast(context, builder, scalar, vector):
    """A vector with the scalar in every lane; for intrinsics."""
    kind = context.get_value_type(vector)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, first, zeros)


@intrinsic
def splat(typing, x):
    """x in every lane."""
    vector = Vector(x)

    def build(context, builder, signature, values):
        return broadcast(context, builder, values[0], vector)

    return vector(x), build


@intrinsic
def add(typing, a, b):
    """a + b in every lane."""
    return a(a, b), lambda context, builder, signature, values: builder.fadd(*values)


@intrinsic
def subtract(typing, a, b):
    """a - b in every lane."""
    return a(a, b), lambda context, builder, signature, values: builder.fsub(*values)


@intrinsic
def multiply(typing, a, b):
    """a * b in every lane."""
    return a(a, b), lambda context, builder, signature, values: builder.fmul(*values)


@intrinsic
def fma(typing, a, b, c):
    """a * b + c in every lane."""

    def build(context, builder, signature, values):
        return fused_multiply_add(context, builder, a, *values)

    return a(a, b, c), build


@intrinsic
def where(typing, condition, a):
    """a in the lanes where condition is not zero, and zero in all others, even if a is NaN there."""

    def build(context, builder, signature, values):
        zero = ir.Constant(context.get_value_type(a), [0.0] * a.lanes)
        return builder.select(builder.fcmp_ordered("!=", values[0], zero), values[1], zero)

    return a(condition, a), build


@intrinsic
def maximum(typing, a, b):
    """The larger of a and b in every lane; b where one of them is NaN."""

    def build(context, builder, signature, values):
        return builder.select(builder.fcmp_ordered(">", *values), *values)

    return a(a, b), build


@intrinsic
def reduce_max(typing, a):
    """The maximum of all lanes; NaN does not count."""

    def build(context, builder, signature, values):
        function = ir.FunctionType(context.get_value_type(a.dtype), [context.get_value_type(a)])
        name = f"llvm.vector.reduce.fmax.v{a.lanes}f{a.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)

    return a.dtype(a), build


@intrinsic
def reduce_add(typing, a):
    """The sum of all lanes: one half is added to the other until one element is left."""

    def build(context, builder, signature, values):
        scalar = context.get_value_type(a.dtype)
        function = ir.FunctionType(scalar, [scalar, context.get_value_type(a)])
        name = f"llvm.vector.reduce.fadd.v{a.lanes}f{a.dtype.bitwidth}"
        reduce = cgutils.get_or_insert_function(builder.module, function, name)
        return builder.call(reduce, [ir.Constant(scalar, -0.0), *values], fastmath=("reassoc",))

    return a.dtype(a), build


def transpose_squares(builder, rows, n):
    """Transpose len(rows) rows of n lanes in registers, as squares side by side; n is a multiple of len(rows).

    In each round blocks of 1 x 1, 2 x 2, 4 x 4, ... elements are exchanged with those across the diagonal.
    """
    size = 1
    while size < len(rows):
        upper = [c if not c & size else n + c - size for c in range(n)]
        lower = [c + size if not c & size else n + c for c in range(n)]
        for r in (r for r in range(len(rows)) if not r & size):
            pair = rows[r], rows[r + size]
            for row, order in ((r, upper), (r + size, lower)):
                rows[row] = builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(ir.IntType(32), n), order))
        size *= 2


@intrinsic
def transpose_square(typing, x, index, out, to):
    """out[to + (r, c)] = x[index + (c, r)] for a square of as many rows as a vector has lanes."""
    vector = Vector(x.dtype)

    def build(context, builder, signature, values):
        def row_at(array, array_type, corner, row):
            i, j = cgutils.unpack_tuple(builder, corner)
            position = context.make_tuple(builder, index, [builder.add(i, ir.Constant(i.type, row)), j])
            at = address(context, builder, array_type, array, index, position)
            return builder.bitcast(at, context.get_value_type(vector).as_pointer())

        n, align = vector.lanes, vector.dtype.bitwidth // 8
        rows = [builder.load(row_at(values[0], x, values[1], r), align=align) for r in range(n)]
        transpose_squares(builder, rows, n)
        for r, row in enumerate(rows):
            builder.store(row, row_at(values[2], out, values[3], r), align=align)
        return context.get_dummy_value()

    return types.void(x, index, out, to), build


# ----------------------------------------------------------------------------------------------------------- prefetch

TO_READ, TO_WRITE, ALL_CACHES, NOT_L1 = 0, 1, 3, 2  # the arguments of LLVM's prefetch intrinsic


def fetch(context, builder, pointer, write, where):
    """Prefetch the cache line at a pointer; for intrinsics."""
    byte, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    data = 1  # not instructions
    builder.call(function, [builder.bitcast(pointer, byte), *(ir.Constant(int32, n) for n in (write, where, data))])


@intrinsic
def prefetch(typing, array, index):
    """Prefetch the cache line of array[index]. An index outside of the array does no harm."""

    def build(context, builder, signature, values):
        pointer = address(context, builder, array, values[0], index, values[1])
        fetch(context, builder, pointer, TO_READ, NOT_L1)
        return context.get_dummy_value()

    return types.void(array, index), build


@intrinsic(prefer_literal=True)
def prefetch_rows(typing, n, array, index):
    """Prefetch n rows of two vectors each, from array[i + r, j] on, for writing; n is a literal."""

    def build(context, builder, signature, values):
        i, j = cgutils.unpack_tuple(builder, values[2])
        for r in range(n.literal_value):
            for v in range(2):
                row_index = builder.add(i, ir.Constant(i.type, r))
                column_index = builder.add(j, ir.Constant(j.type, v * VECTOR_BITS // array.dtype.bitwidth))
                position = context.make_tuple(builder, index, [row_index, column_index])
                pointer = address(context, builder, array, values[1], index, position)
                fetch(context, builder, pointer, TO_WRITE, ALL_CACHES)
        return context.get_dummy_value()

    return types.void(n, array, index), build
