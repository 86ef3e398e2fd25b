"""Vectors of numbers as values of compiled code, so that a kernel can say what shall stay in registers.

LLVM makes vectors of plain loops by itself, and nearly everywhere here that is enough. A matrix product wants more:
sums that stay in registers from the first step to the last. And LLVM makes no vectors of a search for the largest
number, as long as there may be some that are not a number. A few operations do it, most of them one instruction:

    load(array, i)        the LANES numbers from array[i] on; i may be a tuple, as in array[2, 5]
    store(array, i, v)    write them there
    splat(x)              the number x in every lane
    add(a, b)             a + b
    subtract(a, b)        a - b
    multiply(a, b)        a * b
    fma(a, b, c)          a * b + c, rounded once
    larger(a, b)          lane by lane the larger one
    where(condition, a)   a where the condition is not zero, and zero elsewhere
    largest(a), total(a)  the largest number of all lanes, and their sum
    transpose_square(x, (i, j), out, (r, c))            LANES rows of x from there on, as columns of out

    prefetch(array, i)    ask for the cache line of array[i] ahead of time, to read it: into the L2 cache
    prefetch_rows(n, array, (i, j))      ask for array[i, j], array[i + 1, j], ..., two vectors each, to write them

LANES neighbours in a row of `array` are neighbours in memory. As in C nobody checks that they are inside of it, and an
index counts from the beginning only. Several rows of vectors as one value: simd_rows.py.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from ..runtime.compiling import vector_bits

VECTOR_BITS = vector_bits() or 256  # not known where a user names a processor, which then is a common one


class Vector(types.Type):
    """As many numbers of a dtype as a register holds."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, VECTOR_BITS // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    """For LLVM a vector is a value like a number."""

    def __init__(self, manager, vector):
        number = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(number, vector.lanes))


def lanes(array) -> int:
    """How many of an array's numbers a vector holds."""
    return VECTOR_BITS // (8 * array.itemsize)


@overload(lanes, inline="always")
def _lanes_of_type(array):
    number = VECTOR_BITS // array.dtype.bitwidth
    return lambda array: number


def address(context, builder, array_type, array, index_type, index):
    """Where an element of an array is."""
    places = cgutils.unpack_tuple(builder, index) if isinstance(index_type, types.BaseTuple) else [index]
    array = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, array, places)


def vector_pointer(context, builder, vector, *where):
    """Where a vector lies in memory; for intrinsics, as the next two."""
    return builder.bitcast(address(context, builder, *where), context.get_value_type(vector).as_pointer())


def fused(context, builder, vector, *values):
    """a * b + c of three vectors, rounded once."""
    kind = context.get_value_type(vector)
    function = ir.FunctionType(kind, [kind] * 3)
    name = f"llvm.fma.v{vector.lanes}f{vector.dtype.bitwidth}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)


@intrinsic
def load(typing, array, index):
    """The numbers array[index] and those behind it."""
    vector = Vector(array.dtype)

    def build(context, builder, signature, values):
        pointer = vector_pointer(context, builder, vector, array, values[0], index, values[1])
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, index), build


@intrinsic
def store(typing, array, index, vector):
    """array[index] and those behind it = the vector."""

    def build(context, builder, signature, values):
        pointer = vector_pointer(context, builder, vector, array, values[0], index, values[1])
        builder.store(values[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, vector), build


def in_every_lane(context, builder, number, vector):
    """A vector of one number."""
    kind = context.get_value_type(vector)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, first, places)


@intrinsic
def splat(typing, number):
    """The number in every lane."""
    vector = Vector(number)

    def build(context, builder, signature, values):
        return in_every_lane(context, builder, values[0], vector)

    return vector(number), build


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
        return fused(context, builder, a, *values)

    return a(a, b, c), build


@intrinsic
def where(typing, condition, a):
    """a in the lanes where condition is not zero, and zero in all others, whatever lies there."""

    def build(context, builder, signature, values):
        zero = ir.Constant(context.get_value_type(a), [0.0] * a.lanes)
        return builder.select(builder.fcmp_ordered("!=", values[0], zero), values[1], zero)

    return a(condition, a), build


