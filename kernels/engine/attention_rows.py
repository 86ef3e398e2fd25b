"""The steps of attention for the rows of a block of queries, in buffers of the caches. attention.py combines them."""

from __future__ import annotations

import numpy as np

from ..runtime.compiling import allocating_kernel, kernel
from ..runtime.vector_math import exp, random_bits
from .micro_kernel import MR, MR_HALF, Strided, aligned_empty, micro_kernel
from .vectors import (
    add,
    fma,
    lanes,
    load,
    maximum,
    multiply,
    prefetch,
    reduce_add,
    reduce_max,
    splat,
    store,
    subtract,
    where,
)

QUERIES = 28 // MR * MR  # of a block: the more, the less often the gradients of keys and values are loaded and stored
# Elementwise steps (exp, dropout) are one loop over the weights of all queries of a block, rounded up to a multiple of
# CHUNK: four vectors, which is how far LLVM unrolls such a loop. It would do the remainder one element at a time, and
# the rows of short texts consist of remainders only.
CHUNK = 64


@kernel
def round_up(n, step):
    """The first multiple of step that is at least n."""
    return (n + step - 1) // step * step


@allocating_kernel
def zero_panels(depth, columns, like):
    """Panels of zeros for a factor (depth, columns) -> (panels, depth, NR)"""
    nr = 2 * lanes(like)
    n_panels = round_up(columns, nr) // nr
    memory = aligned_empty(n_panels * depth * nr, like.dtype)
    memory[:] = 0
    return memory.reshape(n_panels, depth, nr)


@kernel
def prefetch_head(arrays, first, d_head):
    """Prefetch a head's columns, if there are any: those of the next head to read, or those of this one to write.

    They are some bytes of each row, a pattern that the processor does not prefetch by itself.
    """
    for x in arrays:
        if first < x.shape[1]:
            for r in range(len(x)):
                for c in range(first, first + d_head, lanes(x)):
                    prefetch(x, (r, c))


@kernel
def load_head(x, start, rows, first, scale, out):
    """out[:rows] = scale * x[start : start + rows, first : first + d_head], and the other rows of out = 0.

    (T, D) -> (rows, d_head)
    """
    d_head, factors, zero = out.shape[1], splat(scale), splat(x.dtype.type(0))
    whole = d_head - d_head % lanes(x)
    for r in range(rows):
        for c in range(0, whole, lanes(x)):
            store(out, (r, c), fma(load(x, (start + r, first + c)), factors, zero))
        for c in range(whole, d_head):
            out[r, c] = x[start + r, first + c] * scale
    out[rows:] = 0


@kernel
def store_head(x, rows, scale, out, start, first, d_head):
    """out[start : start + rows, first : first + d_head] = scale * x[:rows, :d_head].   (rows, d_head) -> (T, D)"""
    factors, whole = splat(scale), d_head - d_head % lanes(x)
    for r in range(rows):
        for c in range(0, whole, lanes(x)):
            store(out, (start + r, first + c), multiply(load(x, (r, c)), factors))
        for c in range(whole, d_head):
            out[start + r, first + c] = x[r, c] * scale


@kernel
def multiply_panels(a, panels, bias, c_from, c):
    """c = a @ b + bias + c_from, in whole micro-tiles; b is packed in panels.

    (M, K) @ (K, N) + (N,) -> (M, N), both padded to whole micro-tiles. c_from: Strided starts of rows, which may be
    those of c itself.
    """
    n_panels, _, nr = panels.shape
    no_prefetch = Strided(c_from.memory, 0, 0)  # everything is in the caches
    for p in range(n_panels):
        panel, j = panels[p], p * nr
        panel_bias = bias[j : j + nr]
        for i in range(0, len(a) - MR_HALF, MR):
            start = Strided(c_from.memory, i * c_from.stride + min(j, c_from.stride), c_from.stride)
            micro_kernel(MR, a[i : i + MR], panel, panel_bias, start, c, i, j, no_prefetch)
        if len(a) % MR:
            i = len(a) - MR_HALF
            start = Strided(c_from.memory, i * c_from.stride + min(j, c_from.stride), c_from.stride)
            micro_kernel(MR_HALF, a[i : i + MR_HALF], panel, panel_bias, start, c, i, j, no_prefetch)


