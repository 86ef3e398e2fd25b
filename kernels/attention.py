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

import numpy as np
from numba import prange

from ._compile import kernel, parallel_kernel
from .dropout import threshold
from .memory import empty
from .scalar import exp, random_bits
from .simd import add, fma, lanes, larger, largest, load, multiply, splat, store, subtract, total, where
from .tile import HALF, ROWS, Places, fill_strips, fill_strips_transposed, square_of_zeros, tile

QUERIES = 28 // ROWS * ROWS  # asked together: the more, the less often the gradients of keys and values are fetched
TASKS = 16  # at least, if there are so many heads
# What is done with each weight by itself (exponentials, dropout) is one loop over all weights of those queries, up to a
# multiple of this: four vectors, which is how many LLVM takes in one turn of a loop. What is left over it would do
# number by number, and the rows of short texts are nothing but leftovers.
CHUNK = 64
NO_KEY = (np.uint32(0), np.uint32(0))


def attention(q, k, v, q_offsets, offsets, n_heads, rate=0.0, key=NO_KEY):
    """context and log_sum.   q (R, D), k and v (T, D), int64 offsets (B + 1,) -> (R, D), (R, H)

    rate and key are the dropout of the attention weights; rate 0 switches it off.
    """
    if q.shape[1] % n_heads:
        raise ValueError(f"{q.shape[1]} numbers a token cannot be shared out over {n_heads} heads")
    q, k, v = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)  # rows are read as vectors
    context, log_sum = empty(q.shape, q.dtype), empty((q.shape[0], n_heads), q.dtype)
    scale = 1.0 / (1.0 - rate)
    _attention(q, k, v, q_offsets, offsets, n_heads, threshold(rate), scale, key[0], key[1], context, log_sum)
    return context, log_sum


def attention_backward(dcontext, q, k, v, log_sum, q_offsets, offsets, rate=0.0, key=NO_KEY):
    """dq, dk, dv.   (R, D) -> (R, D), (T, D), (T, D)

    forward was context = dropout(P) V with P = softmax(S), so now, with m the dropout mask,
    dV = (P m).T dcontext;  dP = (dcontext V.T) m;  dS = P (dP - rowsum(dP P));
    dQ = dS K / sqrt(head size);  dK = dS.T Q / sqrt(head size).
    """
    q, k, v, dcontext = (np.ascontiguousarray(x) for x in (q, k, v, dcontext))  # rows are read as vectors
    dq, dk, dv = (empty(a.shape, a.dtype) for a in (q, k, v))
    n_heads = log_sum.shape[1]
    scale = 1.0 / (1.0 - rate)
    _attention_backward(
        dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, threshold(rate), scale, key[0], key[1], dq, dk, dv
    )
    return dq, dk, dv


@kernel
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


@kernel
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
def _multiply(a, strips, bias, adds, c):
    """c = a @ b + bias, or c += a @ b + bias, in whole tiles, b as strips.

    (R, K) @ (K, C) + (C,) -> (R, C), both up to whole tiles
    """
    n_strips, _, width = strips.shape
    memory, step = (c.reshape(-1), c.shape[1]) if adds else (np.zeros(len(bias), c.dtype), 0)
    nothing = Places(memory, 0, 0)  # is fetched ahead: all of this is in the caches
    for s in range(n_strips):
        strip, j = strips[s], s * width
        begin = bias[j : j + width]
        for i in range(0, len(a) - HALF, ROWS):
            tile(ROWS, a[i : i + ROWS], strip, begin, Places(memory, i * step + j, step), c, i, j, nothing)
        if len(a) % ROWS:
            i = len(a) - HALF
            tile(HALF, a[i : i + HALF], strip, begin, Places(memory, i * step + j, step), c, i, j, nothing)


@kernel
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


@kernel
def _weights(width, like):
    """Memory for the weights of QUERIES rows: as rows, and one behind the other with space at the end."""
    memory = np.zeros(QUERIES * width + CHUNK, like.dtype)
    return memory[: QUERIES * width].reshape(QUERIES, width), memory


@kernel
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
def _attention(q, k, v, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, context, log_sum):
    """Each task is some heads of a sequence."""
    places = _first_places(q_offsets, offsets, n_heads)
    groups = _groups(n_heads, offsets.size - 1)
    for task in prange((offsets.size - 1) * groups):
        heads, here, asking, place = _share(task, groups, n_heads, q_offsets, offsets, places)
        dropout = least, keep_scale, key_low, key_high, place
        _heads(q[asking], k[here], v[here], heads, dropout, context[asking], log_sum[asking])


