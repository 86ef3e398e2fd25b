"""Dropout whose mask is a function of (key, place): nothing is stored, and backward drops the same places."""

from __future__ import annotations

import numpy as np
from numba import prange

from ._compile import parallel_kernel
from .scalar import random_bits

BLOCK = 4096


def threshold(rate: float) -> np.uint32:
    """A place is kept if its 32 random bits are at least this: a share of 1 - rate of all places."""
    return np.uint32(min(int(rate * 2**32), 2**32 - 1))


def dropout(x, rate, key):
    """x = x / (1 - rate) where kept, 0 where dropped; returned, too.   Any shape; rate in (0, 1); key: two uint32

    Backward is the same function of dy: forward was y = x m, so now dx = dy m, with the same m.
    """
    if not x.flags.c_contiguous:
        raise ValueError(f"x must be in C order, got shape {x.shape} with strides {x.strides}")
    _dropout(x.reshape(-1), threshold(rate), 1.0 / (1.0 - rate), key[0], key[1])
    return x


@parallel_kernel
def _dropout(x, least, scale, key_low, key_high):
    typed_scale, zero = x.dtype.type(scale), x.dtype.type(0)
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        xs = x[start : start + BLOCK]
        for i in range(xs.size):
            keep = random_bits(key_low, key_high, np.uint32(start + i)) >= least
            xs[i] *= typed_scale if keep else zero  # a product, so that a NaN is not hidden by dropping it
