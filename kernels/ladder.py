"""From three naive loops to the fast matrix product, one idea a rung: y = x @ W, (T, I) @ (I, O) -> (T, O).

All rungs multiply and add the same 2 T I O times. What changes is how often a number is fetched, and from how far
away: a multiply-add takes a fraction of a nanosecond, a number from a register none, from the L1 cache one, from memory
a hundred. `minibert bench matmul` prints how fast each rung is. The program itself uses the last one only: the sixth,
or the seventh where the processor can climb it.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .engine import amx
from .engine.gemm import matmul
from .engine.gemm_fma import multiply
from .runtime.compiling import kernel, parallel_kernel, serial_kernel
from .runtime.pool import empty
from .runtime.vector_math import add_four, four

PANEL_ROWS, PANEL_COLUMNS = 64, 256  # of W: 64 KB in float32, which the L2 cache of any processor holds
TILE_ROWS, TILE_STEPS = 8, 4  # rows of y, and steps of k, that one pass over a panel's columns does together


def rung_0_three_loops(x, W):
    """The formula, written down: y[i, j] is the sum over k of x[i, k] W[k, j].

    The inner loop walks down a column of W. Neighbours in a column lie a whole row apart, so every step fetches another
    cache line and uses one number of it; and LLVM cannot load them as one vector.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _three_loops(x, W, y)
    return y


def rung_1_walk_along_rows(x, W):
    """The same loops in another order, i k j. Now the inner loop walks along a row of W and a row of y.

    Sixteen neighbours are loaded, multiplied and added by one instruction each. No number is computed otherwise than
    before; only the order of the loops has changed.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _walk_along_rows(x, W, y)
    return y


def rung_2_panels(x, W):
    """Take W in panels that fit the cache: all rows of x pass over a panel before the next one is fetched.

    Without panels each row of x walks through all of W, and by the time the next row comes, the beginning has been
    pushed out of the cache.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _panels(x, W, y)
    return y


def rung_3_register_tile(x, W):
    """Eight rows and four steps of k at once: a number loaded from W is used eight times, one of y four times.

    Until now every multiply-add waited for two loads and a store, and the processor can do two loads but also two
    multiply-adds in a cycle. Here 4 loads from W and 8 from y feed 32 multiply-adds; but the sums still come from the
    cache and go back to it, as a loop that LLVM makes vectors of cannot keep them.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _register_tile(x, W, y)
    return y


def rung_4_threads(x, W):
    """All cores: each thread owns blocks of y's rows, so none waits for another, and sums keep their order."""
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _threads(x, W, y)
    return y


def rung_5_sums_in_registers(x, W):
    """Sums stay in registers until they are complete: LLVM is told so with a few vector operations (matmul_fma.py)."""
    y = empty((x.shape[0], W.shape[1]), x.dtype)
    multiply(x, W, False, None, None, None, y)
    return y


def rung_6_the_matrix_unit(x, W):
    """Other hardware: a unit for products of short numbers, of which six make one of float32 (pieces.py, amx.py)."""
    return matmul(x, W)


RUNGS = (
    rung_0_three_loops,
    rung_1_walk_along_rows,
    rung_2_panels,
    rung_3_register_tile,
    rung_4_threads,
    rung_5_sums_in_registers,
    *([rung_6_the_matrix_unit] if amx.ALLOWED else []),
)


@serial_kernel
def _three_loops(x, W, y):
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            total = x.dtype.type(0)
            for k in range(W.shape[0]):
                total += x[i, k] * W[k, j]
            y[i, j] = total


@serial_kernel
def _walk_along_rows(x, W, y):
    for i in range(y.shape[0]):
        out = y[i]
        for k in range(W.shape[0]):
            a, row = x[i, k], W[k]
            for j in range(out.size):
                out[j] += a * row[j]


@serial_kernel
def _panels(x, W, y):
    for j0 in range(0, y.shape[1], PANEL_COLUMNS):
        j1 = min(j0 + PANEL_COLUMNS, y.shape[1])
        for k0 in range(0, W.shape[0], PANEL_ROWS):
            for i in range(y.shape[0]):
                out = y[i, j0:j1]
                for k in range(k0, min(k0 + PANEL_ROWS, W.shape[0])):
                    a, row = x[i, k], W[k, j0:j1]
                    for j in range(out.size):
                        out[j] += a * row[j]


@serial_kernel
def _register_tile(x, W, y):
    _rows_with_tiles(x, W, y, 0, y.shape[0])


@parallel_kernel
def _threads(x, W, y):
    block = 4 * TILE_ROWS
    for task in prange((y.shape[0] + block - 1) // block):
        _rows_with_tiles(x, W, y, task * block, min((task + 1) * block, y.shape[0]))


@kernel
def _rows_with_tiles(x, W, y, top, bottom):
    """Rows top:bottom of y, panel by panel; what fills no tile is done as in the rung before."""
    for j0 in range(0, y.shape[1], PANEL_COLUMNS):
        j1 = min(j0 + PANEL_COLUMNS, y.shape[1])
        for k0 in range(0, W.shape[0], PANEL_ROWS):
            k1 = min(k0 + PANEL_ROWS, W.shape[0])
            i = top
            while i + TILE_ROWS <= bottom:
                _eight_rows(x, W, y, i, k0, k1, j0, j1)
                i += TILE_ROWS
            while i < bottom:
                _row(x[i], W, y[i, j0:j1], k0, k1, j0, j1)
                i += 1


@kernel
def _row(a, W, out, k0, k1, j0, j1):
    for k in range(k0, k1):
        a_k, row = a[k], W[k, j0:j1]
        for j in range(out.size):
            out[j] += a_k * row[j]


@kernel
def _eight_rows(x, W, y, i, k0, k1, j0, j1):
    """Eight rows of y, columns j0:j1, plus x[:, k0:k1] @ W[k0:k1]."""
    y0, y1, y2, y3 = y[i, j0:j1], y[i + 1, j0:j1], y[i + 2, j0:j1], y[i + 3, j0:j1]
    y4, y5, y6, y7 = y[i + 4, j0:j1], y[i + 5, j0:j1], y[i + 6, j0:j1], y[i + 7, j0:j1]
    k = k0
    while k + TILE_STEPS <= k1:
        w0, w1, w2, w3 = W[k, j0:j1], W[k + 1, j0:j1], W[k + 2, j0:j1], W[k + 3, j0:j1]
        a0, a1, a2, a3 = four(x[i], k), four(x[i + 1], k), four(x[i + 2], k), four(x[i + 3], k)
        a4, a5, a6, a7 = four(x[i + 4], k), four(x[i + 5], k), four(x[i + 6], k), four(x[i + 7], k)
        for j in range(y0.size):
            w = w0[j], w1[j], w2[j], w3[j]
            y0[j], y1[j], y2[j], y3[j], y4[j], y5[j], y6[j], y7[j] = (
                add_four(y0[j], a0, w),
                add_four(y1[j], a1, w),
                add_four(y2[j], a2, w),
                add_four(y3[j], a3, w),
                add_four(y4[j], a4, w),
                add_four(y5[j], a5, w),
                add_four(y6[j], a6, w),
                add_four(y7[j], a7, w),
            )
        k += TILE_STEPS
    for rest in range(8):
        _row(x[i + rest], W, y[i + rest, j0:j1], k, k1, j0, j1)