@kernel
def _groups(n_heads, n_sequences):
    """Into how many groups the heads of a sequence fall: one sequence alone shall keep all threads busy, too."""
    return max(min(n_heads, TASKS // max(n_sequences, 1)), 1)


@kernel
def _share(task, groups, n_heads, q_offsets, offsets, places):
    """Which heads of a sequence are a task's; the sequence's rows of k and v, those of q, and its first place."""
    b, group = task // groups, task % groups
    heads = group * n_heads // groups, (group + 1) * n_heads // groups
    return heads, slice(offsets[b], offsets[b + 1]), slice(q_offsets[b], q_offsets[b + 1]), places[b]


@kernel
def _heads(q, k, v, heads, dropout, context, log_sum):
    """Some heads of a sequence, one after the other in the same memory."""
    least, keep_scale, key_low, key_high, first_place = dropout
    (m, n), size = (len(q), len(k)), q.shape[1] // log_sum.shape[1]
    scale, keep_scale, one = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(keep_scale), q.dtype.type(1)
    keys_t, values, spare = _strips(size, n, q), _strips(n, size, q), square_of_zeros(q)
    ends, nothing = _ends(n, keys_t), np.zeros(_up_to(size, keys_t.shape[2]), q.dtype)
    queries, contexts = np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, nothing.size), q.dtype)
    (weights, one_behind_other), places = _weights(ends.size, q), _places(n, ends.size)
    mask = np.empty(one_behind_other.size, q.dtype)
    totals, dropout = np.empty(QUERIES, q.dtype), (least, keep_scale, key_low, key_high)
    for h in range(*heads):
        first = h * size
        fill_strips_transposed(k, first, 0, size, keys_t, spare)
        fill_strips(v, first, size, 0, n, values)
        for i in range(0, m, QUERIES):
            rows, place = min(QUERIES, m - i), first_place + (h * m + i) * n
            tiles = _up_to(rows, HALF)
            _take_rows(q, i, rows, first, scale, queries[:tiles])
            _multiply(queries[:tiles], keys_t, ends, False, weights)
            # A step for all rows before the next step for any: a step takes long until its result is there, and
            # meanwhile the processor begins with other rows.
            for r in range(rows):
                log_sum[i + r, h] = _largest(weights[r])
                _lower(weights[r], log_sum[i + r, h])
            flat = _up_to(rows * ends.size, CHUNK)
            _exponentials(one_behind_other[:flat])
            for r in range(rows):
                totals[r] = _total(weights[r])
                log_sum[i + r, h] += np.log(totals[r])
            if least > 0:
                _mask(mask[:flat], places[:flat], dropout, place)
                _times(one_behind_other[:flat], mask[:flat])
            _multiply(weights[:tiles, :n], values, nothing, False, contexts)
            for r in range(rows):  # divided only now: V has fewer columns than P
                _put_rows(contexts[r : r + 1], 1, one / totals[r], context, i + r, first, size)


@parallel_kernel
def _attention_backward(
    dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, dq, dk, dv
):
    """Each task is some heads of a sequence."""
    places = _first_places(q_offsets, offsets, n_heads)
    groups = _groups(n_heads, offsets.size - 1)
    for task in prange((offsets.size - 1) * groups):
        heads, here, asking, place = _share(task, groups, n_heads, q_offsets, offsets, places)
        dropout = least, keep_scale, key_low, key_high, place
        inputs = q[asking], k[here], v[here], log_sum[asking]
        _heads_backward(dcontext[asking], inputs, heads, dropout, dq[asking], dk[here], dv[here])


@kernel
def _heads_backward(dcontext, inputs, heads, dropout, dq, dk, dv):
    """The same backwards."""
    (q, k, v, log_sum), (least, keep_scale, key_low, key_high, first_place) = inputs, dropout
    (m, n), size = (len(q), len(k)), q.shape[1] // log_sum.shape[1]
    scale, keep_scale, one = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(keep_scale), q.dtype.type(1)
    keys, keys_t, values_t = _strips(n, size, q), _strips(size, n, q), _strips(size, n, q)
    spare = square_of_zeros(q)
    n_keys, n_columns = _up_to(n, HALF), _up_to(size, keys.shape[2])  # of whole tiles
    ends = _ends(n, keys_t)
    wide = _up_to(max(n, n_keys), keys_t.shape[2])
    key_grads, value_grads = np.empty((n_keys, n_columns), q.dtype), np.empty((n_keys, n_columns), q.dtype)
    queries, grads = np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, size), q.dtype)
    query_strips, grad_strips = _strips(QUERIES, size, q), _strips(QUERIES, size, q)
    query_grads, nothing = np.empty((QUERIES, n_columns), q.dtype), np.zeros(max(wide, n_columns), q.dtype)
    (weights, one_behind_other), (dweights, _), places = _weights(wide, q), _weights(wide, q), _places(n, wide)
    masks, mask = _weights(wide, q)
    mask[:] = 1
    there = np.zeros(wide, q.dtype)
    there[:n] = 1
    dropout = least, keep_scale, key_low, key_high
    for h in range(*heads):
        first = h * size
        fill_strips(k, first, size, 0, n, keys)
        fill_strips_transposed(k, first, 0, size, keys_t, spare)
        fill_strips_transposed(v, first, 0, size, values_t, spare)
        key_grads[:], value_grads[:] = 0, 0
        for i in range(0, m, QUERIES):
            rows, place = min(QUERIES, m - i), first_place + (h * m + i) * n
            tiles = _up_to(rows, HALF)
            _take_rows(q, i, rows, first, scale, queries[:tiles])
            _take_rows(dcontext, i, rows, first, one, grads[:tiles])
            _multiply(queries[:tiles], keys_t, ends, False, weights)
            _multiply(grads[:tiles], values_t, nothing, False, dweights)
            _fill_up(weights, ends.size, -np.inf)
            for r in range(rows):
                _lower(weights[r], log_sum[i + r, h])
            flat = _up_to(rows * wide, CHUNK)
            _exponentials(one_behind_other[:flat])
            if least > 0:
                _mask(mask[:flat], places[:flat], dropout, place)
            for r in range(rows):
                _score_gradients(weights[r], dweights[r], masks[r], there)
            _multiply(dweights[:tiles, :n], keys, nothing, False, query_grads)
            _put_rows(query_grads, rows, scale, dq, i, first, size)
            fill_strips(grads, 0, size, 0, rows, grad_strips)
            fill_strips(queries, 0, size, 0, rows, query_strips)
            _multiply(weights[:rows, :n_keys].T, grad_strips[:, :rows], nothing, True, value_grads)
            _multiply(dweights[:rows, :n_keys].T, query_strips[:, :rows], nothing, True, key_grads)
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