@intrinsic
def larger(typing, a, b):
    """The larger of a and b in every lane; b where one of them is not a number."""

    def build(context, builder, signature, values):
        return builder.select(builder.fcmp_ordered(">", *values), *values)

    return a(a, b), build


@intrinsic
def largest(typing, a):
    """The largest number of all lanes; those that are not a number do not count."""

    def build(context, builder, signature, values):
        function = ir.FunctionType(context.get_value_type(a.dtype), [context.get_value_type(a)])
        name = f"llvm.vector.reduce.fmax.v{a.lanes}f{a.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)

    return a.dtype(a), build


@intrinsic
def total(typing, a):
    """The sum of all lanes: halves are added until one number is left."""

    def build(context, builder, signature, values):
        number = context.get_value_type(a.dtype)
        function = ir.FunctionType(number, [number, context.get_value_type(a)])
        name = f"llvm.vector.reduce.fadd.v{a.lanes}f{a.dtype.bitwidth}"
        reduce = cgutils.get_or_insert_function(builder.module, function, name)
        return builder.call(reduce, [ir.Constant(number, -0.0), *values], fastmath=("reassoc",))

    return a.dtype(a), build


def swap_across_diagonal(builder, rows, n):
    """Transpose squares as wide as there are rows, of n lanes each: in rounds, in which squares of 1, 2, 4, ... numbers
    change places with those across the diagonal."""
    size = 1
    while size < len(rows):
        upper = [c if not c & size else n + c - size for c in range(n)]
        lower = [c + size if not c & size else n + c for c in range(n)]
        for r in (r for r in range(len(rows)) if not r & size):
            pair = rows[r], rows[r + size]
            for place, order in ((r, upper), (r + size, lower)):
                rows[place] = builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(ir.IntType(32), n), order))
        size *= 2


@intrinsic
def transpose_square(typing, x, index, out, to):
    """out[to + (r, c)] = x[index + (c, r)], as many rows as a vector has lanes."""
    vector = Vector(x.dtype)

    def build(context, builder, signature, values):
        def row_at(array, kind, place, row):
            i, j = cgutils.unpack_tuple(builder, place)
            places = context.make_tuple(builder, index, [builder.add(i, ir.Constant(i.type, row)), j])
            at = address(context, builder, kind, array, index, places)
            return builder.bitcast(at, context.get_value_type(vector).as_pointer())

        n, align = vector.lanes, vector.dtype.bitwidth // 8
        rows = [builder.load(row_at(values[0], x, values[1], r), align=align) for r in range(n)]
        swap_across_diagonal(builder, rows, n)
        for r, row in enumerate(rows):
            builder.store(row, row_at(values[2], out, values[3], r), align=align)
        return context.get_dummy_value()

    return types.void(x, index, out, to), build


# ----------------------------------------------------------------------------------------------------------- prefetch

TO_READ, TO_WRITE, ALL_CACHES, NOT_L1 = 0, 1, 3, 2  # LLVM's numbers


def fetch(context, builder, pointer, write, where):
    """Ask for the cache line at a pointer; for intrinsics."""
    byte, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, int32, int32, int32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    data = 1  # not instructions
    builder.call(function, [builder.bitcast(pointer, byte), *(ir.Constant(int32, n) for n in (write, where, data))])


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of array[index]. An index outside of the array does no harm."""

    def build(context, builder, signature, values):
        pointer = address(context, builder, array, values[0], index, values[1])
        fetch(context, builder, pointer, TO_READ, NOT_L1)
        return context.get_dummy_value()

    return types.void(array, index), build


@intrinsic(prefer_literal=True)
def prefetch_rows(typing, n, array, index):
    """Ask for n rows, n written as a number, of two vectors each, that will be written: array[i + r, j] and behind."""

    def build(context, builder, signature, values):
        i, j = cgutils.unpack_tuple(builder, values[2])
        for r in range(n.literal_value):
            for v in range(2):
                places = [builder.add(i, ir.Constant(i.type, r))]
                places.append(builder.add(j, ir.Constant(j.type, v * VECTOR_BITS // array.dtype.bitwidth)))
                where = context.make_tuple(builder, index, places)
                pointer = address(context, builder, array, values[1], index, where)
                fetch(context, builder, pointer, TO_WRITE, ALL_CACHES)
        return context.get_dummy_value()

    return types.void(n, array, index), build
