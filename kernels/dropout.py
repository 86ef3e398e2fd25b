"""Dropout whose mask is a function of (key, place): nothing is stored, and backward drops the same places."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import prange

from .runtime.compiling import kernel, parallel_kernel
from .runtime.vector_math import random_bits

BLOCK = 4096
NO_KEY = (np.uint32(0), np.uint32(0))


@lru_cache(maxsize=16)
def threshold(rate: float) -> np.uint32:
    """A place is kept if its 32 random bits are at least this: a share of 1 - rate of all places."""
    return np.uint32(min(int(rate * 2**32), 2**32 - 1))


def dropout(x, rate, key):
    """x = x / (1 - rate) where kept, 0 where dropped; returned, too.   Any shape; rate in (0, 1); key: two uint32

    Backward is the same function of dy: forward was y = x m, so now dx = dy m, with the same m.
    """
    if not x.flags.c_contiguous:
        raise ValueError(f"x must be in C order, got shape {x.shape} with strides {x.strides}")
    _dropout(x.reshape(-1), *settings(rate, key))
    return x


def settings(rate, key):
    """What `drop` wants to know: the threshold, what is multiplied with, and the key."""
    return threshold(rate), 1.0 / (1.0 - rate), key[0], key[1]


@parallel_kernel
def _dropout(x, least, scale, key_low, key_high):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        drop(x, block * BLOCK, min((block + 1) * BLOCK, x.size), (least, scale, key_low, key_high))


@kernel
def drop(numbers, first, last, dropout):
    """Some of the numbers of a 1-D array; which are dropped depends on their place in it."""
    (least, scale, key_low, key_high), part = dropout, numbers[first:last]
    typed_scale, zero = part.dtype.type(scale), part.dtype.type(0)
    for i in range(part.size):
        keep = random_bits(key_low, key_high, np.uint32(first + i)) >= least
        part[i] *= typed_scale if keep else zero  # a product, so that a NaN is not hidden by dropping it
