"""From three naive loops to the fast matrix product, one idea a rung: y = x @ W, (T, I) @ (I, O) -> (T, O).

All rungs multiply and add the same 2 T I O times. What changes is how often an element is loaded, and from how
far away: a multiply-add takes a fraction of a nanosecond; to load an element takes nothing from a register, about 1 ns
from the L1 cache, and about 100 ns from memory. `minibert bench matmul` prints the speed of each rung, with the
engine's own products on top. What they do beyond the last rung is explained in kernels/engine/README.md.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .runtime.compiling import kernel, parallel_kernel, serial_kernel
from .runtime.vector_math import add_four, four

KC, NC = 64, 256  # rows and columns of a block of W: 64 KB in float32, which the L2 cache of any processor holds
MR, UNROLL = 8, 4  # rows of y, and iterations of the k loop, that one pass over a block's columns does together


def rung_0_three_loops(x, W):
    """The formula, written down: y[i, j] is the sum over k of x[i, k] W[k, j].

    The inner loop walks down a column of W. Neighbours in a column lie a whole row apart, so each iteration loads
    another cache line and uses one element of it; and LLVM cannot load them as one vector.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _three_loops(x, W, y)
    return y


def rung_1_walk_along_rows(x, W):
    """The same loops in another order, i k j. Now the inner loop walks along a row of W and a row of y.

    Sixteen contiguous float32 (AVX2: eight) are loaded, multiplied and added by one instruction each. Every element of
    y is still the same sum; only the order of the loops has changed.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _walk_along_rows(x, W, y)
    return y


def rung_2_cache_blocks(x, W):
    """Cache blocking: W in blocks that fit the L2 cache; all rows of x use a block before the next one is loaded.

    Without blocks each row of x walks through all of W, and by the time the next row comes, the beginning has been
    evicted from the cache.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _cache_blocks(x, W, y)
    return y


def rung_3_micro_tile(x, W):
    """Eight rows of y and four iterations of the k loop together: an element of W is used eight times, one of y four.

    Until now every multiply-add needed two loads and a store, while the processor can do two loads and two
    multiply-adds in a cycle. Here 4 loads from W and 8 from y feed 32 multiply-adds; but the sums are still
    loaded from the cache and stored to it, since a loop that LLVM vectorizes cannot keep them in registers.
    """
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _micro_tile(x, W, y)
    return y


def rung_4_threads(x, W):
    """All cores: each thread owns blocks of y's rows, so none waits for another, and each sum keeps its order."""
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    _threads(x, W, y)
    return y


RUNGS = rung_0_three_loops, rung_1_walk_along_rows, rung_2_cache_blocks, rung_3_micro_tile, rung_4_threads


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
def _cache_blocks(x, W, y):
    for j0 in range(0, y.shape[1], NC):
        j1 = min(j0 + NC, y.shape[1])
        for k0 in range(0, W.shape[0], KC):
            for i in range(y.shape[0]):
                out = y[i, j0:j1]
                for k in range(k0, min(k0 + KC, W.shape[0])):
                    a, row = x[i, k], W[k, j0:j1]
                    for j in range(out.size):
                        out[j] += a * row[j]


@serial_kernel
def _micro_tile(x, W, y):
    _rows_in_tiles(x, W, y, 0, y.shape[0])


@parallel_kernel
def _threads(x, W, y):
    block = 4 * MR
    for task in prange((y.shape[0] + block - 1) // block):
        _rows_in_tiles(x, W, y, task * block, min((task + 1) * block, y.shape[0]))


@kernel
def _rows_in_tiles(x, W, y, top, bottom):
    """Rows top:bottom of y, block by block; rows that do not fill a micro-tile are computed as in rung 2."""
    for j0 in range(0, y.shape[1], NC):
        j1 = min(j0 + NC, y.shape[1])
        for k0 in range(0, W.shape[0], KC):
            k1 = min(k0 + KC, W.shape[0])
            i = top
            while i + MR <= bottom:
                _eight_rows(x, W, y, i, k0, k1, j0, j1)
                i += MR
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
    while k + UNROLL <= k1:
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
        k += UNROLL
    for rest in range(8):
        _row(x[i + rest], W, y[i + rest, j0:j1], k, k1, j0, j1)
