"""AMX tiles (Intel's Advanced Matrix Extensions) as operations of compiled code.

A processor with AMX has eight tile registers of 16 rows of 64 bytes. One instruction, TDPBF16PS, multiplies a 16 x 32
tile of A by a 32 x 16 tile of B and adds the product to a 16 x 16 tile of C, in 16 cycles. That is sixteen times the
work of AVX-512's multiply-adds. But A and B are bfloat16, a float32 cut after 8 significant bits; only C is float32.
bf16x3.py makes float32 products of it. In memory a tile of A or B is TILE contiguous bfloat16 elements:

    A, 16 x 32     row by row, 32 elements each
    B, 32 x 16     two rows of k at a time, interleaved: an element of the one row, then of the other

Which 32 values of k a tile has, and in which order, is only for A and B to agree about. Here 0 and 16 come first, then
1 and 17, and so on. Then two vectors need only be interleaved (`store_interleaved`); nothing moves between lanes.

    configure_tiles(), release_tiles()                   before the first operation of a thread, and after the last
    load_accumulators(rows, columns, memory, first, step)            C = rows of 1-D memory that lie `step` apart
    multiply_accumulate(rows, columns, a, b, prefetch_b, prefetch_c)       C += A B, six tile products (bf16x3.py)
    store_accumulators(rows, columns, memory, first, step)           back to memory

C is one, two or four tiles: rows and columns, each the literal 1 or 2, say how many.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from itertools import chain, islice

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.compiling import kernel
from .vectors import ALL_CACHES, NOT_L1, TO_READ, TO_WRITE, address, fetch

TILE, TILE_ROWS, TILE_K = 512, 16, 32  # bfloat16 elements of a tile; its rows in A and C, columns in B; its values of k
SPLIT = 3  # bfloat16 elements that a float32 is split into
PREFETCH_LINES, PREFETCH_ROWS = 14, 3  # prefetched during one TILE_K of the k loop: cache lines of B, and rows of C


def _allowed() -> bool:
    """Whether processor, compiler and Linux support AMX. Linux lets a process use it after one request."""
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

# What LDTILECFG reads: palette 1, and 16 rows of 64 bytes for each of the eight tiles.
_LAYOUT = np.zeros(64, np.uint8)
_LAYOUT[0] = 1
_LAYOUT[16:32].view(np.uint16)[:] = 64
_LAYOUT[48:56] = 16

TILES_C, TILES_A, TILES_B = (0, 1, 2, 3), (4, 5), (6, 7)  # registers
# Which part of A is multiplied by which of B. From one term to the next only one side is loaded.
TERMS = ((0, 2), (0, 1), (1, 1), (1, 0), (0, 0), (2, 0))


def _instruction(builder, name: str, *arguments) -> None:
    """Every AMX instruction is emitted here; tests/engine/amx_emulation.py puts emulated ones in their place."""
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _register(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(8), number)


def _bytes_at(context, builder, *element):
    return builder.bitcast(address(context, builder, *element), ir.IntType(8).as_pointer())


def _tiles_of_c(rows, columns) -> list[tuple[int, int]]:
    return [(r, c) for r in range(rows.literal_value) for c in range(columns.literal_value)]


@kernel
def configure_tiles():
    """Set the shapes of this thread's tiles."""
    _load_layout(_LAYOUT, 0)


@intrinsic
def _load_layout(typing, array, index):
    def build(context, builder, signature, values):
        _instruction(builder, "ldtilecfg", _bytes_at(context, builder, array, values[0], index, values[1]))
        return context.get_dummy_value()

    return types.void(array, index), build


@intrinsic
def release_tiles(typing):
    """Clear the tiles. While they are in use, the system saves 8 KB more whenever it switches threads."""

    def build(context, builder, signature, values):
        _instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), build