@allocating_kernel
def padding_bias(n, panels):
    """What is added to a row of scores: zero for each of the n keys, minus infinity in the padding of the last panel.

    So the padding has weight zero, and the loops after it need not know n.
    """
    bias = np.zeros(panels.shape[0] * panels.shape[2], panels.dtype)
    bias[n:] = -np.inf
    return bias


@kernel
def fill_columns(x, first, value):
    """x[:, first:] = value; rows of x are a multiple of whole vectors."""
    vector = splat(x.dtype.type(value))
    for r in range(len(x)):
        for j in range(first, x.shape[1], lanes(x)):
            store(x, (r, j), vector)


@allocating_kernel
def weight_buffers(width, like):
    """A buffer for the weights of a block of queries: as (QUERIES, width), and flat with padding at the end."""
    flat = np.zeros(QUERIES * width + CHUNK, like.dtype)
    return flat[: QUERIES * width].reshape(QUERIES, width), flat


@allocating_kernel
def weight_positions(n, width):
    """For each element of a flat weight buffer, its position among the weights of the block's queries for n keys."""
    positions = np.zeros(QUERIES * width + CHUNK, np.uint32)
    for r in range(QUERIES):
        for j in range(n):
            positions[r * width + j] = r * n + j
    return positions


@kernel
def row_max(row):
    """The maximum of a row. A NaN does not count here; it makes the sum of the exponentials NaN."""
    vector = load(row, 0)
    for j in range(0, row.size, lanes(row)):
        vector = maximum(load(row, j), vector)
    return reduce_max(vector)


@kernel
def subtract_from_row(row, x):
    """row -= x, a scalar."""
    vector = splat(x)
    for j in range(0, row.size, lanes(row)):
        store(row, j, subtract(load(row, j), vector))


@kernel
def row_sum(row):
    """The sum of a row."""
    vector = splat(row.dtype.type(0))
    for j in range(0, row.size, lanes(row)):
        vector = add(load(row, j), vector)
    return reduce_add(vector)


@kernel
def exp_in_place(x):
    """x = exp(x), element by element."""
    for i in range(x.size):
        x[i] = exp(x[i])


@kernel
def dropout_mask(mask, positions, dropout, first_position):
    """mask = the factors of dropout for a block's weights: scale where a weight is kept, zero where it is dropped."""
    (threshold, scale, key_low, key_high), zero = dropout, mask.dtype.type(0)
    for i in range(mask.size):
        kept = random_bits(key_low, key_high, np.uint32(first_position + positions[i])) >= threshold
        mask[i] = scale if kept else zero


@kernel
def multiply_in_place(x, factors):
    """x *= factors, element by element."""
    for i in range(x.size):
        x[i] *= factors[i]


@kernel
def score_gradients(weights, dweights, mask, is_key):
    """One row of the backward pass, in place: dweights, dC V.T, becomes dS; weights, P, becomes P m for dV.

    dP = (dC V.T) m;  dS = P (dP - row_sum(dP P)).  is_key is one for each key, and zero in the padding after the last
    one, where both become zero.
    """
    products = splat(weights.dtype.type(0))
    for j in range(0, weights.size, lanes(weights)):
        weight = where(load(is_key, j), load(weights, j))
        dweight = where(load(is_key, j), multiply(load(dweights, j), load(mask, j)))
        store(weights, j, weight)
        store(dweights, j, dweight)
        products = fma(dweight, weight, products)
    inner = splat(reduce_add(products))
    for j in range(0, weights.size, lanes(weights)):
        weight = load(weights, j)
        store(dweights, j, multiply(weight, subtract(load(dweights, j), inner)))
        store(weights, j, multiply(weight, load(mask, j)))
