"""AMX tiles without AMX: the instructions of kernels/engine/amx.py as functions that work on arrays.

Few processors have AMX, so most changes to its kernels are made where they cannot run. With `install()`, called before
the first kernel is compiled, `amx._instruction` emits calls of the functions below instead, and products take the AMX
path. AVX-512 is still needed: the code around the instructions uses vectors of 16 float32. Emulated tiles take some
hundred times as long as real ones.

As a plugin of pytest it runs any test on emulated tiles, in a cache folder of its own:

    MINIBERT_KERNELS=numba NUMBA_CACHE_DIR=/tmp/emulated PYTHONPATH=tests/engine \\
        python -m pytest -p amx_emulation tests/kernels/test_door.py

What the instructions do follows Intel's manual (Software Developer's Manual, volume 2, LDTILECFG, TDPBF16PS,
TILELOADD, TILERELEASE, TILESTORED). Only the layout of kernels/engine/amx.py is emulated: 8 tiles of 16 rows of 64
bytes. Anything else, and tiles that are used before they are configured, count as faults.
"""

from __future__ import annotations

import os

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc.parallel import _launch_threads

from kernels.engine import amx

MAX_THREADS, N_TILES, ROWS, PAIRS = 64, 8, 16, 16  # a row of a tile is 16 pairs of bfloat16, or 16 float32
SCRATCH = 5  # the two factors' halves as float32, and two rows of sums
SMALLEST = np.float32(2.0**-126)  # below it float32 numbers are denormal, and AMX takes them for zero
CONFIGURED, FAULTS, PRODUCTS = 0, 1, 2  # what is counted for each thread

_tiles = np.zeros((MAX_THREADS, N_TILES + SCRATCH, ROWS, PAIRS), np.uint32)
_counts = np.zeros((MAX_THREADS, 3), np.int64)
_TILES_AT, _COUNTS_AT = _tiles.ctypes.data, _counts.ctypes.data


def install() -> None:
    """From now on kernels are compiled for emulated tiles, in this process.

    Their code must not reach the folder that other processes load kernels from, nor come from there.
    """
    if "NUMBA_CACHE_DIR" not in os.environ:
        raise RuntimeError("emulated AMX needs a kernel cache of its own: set NUMBA_CACHE_DIR to a temporary folder")
    for name, function in _FUNCTIONS.items():
        llvmlite.binding.add_symbol(_symbol(name), function.address)
    amx._instruction, amx.ALLOWED = _call, True


def pytest_configure(config) -> None:
    """Called by pytest if this file is one of its plugins."""
    install()


def products() -> int:
    """How many tdpbf16ps instructions all threads have executed."""
    return int(_counts[:, PRODUCTS].sum())


def faults() -> int:
    """How many instructions a processor would have refused, and how many threads have not released their tiles."""
    return int(_counts[:, FAULTS].sum() + _counts[:, CONFIGURED].sum())


def _symbol(name: str) -> str:
    return f"minibert_emulated_{name}"


def _call(builder, name: str, *arguments) -> None:
    """Stands where amx._instruction stood."""
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, _symbol(name)), arguments)


# ------------------------------------------------------------------------------------------------------ the functions


@intrinsic
def _pointer(typing, number):
    """An address as a pointer, since Numba takes a global array for a constant."""

    def build(context, builder, signature, values):
        return builder.inttoptr(values[0], ir.IntType(8).as_pointer())

    return types.voidptr(number), build


@numba.njit
def _counts_of_thread():
    return carray(_pointer(_COUNTS_AT), (MAX_THREADS, 3), np.int64)[numba.get_thread_id()]


@numba.njit
def _tiles_of_thread(dtype):
    return carray(_pointer(_TILES_AT), (MAX_THREADS, N_TILES + SCRATCH, ROWS, PAIRS), dtype)[numba.get_thread_id()]


@numba.njit
def _check(counts, fits):
    """A processor raises an exception (#UD or #GP); here it is counted."""
    if not (fits and counts[CONFIGURED]):
        counts[FAULTS] += 1