@intrinsic(prefer_literal=True)
def multiply_accumulate(typing, rows, columns, a, b, prefetch_b, prefetch_c):
    """C += A B, where A and B are tiles of float32 elements split into three.

    a, b: an array, where the SPLIT tiles of the first 16 rows or columns are in it, and the distance to the next 16.
    prefetch_b: an array and an index; the PREFETCH_LINES cache lines from there on will be read soon.
    prefetch_c: an array, an index and the distance between rows; PREFETCH_ROWS rows of C that will be written soon.
    There is one prefetch after each tile product: all of them together would delay the tile loads.
    """

    def build(context, builder, signature, values):
        a_at, b_at, next_b, next_c = (cgutils.unpack_tuple(builder, value) for value in values[2:])
        next_lines = _lines_of_b(context, builder, prefetch_b, next_b)
        next_lines = chain(next_lines, _lines_of_c(context, builder, prefetch_c, next_c))
        loaded = None, None
        for term in TERMS:
            if term[0] != loaded[0]:
                _load_tiles(context, builder, TILES_A[: rows.literal_value], a, a_at, term[0])
            if term[1] != loaded[1]:
                _load_tiles(context, builder, TILES_B[: columns.literal_value], b, b_at, term[1])
            for r, c in _tiles_of_c(rows, columns):
                _instruction(builder, "tdpbf16ps", *map(_register, (TILES_C[2 * r + c], TILES_A[r], TILES_B[c])))
                for pointer, write, where in islice(next_lines, 1):
                    fetch(context, builder, pointer, write, where)
            loaded = term
        return context.get_dummy_value()

    return types.void(rows, columns, a, b, prefetch_b, prefetch_c), build


def _moved(builder, index, step, n, constant):
    """index + n step + constant"""
    index = builder.add(index, builder.mul(step, ir.Constant(step.type, n)))
    return builder.add(index, ir.Constant(index.type, constant))


def _load_tiles(context, builder, registers, side, values, part):
    """One of the SPLIT parts of the tiles of A or B."""
    array, first, apart = values
    for n, register in enumerate(registers):
        index = _moved(builder, first, apart, n, part * TILE)
        at = _bytes_at(context, builder, side[0], array, side[1], index)
        _instruction(builder, "tileloadd64", _register(register), at, ir.Constant(ir.IntType(64), 64))


def _lines_of_b(context, builder, side, values):
    array, first = values
    for n in range(PREFETCH_LINES):
        index = builder.add(first, ir.Constant(first.type, n * TILE_K))
        yield address(context, builder, side[0], array, side[1], index), TO_READ, NOT_L1


def _lines_of_c(context, builder, side, values):
    array, first, apart = values
    for n in range(2 * PREFETCH_ROWS):
        index = _moved(builder, first, apart, n // 2, n % 2 * TILE_ROWS)
        yield address(context, builder, side[0], array, side[1], index), TO_WRITE, ALL_CACHES


def _move_accumulators(instruction):
    @intrinsic(prefer_literal=True)
    def move(typing, rows, columns, memory, first, step):
        """Between C and memory[first : first + 16 columns], the next row `step` elements further, and so on."""

        def build(context, builder, signature, values):
            _, _, array, start, apart = values
            size = memory.dtype.bitwidth // 8
            for r, c in _tiles_of_c(rows, columns):
                index = builder.add(start, builder.mul(apart, ir.Constant(apart.type, TILE_ROWS * r)))
                index = builder.add(index, ir.Constant(index.type, TILE_ROWS * c))
                at = _bytes_at(context, builder, memory, array, first, index)
                stride = builder.mul(apart, ir.Constant(apart.type, size))
                _instruction(builder, instruction, _register(TILES_C[2 * r + c]), at, stride)
            return context.get_dummy_value()

        return types.void(rows, columns, memory, first, step), build

    return move


load_accumulators, store_accumulators = _move_accumulators("tileloadd64"), _move_accumulators("tilestored64")


# ------------------------------------------------------------------------------------------------------------ bfloat16


@intrinsic
def truncate_to_bf16(typing, a):
    """The first 8 significant bits of every number, as float32; the other bits become zero."""

    def build(context, builder, signature, values):
        integers = ir.VectorType(ir.IntType(32), a.lanes)
        mask = ir.Constant(integers, [0xFFFF0000] * a.lanes)
        return builder.bitcast(builder.and_(builder.bitcast(values[0], integers), mask), context.get_value_type(a))

    return a(a), build


@intrinsic
def store_interleaved(typing, array, index, a, b):
    """Two vectors as bfloat16, truncated, into a uint16 array: a[0], b[0], a[1], b[1], ..."""

    def build(context, builder, signature, values):
        integers = ir.VectorType(ir.IntType(32), a.lanes)
        first, second = (builder.bitcast(value, integers) for value in values[2:])
        lower = builder.lshr(first, ir.Constant(integers, [16] * a.lanes))
        upper = builder.and_(second, ir.Constant(integers, [0xFFFF0000] * a.lanes))
        at = builder.bitcast(address(context, builder, array, values[0], index, values[1]), integers.as_pointer())
        builder.store(builder.or_(lower, upper), at, align=2)
        return context.get_dummy_value()

    return types.void(array, index, a, b), build
