"""What the processor can do at most: multiply-adds a second, and bytes a second to and from memory.

Every kernel's speed is a share of one of the two. `minibert bench` measures them; nothing else imports this file.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import parallel_kernel
from .memory import empty

CHAINS, STEPS = 8, 8
STREAM = 512  # float32 of one stream: eight of them are 16 KB and stay in the L1 cache


def multiply_adds(turns: int, threads: int, dtype=np.float32) -> int:
    """Do nothing but multiply-adds, on every thread. Returns their number, each counted as two operations."""
    streams = np.ones((threads, CHAINS, STREAM), dtype)
    _multiply_adds(streams, turns, streams.dtype.type(0.5), streams.dtype.type(0.5))  # 1 * 0.5 + 0.5 stays 1
    return 2 * CHAINS * STEPS * STREAM * turns * threads


def triad(a, b, scale, out):
    """out = a + scale * b, the loop that measures memory (STREAM's triad). Three times out's bytes are moved."""
    _triad(a, b, a.dtype.type(scale), out)


def triad_arrays(megabytes: float, dtype=np.float32):
    """Three arrays for `triad`, together that large; they should be larger than the caches."""
    size = int(megabytes * 1e6 / 3 / np.dtype(dtype).itemsize)
    arrays = [empty((size,), dtype) for _ in range(3)]
    for array in arrays:
        array.fill(1)
    return arrays


@parallel_kernel
def _multiply_adds(streams, turns, m, c):
    """Eight vectors, each multiplied and added to eight times between its load and its store.

    A multiply-add takes four or five cycles and two can start in each: the eight chains do not wait for each other, and
    with the two constants they fit the 16 registers of AVX2.
    """
    for thread in prange(streams.shape[0]):
        s = streams[thread]
        s0, s1, s2, s3, s4, s5, s6, s7 = s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
        for _ in range(turns):
            for i in range(STREAM):
                v0, v1, v2, v3, v4, v5, v6, v7 = s0[i], s1[i], s2[i], s3[i], s4[i], s5[i], s6[i], s7[i]
                for _ in range(STEPS):
                    v0, v1, v2, v3 = v0 * m + c, v1 * m + c, v2 * m + c, v3 * m + c
                    v4, v5, v6, v7 = v4 * m + c, v5 * m + c, v6 * m + c, v7 * m + c
                s0[i], s1[i], s2[i], s3[i], s4[i], s5[i], s6[i], s7[i] = v0, v1, v2, v3, v4, v5, v6, v7


@parallel_kernel
def _triad(a, b, scale, out):
    block = 16384
    for task in prange((out.size + block - 1) // block):
        start, stop = task * block, min((task + 1) * block, out.size)
        x, y, z = a[start:stop], b[start:stop], out[start:stop]
        for i in range(z.size):
            z[i] = x[i] + scale * y[i]
