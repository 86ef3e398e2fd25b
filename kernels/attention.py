"""Self-attention over a packed batch (Vaswani et al., 2017, section 3.2).

It is the only operation that knows where a sequence ends.

For sequence b and head h, with Q (m, head size) and K, V (n, head size) the parts of q, k, v that belong to them:

    S = Q K.T / sqrt(head size);   P = softmax(S);   context = dropout(P) V

P is never stored. Forward keeps one number a row and head, log_sum = log(sum(exp(S))), and backward computes
P = exp(S - log_sum) again: T H numbers instead of H m n a sequence.

Rows q_offsets[b]:q_offsets[b+1] of q and rows offsets[b]:offsets[b+1] of k and v are sequence b. In most layers the
two are the same; in the last one only the queries that the head will read are asked.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from ._compile import allocating_kernel, kernel, parallel_kernel
from .dropout import NO_KEY, settings
from .memory import empty
from .scalar import exp, random_bits
from .simd import add, fma, lanes, larger, largest, load, multiply, prefetch, splat, store, subtract, total, where
from .threads import n_threads
from .tile import HALF, ROWS, Places, fill_strips, fill_strips_transposed, square_of_zeros, tile

QUERIES = 28 // ROWS * ROWS  # asked together: the more, the less often the gradients of keys and values are fetched
# Measured: a head of a sequence takes as long as if each side had so many tokens more and all else were for nothing.
MORE = 24
# What is done with each weight by itself (exponentials, dropout) is one loop over all weights of those queries, up to a
# multiple of this: four vectors, which is how many LLVM takes in one turn of a loop. What is left over it would do
# number by number, and the rows of short texts are nothing but leftovers.
CHUNK = 64


def attention(q, k, v, q_offsets, offsets, n_heads, rate=0.0, key=NO_KEY):
    """context and log_sum.   q (R, D), k and v (T, D), int64 offsets (B + 1,) -> (R, D), (R, H)

    rate and key are the dropout of the attention weights; rate 0 switches it off.
    """
    if q.shape[1] % n_heads:
        raise ValueError(f"{q.shape[1]} numbers a token cannot be shared out over {n_heads} heads")
    q, k, v = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)  # rows are read as vectors
    context, log_sum = empty(q.shape, q.dtype), empty((q.shape[0], n_heads), q.dtype)
    _attention(q, k, v, q_offsets, offsets, n_heads, *settings(rate, key), n_threads(), context, log_sum)
    return context, log_sum


def attention_backward(dcontext, q, k, v, log_sum, q_offsets, offsets, rate=0.0, key=NO_KEY):
    """dq, dk, dv.   (R, D) -> (R, D), (T, D), (T, D)

    forward was context = dropout(P) V with P = softmax(S), so now, with m the dropout mask,
    dV = (P m).T dcontext;  dP = (dcontext V.T) m;  dS = P (dP - rowsum(dP P));
    dQ = dS K / sqrt(head size);  dK = dS.T Q / sqrt(head size).
    """
    q, k, v, dcontext = (np.ascontiguousarray(x) for x in (q, k, v, dcontext))  # rows are read as vectors
    # One behind the other in memory, as matmul_dx_each wants them.
    dq, dk, dv = (
        empty((3, *k.shape), k.dtype) if len(q) == len(k) else (empty(q.shape, q.dtype), *empty((2, *k.shape), k.dtype))
    )
    n_heads, dropout = log_sum.shape[1], settings(rate, key)
    _attention_backward(dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, *dropout, n_threads(), dq, dk, dv)
    return dq, dk, dv


@allocating_kernel
def _first_places(q_offsets, offsets, n_heads):
    """Number of attention weights before each sequence: the place of a weight, for dropout."""
    places = np.zeros(offsets.size, np.int64)
    for b in range(offsets.size - 1):
        m, n = q_offsets[b + 1] - q_offsets[b], offsets[b + 1] - offsets[b]
        places[b + 1] = places[b] + n_heads * m * n
    return places


@kernel
def _up_to(n, step):
    """The first multiple of step from n on."""
    return (n + step - 1) // step * step


@allocating_kernel
def _strips(depth, columns, like):
    """Strips of zeros for a factor (depth, columns). They begin on a cache line, so that no vector lies on two."""
    width, line = 2 * lanes(like), 64 // like.itemsize
    n_strips = _up_to(columns, width) // width
    size = n_strips * depth * width
    memory = np.zeros(size + line, like.dtype)
    first = (-memory.ctypes.data // like.itemsize) % line
    return memory[first : first + size].reshape(n_strips, depth, width)


@kernel
def _take_rows(x, start, rows, first, scale, out):
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
def _put_rows(x, rows, scale, out, start, first, size):
    """The same the other way: the first rows of x, times scale, into out."""
    factors, whole = splat(scale), size - size % lanes(x)
    for r in range(rows):
        for c in range(0, whole, lanes(x)):
            store(out, (start + r, first + c), multiply(load(x, (r, c)), factors))
        for c in range(whole, size):
            out[start + r, first + c] = x[r, c] * scale


@kernel
def _multiply(a, strips, bias, plus, c):
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
def _ends(n, strips):
    """What is added to scores: zero for each of the n keys, minus infinity where the last strip has no key.

    So what is not there has the weight zero without anyone asking for n.
    """
    ends = np.zeros(strips.shape[0] * strips.shape[2], strips.dtype)
    ends[n:] = -np.inf
    return ends


@kernel
def _fill_up(rows, first, value):
    """All columns from `first` on = value; rows are whole vectors long."""
    vector = splat(rows.dtype.type(value))
    for r in range(len(rows)):
        for j in range(first, rows.shape[1], lanes(rows)):
            store(rows, (r, j), vector)


@allocating_kernel
def _weights(width, like):
    """Memory for the weights of QUERIES rows: as rows, and one behind the other with space at the end."""
    memory = np.zeros(QUERIES * width + CHUNK, like.dtype)
    return memory[: QUERIES * width].reshape(QUERIES, width), memory


@allocating_kernel
def _places(n, width):
    """Which of n keys' weight, counted from the first query's first on, each of these numbers is."""
    places = np.zeros(QUERIES * width + CHUNK, np.uint32)
    for r in range(QUERIES):
        for j in range(n):
            places[r * width + j] = r * n + j
    return places


@kernel
def _largest(scores):
    """The largest of a row. A NaN does not count here; it makes the sum of the exponentials NaN."""
    vector = load(scores, 0)
    for j in range(0, scores.size, lanes(scores)):
        vector = larger(load(scores, j), vector)
    return largest(vector)


@kernel
def _lower(row, number):
    """row -= number"""
    vector = splat(number)
    for j in range(0, row.size, lanes(row)):
        store(row, j, subtract(load(row, j), vector))


@kernel
def _total(row):
    vector = splat(row.dtype.type(0))
    for j in range(0, row.size, lanes(row)):
        vector = add(load(row, j), vector)
    return total(vector)


@kernel
def _exponentials(numbers):
    for i in range(numbers.size):
        numbers[i] = exp(numbers[i])


@kernel
def _mask(mask, places, dropout, first_place):
    """What dropout multiplies weights by: scale where one is kept, else zero."""
    (least, scale, key_low, key_high), zero = dropout, mask.dtype.type(0)
    for i in range(mask.size):
        kept = random_bits(key_low, key_high, np.uint32(first_place + places[i])) >= least
        mask[i] = scale if kept else zero


@kernel
def _times(numbers, factors):
    for i in range(numbers.size):
        numbers[i] *= factors[i]


@parallel_kernel
def _attention(q, k, v, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, n_threads, context, log_sum):
    """Each thread has some heads, about as much work as the others."""
    places, bounds = _first_places(q_offsets, offsets, n_heads), _bounds(q_offsets, offsets, n_heads, n_threads)
    for part in prange(n_threads):
        for b in range(bounds[part] // n_heads, _up_to(bounds[part + 1], n_heads) // n_heads):
            heads, here, asking = _share(part, b, bounds, n_heads, q_offsets, offsets)
            dropout = least, keep_scale, key_low, key_high, places[b]
            _heads(q[asking], k[here], v[here], heads, dropout, context[asking], log_sum[asking])


@allocating_kernel
def _bounds(q_offsets, offsets, n_heads, n_parts):
    """With which head each part begins and ends, those of all sequences being numbered one after the other."""
    work = (q_offsets[1:] - q_offsets[:-1] + MORE) * (offsets[1:] - offsets[:-1] + MORE)
    bounds, done, all_work, part = np.zeros(n_parts + 1, np.int64), 0, n_heads * work.sum(), 1
    for head in range(n_heads * work.size):
        done += work[head // n_heads]
        while part <= n_parts and done * n_parts >= part * all_work:  # with few heads some parts have none
            bounds[part] = head + 1
            part += 1
    return bounds


@kernel
def _share(part, b, bounds, n_heads, q_offsets, offsets):
    """Which heads of sequence b are a part's; the sequence's rows of k and v, and those of q."""
    first, last = max(bounds[part] - b * n_heads, 0), min(bounds[part + 1] - b * n_heads, n_heads)
    return (first, last), slice(offsets[b], offsets[b + 1]), slice(q_offsets[b], q_offsets[b + 1])


@allocating_kernel
def _heads(q, k, v, heads, dropout, context, log_sum):
    """Some heads of a sequence, one after the other in the same memory."""
    n, size = len(k), q.shape[1] // log_sum.shape[1]
    keys_t, values, nothing = _strips(size, n, q), _strips(n, size, q), np.zeros(_up_to(size, 2 * lanes(q)), q.dtype)
    ends = _ends(n, keys_t)
    weights, one_behind_other = _weights(ends.size, q)
    memory = _Memory(
        (keys_t, values, square_of_zeros(q)),
        (ends, nothing),
        (np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, nothing.size), q.dtype)),
        (weights, one_behind_other),
        (_places(n, ends.size), np.empty(one_behind_other.size, q.dtype)),
        np.empty(QUERIES, q.dtype),
    )
    for h in range(*heads):
        _head(q, k, v, h, dropout, memory, context, log_sum)


class _Memory(NamedTuple):
    """What a head's forward pass works in: strips; rows to add; queries and contexts; weights; masks; sums of rows."""

    strips: tuple
    added: tuple
    rows: tuple
    weights: tuple
    masks: tuple
    totals: np.ndarray


