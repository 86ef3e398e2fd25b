"""Vectors of numbers as values of compiled code, so that a kernel can say what shall stay in registers.

LLVM makes vectors of plain loops by itself, and nearly everywhere here that is enough. A matrix product wants more:
sums that stay in registers from the first step to the last. And LLVM makes no vectors of a search for the largest
number, as long as there may be some that are not a number. A few operations do it, most of them one instruction:

    load(array, i)        the LANES numbers from array[i] on; i may be a tuple, as in array[2, 5]
    store(array, i, v)    write them there
    splat(x)              the number x in every lane
    spread(array, i)      the number array[i] in every lane
    fma(a, b, c)          a * b + c, rounded once
    larger(a, b)          lane by lane the larger one
    largest(a)            the largest number of all lanes

LANES neighbours in a row of `array` are neighbours in memory (`spread` does not need that). As in C nobody checks that
they are inside of it, and an index counts from the beginning only.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from ._compile import vector_bits

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


def _pointer(context, builder, array_type, array, index_type, index):
    places = cgutils.unpack_tuple(builder, index) if isinstance(index_type, types.BaseTuple) else [index]
    array = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, array, places)


def _vector_pointer(context, builder, vector, *where):
    return builder.bitcast(_pointer(context, builder, *where), context.get_value_type(vector).as_pointer())


@intrinsic
def load(typing, array, index):
    """The numbers array[index] and those behind it."""
    vector = Vector(array.dtype)

    def build(context, builder, signature, values):
        pointer = _vector_pointer(context, builder, vector, array, values[0], index, values[1])
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, index), build


@intrinsic
def store(typing, array, index, vector):
    """array[index] and those behind it = the vector."""

    def build(context, builder, signature, values):
        pointer = _vector_pointer(context, builder, vector, array, values[0], index, values[1])
        builder.store(values[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, vector), build


def _in_every_lane(context, builder, number, vector):
    kind = context.get_value_type(vector)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, first, places)


@intrinsic
def splat(typing, number):
    """The number in every lane."""
    vector = Vector(number)

    def build(context, builder, signature, values):
        return _in_every_lane(context, builder, values[0], vector)

    return vector(number), build


@intrinsic
def spread(typing, array, index):
    """The number array[index] in every lane; of this array neighbours need not be neighbours in memory."""
    vector = Vector(array.dtype)

    def build(context, builder, signature, values):
        number = builder.load(_pointer(context, builder, array, values[0], index, values[1]))
        return _in_every_lane(context, builder, number, vector)

    return vector(array, index), build


@intrinsic
def fma(typing, a, b, c):
    """a * b + c in every lane."""

    def build(context, builder, signature, values):
        kind = context.get_value_type(a)
        function = ir.FunctionType(kind, [kind] * 3)
        name = f"llvm.fma.v{a.lanes}f{a.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, name), values)

    return a(a, b, c), build


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
