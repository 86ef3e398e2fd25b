"""The steps of attention on the rows of some queries, in memory of the L1 cache. attention.py puts them together."""

from __future__ import annotations

import numpy as np

from ..runtime.compiling import allocating_kernel, kernel
from ..runtime.vector_math import exp, random_bits
from .micro_kernel import HALF, ROWS, Places, on_a_line, tile
from .vectors import add, fma, lanes, larger, largest, load, multiply, splat, store, subtract, total, where

QUERIES = 28 // ROWS * ROWS  # asked together: the more, the less often the gradients of keys and values are fetched
# What is done with each weight by itself (exponentials, dropout) is one loop over all weights of those queries, up to a
# multiple of this: four vectors, which is how many LLVM takes in one turn of a loop. What is left over it would do
# number by number, and the rows of short texts are nothing but leftovers.
CHUNK = 64


@kernel
def up_to(n, step):
    """The first multiple of step from n on."""
    return (n + step - 1) // step * step


@allocating_kernel
def strips_of_zeros(depth, columns, like):
    """Strips of zeros for a factor (depth, columns)."""
    width = 2 * lanes(like)
    n_strips = up_to(columns, width) // width
    memory = on_a_line(n_strips * depth * width, like.dtype)
    memory[:] = 0
    return memory.reshape(n_strips, depth, width)


@kernel
def take_rows(x, start, rows, first, scale, out):
    """out = scale times the rows from start and the columns from first on; below the last of the rows zero."""
    size, factors, zero = out.shape[1], splat(scale), splat(x.dtype.type(0))
    whole = size - size % lanes(x)
    for r in range(rows):
        for c in range(0, whole, lanes(x)):
            store(out, (r, c), fma(load(x, (start + r, first + c)), factors, zero))
        for c in range(whole, size):
            out[r, c] = x[start + r, first + c] * scale
    out[rows:] = 0


@kernel
def put_rows(x, rows, scale, out, start, first, size):
    """The same the other way: the first rows of x, times scale, into out."""
    factors, whole = splat(scale), size - size % lanes(x)
    for r in range(rows):
        for c in range(0, whole, lanes(x)):
            store(out, (start + r, first + c), multiply(load(x, (r, c)), factors))
        for c in range(whole, size):
            out[start + r, first + c] = x[r, c] * scale


@kernel
def multiply_strips(a, strips, bias, plus, c):
    """c = a @ b + bias + plus, in whole tiles, b as strips.

    (R, K) @ (K, C) + (C,) -> (R, C), both up to whole tiles; plus: Places of rows, which may be c's own
    """
    n_strips, _, width = strips.shape
    nothing = Places(plus.memory, 0, 0)  # is fetched ahead: all of this is in the caches
    for s in range(n_strips):
        strip, j = strips[s], s * width
        begin = bias[j : j + width]
        for i in range(0, len(a) - HALF, ROWS):
            before = Places(plus.memory, i * plus.step + min(j, plus.step), plus.step)
            tile(ROWS, a[i : i + ROWS], strip, begin, before, c, i, j, nothing)
        if len(a) % ROWS:
            i = len(a) - HALF
            before = Places(plus.memory, i * plus.step + min(j, plus.step), plus.step)
            tile(HALF, a[i : i + HALF], strip, begin, before, c, i, j, nothing)


@allocating_kernel
def ends_of_keys(n, strips):
    """What is added to scores: zero for each of the n keys, minus infinity where the last strip has no key.

    So what is not there has the weight zero without anyone asking for n.
    """
    ends = np.zeros(strips.shape[0] * strips.shape[2], strips.dtype)
    ends[n:] = -np.inf
    return ends


@kernel
def fill_up(rows, first, value):
    """All columns from `first` on = value; rows are whole vectors long."""
    vector = splat(rows.dtype.type(value))
    for r in range(len(rows)):
        for j in range(first, rows.shape[1], lanes(rows)):
            store(rows, (r, j), vector)


@allocating_kernel
def weights_of_queries(width, like):
    """Memory for the weights of QUERIES rows: as rows, and one behind the other with space at the end."""
    memory = np.zeros(QUERIES * width + CHUNK, like.dtype)
    return memory[: QUERIES * width].reshape(QUERIES, width), memory


@allocating_kernel
def places_of_weights(n, width):
    """Which of n keys' weight, counted from the first query's first on, each of these numbers is."""
    places = np.zeros(QUERIES * width + CHUNK, np.uint32)
    for r in range(QUERIES):
        for j in range(n):
            places[r * width + j] = r * n + j
    return places


@kernel
def largest_of(scores):
    """The largest of a row. A NaN does not count here; it makes the sum of the exponentials NaN."""
    vector = load(scores, 0)
    for j in range(0, scores.size, lanes(scores)):
        vector = larger(load(scores, j), vector)
    return largest(vector)


@kernel
def lower(row, number):
    """row -= number"""
    vector = splat(number)
    for j in range(0, row.size, lanes(row)):
        store(row, j, subtract(load(row, j), vector))


@kernel
def total_of(row):
    vector = splat(row.dtype.type(0))
    for j in range(0, row.size, lanes(row)):
        vector = add(load(row, j), vector)
    return total(vector)


@kernel
def exponentials(numbers):
    for i in range(numbers.size):
        numbers[i] = exp(numbers[i])


@kernel
def dropout_mask(mask, places, dropout, first_place):
    """What dropout multiplies weights by: scale where one is kept, else zero."""
    (least, scale, key_low, key_high), zero = dropout, mask.dtype.type(0)
    for i in range(mask.size):
        kept = random_bits(key_low, key_high, np.uint32(first_place + places[i])) >= least
        mask[i] = scale if kept else zero


@kernel
def times_each(numbers, factors):
    for i in range(numbers.size):
        numbers[i] *= factors[i]


@kernel
def score_gradients(weights, dweights, mask, keys):
    """Of one row: weights P to the P m that multiplied V, and dcontext V.T to dS, both in place.

    keys is one where there is a key, and zero behind the last of them, where both become zero.
    """
    products = splat(weights.dtype.type(0))
    for j in range(0, weights.size, lanes(weights)):
        weight = where(load(keys, j), load(weights, j))
        dweight = where(load(keys, j), multiply(load(dweights, j), load(mask, j)))
        store(weights, j, weight)
        store(dweights, j, dweight)
        products = fma(dweight, weight, products)
    inner = splat(total(products))
    for j in range(0, weights.size, lanes(weights)):
        weight = load(weights, j)
        store(dweights, j, multiply(weight, subtract(load(dweights, j), inner)))
        store(weights, j, multiply(weight, load(mask, j)))