@kernel
def _fetch(arrays, first, size):
    """Ask for a head's columns, if there are any: the next head's to read, or this one's to write.

    They are some bytes of each row, and the processor does not see by itself which are next.
    """
    for x in arrays:
        if first < x.shape[1]:
            for r in range(len(x)):
                for c in range(first, first + size, lanes(x)):
                    prefetch(x, (r, c))


@kernel
def _head(q, k, v, h, dropout, memory, context, log_sum):
    """One head of a sequence."""
    (keys_t, values, spare), (ends, nothing), (queries, contexts) = memory.strips, memory.added, memory.rows
    (weights, one_behind_other), (places, mask), totals = memory.weights, memory.masks, memory.totals
    (least, keep_scale, key_low, key_high, first_place), zeros = dropout, Places(nothing, 0, 0)
    (m, n), size, first = (len(q), len(k)), queries.shape[1], h * queries.shape[1]
    scale, one = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(1)
    _fetch((q, k, v), first + size, size)
    _fetch((context,), first, size)
    fill_strips_transposed(k, first, 0, size, keys_t, spare)
    fill_strips(v, first, size, 0, n, values)
    for i in range(0, m, QUERIES):
        rows, place = min(QUERIES, m - i), first_place + (h * m + i) * n
        tiles = _up_to(rows, HALF)
        _take_rows(q, i, rows, first, scale, queries[:tiles])
        _multiply(queries[:tiles], keys_t, ends, zeros, weights)
        # A step for all rows before the next step for any: a step takes long until its result is there, and meanwhile
        # the processor begins with other rows.
        for r in range(rows):
            log_sum[i + r, h] = _largest(weights[r])
            _lower(weights[r], log_sum[i + r, h])
        flat = _up_to(rows * ends.size, CHUNK)
        _exponentials(one_behind_other[:flat])
        for r in range(rows):
            totals[r] = _total(weights[r])
            log_sum[i + r, h] += np.log(totals[r])
        if least > 0:
            _mask(mask[:flat], places[:flat], (least, q.dtype.type(keep_scale), key_low, key_high), place)
            _times(one_behind_other[:flat], mask[:flat])
        _multiply(weights[:tiles, :n], values, nothing, zeros, contexts)
        for r in range(rows):  # divided only now: V has fewer columns than P
            _put_rows(contexts[r : r + 1], 1, one / totals[r], context, i + r, first, size)


