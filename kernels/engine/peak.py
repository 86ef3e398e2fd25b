"""What the processor can do at most: multiply-adds per second, and bytes per second to and from memory.

These two limits are the roofline (Williams, Waterman & Patterson, 2009, Roofline: An Insightful Visual Performance
Model for Multicore Architectures): no kernel is faster than the one or the other allows. Where a processor has AMX
tiles (amx.py), products have a third, higher limit. `minibert bench` measures all three; nothing else imports this
file.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..runtime.compiling import parallel_kernel
from ..runtime.pool import empty
from .amx import TILE_K, configure_tiles, load_accumulators, multiply_accumulate, release_tiles, store_accumulators
from .bf16x3 import MR, NR, PANEL_STEP, SPLIT_TILE
from .micro_kernel import aligned_empty
from .vectors import fma, lanes, load, splat, store

STEPS = 3  # of the k loop, for a product whose packed factors fit the L1 cache
CHAINS = 12  # independent vectors of each thread


def multiply_adds(turns: int, threads: int, dtype=np.float32) -> int:
    """Do nothing but multiply-adds, on every thread. Returns the number of operations, two for each multiply-add."""
    start = np.linspace(0, 1, threads * CHAINS * lanes(np.empty(0, dtype)), dtype=dtype).reshape(threads, -1)
    _multiply_adds(start, turns)  # x * 0.5 + 0.5 tends to 1
    return 2 * start.size * turns


def tile_products(turns: int, threads: int) -> int:
    """Do nothing but float32 products on AMX tiles, on every thread, with all data in the L1 cache.

    Returns the number of operations of the float32 products, two for each multiply-add of the formula, not the twelve
    that the split into three bfloat16 takes.
    """
    _tile_products(turns, np.zeros((threads, MR * NR), np.float32))
    return 2 * MR * NR * TILE_K * STEPS * turns * threads


def triad(a, b, scale, out):
    """out = a + scale * b, which moves three times the bytes of out.

    The triad of STREAM (McCalpin, 1995, Memory Bandwidth and Machine Balance in Current High Performance Computers).
    """
    _triad(a, b, a.dtype.type(scale), out)


def triad_arrays(megabytes: float, dtype=np.float32):
    """Three arrays for `triad`, of so many megabytes together; they should be larger than the caches."""
    size = int(megabytes * 1e6 / 3 / np.dtype(dtype).itemsize)
    arrays = [empty((size,), dtype) for _ in range(3)]
    for array in arrays:
        array.fill(1)
    return arrays


@parallel_kernel
def _multiply_adds(start, turns):
    """Each thread has CHAINS = 12 vectors in registers, and does a multiply-add on each of them in every turn.

    A multiply-add takes four or five cycles, and two can start in each cycle: ten or more independent ones keep the
    processor busy. With the two constants the 12 fit the 16 registers of AVX2.
    """
    for thread in prange(start.shape[0]):
        row, n = start[thread], lanes(start)
        v0, v1, v2, v3 = load(row, 0), load(row, n), load(row, 2 * n), load(row, 3 * n)
        v4, v5, v6, v7 = load(row, 4 * n), load(row, 5 * n), load(row, 6 * n), load(row, 7 * n)
        v8, v9, v10, v11 = load(row, 8 * n), load(row, 9 * n), load(row, 10 * n), load(row, 11 * n)
        m = c = splat(row.dtype.type(0.5))
        for _ in range(turns):
            v0, v1, v2, v3 = fma(v0, m, c), fma(v1, m, c), fma(v2, m, c), fma(v3, m, c)
            v4, v5, v6, v7 = fma(v4, m, c), fma(v5, m, c), fma(v6, m, c), fma(v7, m, c)
            v8, v9, v10, v11 = fma(v8, m, c), fma(v9, m, c), fma(v10, m, c), fma(v11, m, c)
        for i, v in enumerate((v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11)):
            store(row, i * n, v)


@parallel_kernel
def _tile_products(turns, c):
    for thread in prange(len(c)):
        row, size = c[thread], STEPS * PANEL_STEP
        left, right = aligned_empty(size, np.uint16), aligned_empty(size, np.uint16)
        left[:], right[:] = 0x3F80, 0x3F80  # 1 as a bfloat16
        configure_tiles()
        load_accumulators(2, 2, row, 0, NR)
        for _ in range(turns):
            for step in range(STEPS):
                a, at = (left, step * SPLIT_TILE, STEPS * SPLIT_TILE), step * PANEL_STEP
                multiply_accumulate(2, 2, a, (right, at, SPLIT_TILE), (right, at), (row, 0, 0))
        store_accumulators(2, 2, row, 0, NR)
        release_tiles()


@parallel_kernel
def _triad(a, b, scale, out):
    block = 16384
    for task in prange((out.size + block - 1) // block):
        start, stop = task * block, min((task + 1) * block, out.size)
        x, y, z = a[start:stop], b[start:stop], out[start:stop]
        for i in range(z.size):
            z[i] = x[i] + scale * y[i]