@numba.njit
def _ldtilecfg(layout):
    layout, counts = carray(layout, (64,), np.uint8), _counts_of_thread()
    fits = layout[0] == 1 and layout[1] == 0
    for tile in range(16):
        row_bytes = layout[16 + 2 * tile] + 256 * layout[17 + 2 * tile]
        fits &= row_bytes == (64 if tile < N_TILES else 0) and layout[48 + tile] == (16 if tile < N_TILES else 0)
    counts[CONFIGURED] = 1
    _check(counts, fits)
    _tiles_of_thread(np.uint32)[:] = 0


@numba.njit
def _tilerelease():
    _counts_of_thread()[CONFIGURED] = 0
    _tiles_of_thread(np.uint32)[:] = 0xFFFFFFFF  # whoever reads it finds NaN


@numba.njit
def _tileloadd64(tile, memory, stride):
    """`stride` bytes from a row to the next; 0 loads the same row 16 times."""
    _check(_counts_of_thread(), 0 <= tile < N_TILES)
    rows = _tiles_of_thread(np.uint32)[tile]
    for r in range(ROWS):
        row = carray(_moved(memory, r * stride), (PAIRS,), np.uint32)
        for n in range(PAIRS):
            rows[r, n] = row[n]


@numba.njit
def _tilestored64(tile, memory, stride):
    _check(_counts_of_thread(), 0 <= tile < N_TILES)
    rows = _tiles_of_thread(np.uint32)[tile]
    for r in range(ROWS):
        row = carray(_moved(memory, r * stride), (PAIRS,), np.uint32)
        for n in range(PAIRS):
            row[n] = rows[r, n]


@intrinsic
def _moved(typing, pointer, by):
    """A pointer some bytes further."""

    def build(context, builder, signature, values):
        return builder.gep(builder.bitcast(values[0], ir.IntType(8).as_pointer()), [values[1]])

    return pointer(pointer, by), build


@numba.njit(fastmath={"contract"})
def _tdpbf16ps(c, a, b):
    """c[m, n] += sum of a[m, k] * b[k, n], where a and b hold pairs: two sums of 16 fused multiply-adds, then added.

    The manual's temp1[2n] and temp1[2n + 1] are the two sums. Denormal numbers count as zero wherever they appear.
    """
    counts = _counts_of_thread()
    _check(counts, 0 <= c < N_TILES and 0 <= a < N_TILES and 0 <= b < N_TILES)
    counts[PRODUCTS] += 1
    bits, numbers = _tiles_of_thread(np.uint32), _tiles_of_thread(np.float32)
    for factor, halves in ((a, N_TILES), (b, N_TILES + 2)):
        for r in range(ROWS):
            for n in range(PAIRS):
                bits[halves, r, n] = bits[factor, r, n] << np.uint32(16)
                bits[halves + 1, r, n] = bits[factor, r, n] & np.uint32(0xFFFF0000)
    a0, a1, b0, b1 = numbers[N_TILES], numbers[N_TILES + 1], numbers[N_TILES + 2], numbers[N_TILES + 3]
    even, odd = numbers[N_TILES + 4, 0], numbers[N_TILES + 4, 1]
    for m in range(ROWS):
        even[:], odd[:] = 0, 0
        for k in range(PAIRS):
            for n in range(PAIRS):
                even[n] = _flushed(even[n] + _flushed(a0[m, k]) * _flushed(b0[k, n]))
                odd[n] = _flushed(odd[n] + _flushed(a1[m, k]) * _flushed(b1[k, n]))
        for n in range(PAIRS):
            numbers[c, m, n] = _flushed(_flushed(numbers[c, m, n]) + _flushed(even[n] + odd[n]))


@numba.njit
def _flushed(x):
    return np.float32(0) if abs(x) < SMALLEST else x


_launch_threads()  # makes get_thread_id known to the compiler
_TILE, _STRIDE = types.int8, types.int64
_FUNCTIONS = {
    "ldtilecfg": numba.cfunc(types.void(types.voidptr))(_ldtilecfg.py_func),
    "tilerelease": numba.cfunc(types.void())(_tilerelease.py_func),
    "tileloadd64": numba.cfunc(types.void(_TILE, types.voidptr, _STRIDE))(_tileloadd64.py_func),
    "tilestored64": numba.cfunc(types.void(_TILE, types.voidptr, _STRIDE))(_tilestored64.py_func),
    "tdpbf16ps": numba.cfunc(types.void(_TILE, _TILE, _TILE), fastmath={"contract"})(_tdpbf16ps.py_func),
}