@parallel_kernel
def _attention_backward(
    dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, n_threads, dq, dk, dv
):
    """The same shares as forward."""
    places, bounds = _first_places(q_offsets, offsets, n_heads), _bounds(q_offsets, offsets, n_heads, n_threads)
    for part in prange(n_threads):
        for b in range(bounds[part] // n_heads, _up_to(bounds[part + 1], n_heads) // n_heads):
            heads, here, asking = _share(part, b, bounds, n_heads, q_offsets, offsets)
            dropout = least, keep_scale, key_low, key_high, places[b]
            inputs = q[asking], k[here], v[here], log_sum[asking]
            _heads_backward(dcontext[asking], inputs, heads, dropout, dq[asking], dk[here], dv[here])


@allocating_kernel
def _heads_backward(dcontext, inputs, heads, dropout, dq, dk, dv):
    """The same backwards."""
    q, k, _, log_sum = inputs
    n, size = len(k), q.shape[1] // log_sum.shape[1]
    keys, keys_t, values_t = _strips(n, size, q), _strips(size, n, q), _strips(size, n, q)
    n_keys, n_columns = _up_to(n, HALF), _up_to(size, keys.shape[2])  # of whole tiles
    wide = _up_to(max(n, n_keys), keys.shape[2])
    (masks, mask), there = _weights(wide, q), np.zeros(wide, q.dtype)
    mask[:] = 1
    there[:n] = 1
    memory = _BackwardMemory(
        (keys, keys_t, values_t, square_of_zeros(q)),
        (_strips(QUERIES, size, q), _strips(QUERIES, size, q)),
        (_ends(n, keys_t), np.zeros(max(wide, n_columns), q.dtype), there),
        (np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, size), q.dtype)),
        (np.empty((QUERIES, n_columns), q.dtype), np.empty((n_keys, n_columns), q.dtype)),
        np.empty((n_keys, n_columns), q.dtype),
        _weights(wide, q),
        _weights(wide, q)[0],
        (_places(n, wide), masks, mask),
    )
    for h in range(*heads):
        _head_backward(dcontext, inputs, h, dropout, memory, dq, dk, dv)


