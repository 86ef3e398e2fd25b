"""The matrix unit that some processors have (Intel's AMX), as operations of compiled code.

It has eight registers, *tiles*, of 16 rows of 64 bytes. One instruction multiplies 16 x 32 numbers by 32 x 16 numbers
and adds what it gets to 16 x 16 sums, in 16 cycles: sixteen times the work of the vector multipliers. But the numbers
that it multiplies are bfloat16, a float32 that ends after 8 significant bits; only the sums are float32. How float32
products are made of it nevertheless stands in pieces.py. A tile in memory is TILE numbers in one piece:

    of the left factor, 16 x 32      row by row, 32 numbers each
    of the right factor, 32 x 16     two rows at a time, and number by number one of each

Which 32 steps of k these are, and in which order, is for both factors to agree about. Here steps 0 and 16 come first,
then 1 and 17, and so on: so a vector of steps, or of a row, is put between the numbers of another (`store_in_turns`),
and nothing need be moved from lane to lane.

    use_tiles(), leave_tiles()              before the first operation of a thread, and after the last
    load_sums(rows, columns, memory, first, step)       the sums = rows of numbers that lie `step` apart in 1-D memory
    add_products(rows, columns, left, right, ahead, coming)             the sums += six products of tiles, see pieces.py
    store_sums(rows, columns, memory, first, step)      back to memory

The sums are one, two or four tiles; rows and columns, each 1 or 2 and written as a number, say how many.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from itertools import islice

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.compiling import kernel
from .vectors import ALL_CACHES, NOT_L1, TO_READ, TO_WRITE, address, fetch

TILE, SIDE, STEP = 512, 16, 32  # bfloat16 numbers of a tile; its rows, or columns of the right factor; its steps of k
PIECES = 3
LINES, ROWS = 14, 3  # what is fetched during a step: of the factor on the right, and of the sums


def _allowed() -> bool:
    """Whether tiles can be used: by the processor, by the compiler, and by Linux, which wants to be asked once."""
    enabled = (numba.config.CPU_FEATURES or "").split(",")
    if (
        not {"+amx-tile", "+amx-bf16", "+avx512f", "+avx512bw"}.issubset(enabled)
        or os.environ.get("MINIBERT_KERNELS") == "fma"
    ):
        return False
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    try:
        return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0
    except (OSError, AttributeError):
        return False


ALLOWED = _allowed()

# What the instruction that sets up the unit reads: all eight tiles have 16 rows of 64 bytes.
_LAYOUT = np.zeros(64, np.uint8)
_LAYOUT[0] = 1
_LAYOUT[16:32].view(np.uint16)[:] = 64
_LAYOUT[48:56] = 16

SUMS, LEFT, RIGHT = (0, 1, 2, 3), (4, 5), (6, 7)  # registers
# Which piece of a meets which of b. Between two of them only one side is loaded anew.
TERMS = ((0, 2), (0, 1), (1, 1), (1, 0), (0, 0), (2, 0))


def _instruction(builder, name: str, *arguments) -> None:
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _register(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(8), number)


def _bytes_at(context, builder, *where):
    return builder.bitcast(address(context, builder, *where), ir.IntType(8).as_pointer())


def _used(rows, columns) -> list[tuple[int, int]]:
    return [(r, c) for r in range(rows.literal_value) for c in range(columns.literal_value)]


@kernel
def use_tiles():
    """Set up the unit for this thread."""
    _load_layout(_LAYOUT, 0)


@intrinsic
def _load_layout(typing, array, index):
    def build(context, builder, signature, values):
        _instruction(builder, "ldtilecfg", _bytes_at(context, builder, array, values[0], index, values[1]))
        return context.get_dummy_value()

    return types.void(array, index), build


@intrinsic
def leave_tiles(typing):
    """Give the unit back: while it is in use, the system saves 8 KB more whenever it switches threads."""

    def build(context, builder, signature, values):
        _instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), build


@intrinsic(prefer_literal=True)
def add_products(typing, rows, columns, left, right, ahead, coming):
    """The sums += the product of numbers in pieces, PIECES tiles each.

    left, right: an array, the place of the pieces of the first 16 rows or columns, and from there to the next 16.
    ahead: an array and a place in it; LINES cache lines from there on will be read soon, and are asked for meanwhile.
    coming: the same for ROWS rows of sums that will be written soon, and how far they lie from each other.
    A line is asked for after each product: all of them at once would keep the tiles from being loaded.
    """

    def build(context, builder, signature, values):
        left_at, right_at, ahead_at, coming_at = (cgutils.unpack_tuple(builder, value) for value in values[2:])

        def plus(place, step, n, constant):
            place = builder.add(place, builder.mul(step, ir.Constant(step.type, n)))
            return builder.add(place, ir.Constant(place.type, constant))

        def load_tiles(registers, side, values, count, piece):
            array, first, apart = values
            for n in range(count.literal_value):
                place = plus(first, apart, n, piece * TILE)
                at = _bytes_at(context, builder, side[0], array, side[1], place)
                _instruction(builder, "tileloadd64", _register(registers[n]), at, ir.Constant(ir.IntType(64), 64))

        def lines():
            array, first = ahead_at
            for n in range(LINES):
                place = builder.add(first, ir.Constant(first.type, n * STEP))
                yield address(context, builder, ahead[0], array, ahead[1], place), TO_READ, NOT_L1
            array, first, apart = coming_at
            for n in range(2 * ROWS):
                place = plus(first, apart, n // 2, n % 2 * SIDE)
                yield address(context, builder, coming[0], array, coming[1], place), TO_WRITE, ALL_CACHES

        loaded, fetched = (None, None), lines()
        for term in TERMS:
            if term[0] != loaded[0]:
                load_tiles(LEFT, left, left_at, rows, term[0])
            if term[1] != loaded[1]:
                load_tiles(RIGHT, right, right_at, columns, term[1])
            for r, c in _used(rows, columns):
                _instruction(builder, "tdpbf16ps", *map(_register, (SUMS[2 * r + c], LEFT[r], RIGHT[c])))
                for pointer, write, where in islice(fetched, 1):
                    fetch(context, builder, pointer, write, where)
            loaded = term
        return context.get_dummy_value()

    return types.void(rows, columns, left, right, ahead, coming), build


def _move_sums(instruction):
    @intrinsic(prefer_literal=True)
    def move(typing, rows, columns, memory, first, step):
        """Between the sums and memory[first : first + 16 columns], the next row `step` numbers further, and so on."""

        def build(context, builder, signature, values):
            _, _, array, start, apart = values
            size = memory.dtype.bitwidth // 8
            for r, c in _used(rows, columns):
                place = builder.add(start, builder.mul(apart, ir.Constant(apart.type, SIDE * r)))
                place = builder.add(place, ir.Constant(place.type, SIDE * c))
                at = _bytes_at(context, builder, memory, array, first, place)
                stride = builder.mul(apart, ir.Constant(apart.type, size))
                _instruction(builder, instruction, _register(SUMS[2 * r + c]), at, stride)
            return context.get_dummy_value()

        return types.void(rows, columns, memory, first, step), build

    return move


load_sums, store_sums = _move_sums("tileloadd64"), _move_sums("tilestored64")


# ------------------------------------------------------------------------------------------------------------- pieces


@intrinsic
def leading(typing, a):
    """The first 8 significant bits of every number; the others become zero."""

    def build(context, builder, signature, values):
        integers = ir.VectorType(ir.IntType(32), a.lanes)
        mask = ir.Constant(integers, [0xFFFF0000] * a.lanes)
        return builder.bitcast(builder.and_(builder.bitcast(values[0], integers), mask), context.get_value_type(a))

    return a(a), build


@intrinsic
def store_in_turns(typing, array, index, a, b):
    """The upper halves of two vectors' numbers into an array of 16-bit ones: a[0], b[0], a[1], b[1], ..."""

    def build(context, builder, signature, values):
        integers = ir.VectorType(ir.IntType(32), a.lanes)
        first, second = (builder.bitcast(value, integers) for value in values[2:])
        lower = builder.lshr(first, ir.Constant(integers, [16] * a.lanes))
        upper = builder.and_(second, ir.Constant(integers, [0xFFFF0000] * a.lanes))
        at = builder.bitcast(address(context, builder, array, values[0], index, values[1]), integers.as_pointer())
        builder.store(builder.or_(lower, upper), at, align=2)
        return context.get_dummy_value()

    return types.void(array, index, a, b), build
