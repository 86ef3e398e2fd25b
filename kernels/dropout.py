"""Dropout whose mask is a function of (key, position): nothing is stored, and backward drops the same elements."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import prange

from .runtime.compiling import allocating_kernel, kernel, parallel_kernel
from .runtime.pool import empty
from .runtime.threads import share
from .runtime.vector_math import random_bits

BLOCK = 4096  # elements that are one task of the thread pool
NO_DROPOUT = (0.0, (np.uint32(0), np.uint32(0)))


def dropout(x, dropout):
    """y = x / (1 - rate) where an element is kept, 0 where it is dropped.   Any shape

    dropout: (rate in (0, 1), key of two uint32). Backward is the same function of dy: forward was y = x m, so now
    dx = dy m, with the same mask m.
    """
    x = np.ascontiguousarray(x)
    share(ns=0.3 * x.size)
    return _apply(x, empty(x.shape, x.dtype), dropout)


def dropout_in_place(x, dropout):
    """The same in the memory of x, in C order: for a caller that needs x no longer, on the threads it has chosen."""
    return _apply(x, x, dropout)


def _apply(x, y, dropout):
    _dropout(x.reshape(-1), y.reshape(-1), y is not x, *settings(dropout))
    return y


@lru_cache(maxsize=16)
def _threshold_and_scale(rate: float):
    return np.uint32(min(int(rate * 2**32), 2**32 - 1)), 1.0 / (1.0 - rate)


def settings(dropout):
    """(threshold, scale, key, key): an element whose 32 random bits are at least the threshold is kept, and scaled."""
    rate, key = dropout
    return (*_threshold_and_scale(rate), *key)


@parallel_kernel
def _dropout(x, y, is_copied, threshold, scale, key_low, key_high):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min((block + 1) * BLOCK, x.size)
        from_x, to_y = x[first:last], y[first:last]
        for i in range(to_y.size if is_copied else 0):
            to_y[i] = from_x[i]
        drop(y, first, last, (threshold, scale, key_low, key_high))


@kernel
def drop(x, first, last, settings):
    """Elements first:last of a 1-D array, in place; which are dropped depends on their position in it."""
    (threshold, scale, key_low, key_high), part = settings, x[first:last]
    typed_scale, zero = part.dtype.type(scale), part.dtype.type(0)
    for i in range(part.size):
        keep = random_bits(key_low, key_high, np.uint32(first + i)) >= threshold
        part[i] *= typed_scale if keep else zero  # a product, so that a NaN is not hidden by dropping it


@kernel
def kept_scale(settings, position):
    """What dropout multiplies the element at a position by."""
    threshold, scale, key_low, key_high = settings
    return scale if random_bits(key_low, key_high, np.uint32(position)) >= threshold else 0.0


@allocating_kernel
def first_positions(offsets_q, offsets_kv, n_heads):
    """How many attention weights come before each sequence: the position of a weight decides whether it is dropped."""
    first = np.zeros(offsets_q.size, np.int64)
    for b in range(offsets_q.size - 1):
        m, n = offsets_q[b + 1] - offsets_q[b], offsets_kv[b + 1] - offsets_kv[b]
        first[b + 1] = first[b] + n_heads * m * n
    return first