class _BackwardMemory(NamedTuple):
    """What a head's backward pass works in."""

    strips: tuple  # K, K.T, V.T, and a square
    query_strips: tuple  # of queries, and of rows of dcontext
    added: tuple  # minus infinity behind the last key; zeros; one where there is a key
    rows: tuple  # of queries, and of dcontext
    grads: tuple  # of queries, and of keys
    value_grads: np.ndarray
    weights: tuple
    dweights: np.ndarray
    masks: tuple


@kernel
def _head_backward(dcontext, inputs, h, dropout, memory, dq, dk, dv):
    """One head of a sequence backwards."""
    (q, k, v, log_sum), (least, keep_scale, key_low, key_high, first_place) = inputs, dropout
    (keys, keys_t, values_t, spare), (query_strips, grad_strips) = memory.strips, memory.query_strips
    (ends, nothing, there), (queries, grads), (query_grads, key_grads) = memory.added, memory.rows, memory.grads
    value_grads, (weights, one_behind_other), dweights = memory.value_grads, memory.weights, memory.dweights
    (places, masks, mask), zeros = memory.masks, Places(nothing, 0, 0)
    (m, n), size, first = (len(q), len(k)), queries.shape[1], h * queries.shape[1]
    scale, one = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(1)
    n_keys, n_columns = key_grads.shape
    to_keys, to_values = Places(key_grads.reshape(-1), 0, n_columns), Places(value_grads.reshape(-1), 0, n_columns)
    _fetch((q, k, v, dcontext), first + size, size)
    _fetch((dq, dk, dv), first, size)
    fill_strips(k, first, size, 0, n, keys)
    fill_strips_transposed(k, first, 0, size, keys_t, spare)
    fill_strips_transposed(v, first, 0, size, values_t, spare)
    key_grads[:], value_grads[:] = 0, 0
    for i in range(0, m, QUERIES):
        rows, place = min(QUERIES, m - i), first_place + (h * m + i) * n
        tiles = _up_to(rows, HALF)
        _take_rows(q, i, rows, first, scale, queries[:tiles])
        _take_rows(dcontext, i, rows, first, one, grads[:tiles])
        _multiply(queries[:tiles], keys_t, ends, zeros, weights)
        _multiply(grads[:tiles], values_t, nothing, zeros, dweights)
        _fill_up(weights, ends.size, -np.inf)
        for r in range(rows):
            _lower(weights[r], log_sum[i + r, h])
        flat = _up_to(rows * weights.shape[1], CHUNK)
        _exponentials(one_behind_other[:flat])
        if least > 0:
            _mask(mask[:flat], places[:flat], (least, q.dtype.type(keep_scale), key_low, key_high), place)
        for r in range(rows):
            _score_gradients(weights[r], dweights[r], masks[r], there)
        _multiply(dweights[:tiles, :n], keys, nothing, zeros, query_grads)
        _put_rows(query_grads, rows, scale, dq, i, first, size)
        fill_strips(grads, 0, size, 0, rows, grad_strips)
        fill_strips(queries, 0, size, 0, rows, query_strips)
        _multiply(weights[:rows, :n_keys].T, grad_strips[:, :rows], nothing, to_values, value_grads)
        _multiply(dweights[:rows, :n_keys].T, query_strips[:, :rows], nothing, to_keys, key_grads)
    _put_rows(key_grads, n, one, dk, 0, first, size)
    _put_rows(value_grads, n, one, dv, 0, first, size)


@kernel
def _score_gradients(weights, dweights, mask, keys):
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
