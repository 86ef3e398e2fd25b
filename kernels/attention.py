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
from .simd import lanes, larger, largest, load
from .tile import ROWS, fill_strips, fill_strips_transposed, tile

QUERIES = 4 * ROWS  # asked together: the more, the less often the gradients of keys and values are fetched
NO_KEY = (np.uint32(0), np.uint32(0))


def attention(q, k, v, q_offsets, offsets, n_heads, rate=0.0, key=NO_KEY):
    """context and log_sum.   q (R, D), k and v (T, D), int64 offsets (B + 1,) -> (R, D), (R, H)

    rate and key are the dropout of the attention weights; rate 0 switches it off.
    """
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
def _strips(x, first, size):
    """The strips of x[:, first : first + size].   (n, size) -> (strips, n, width)"""
    width = 2 * lanes(x)
    strips = np.zeros((_up_to(size, width) // width, x.shape[0], width), x.dtype)
    fill_strips(x, first, size, 0, x.shape[0], strips)
    return strips


@kernel
def _strips_transposed(x, first, size):
    """The strips of x[:, first : first + size].T.   (size, n) -> (strips, size, width)"""
    width = 2 * lanes(x)
    strips = np.zeros((_up_to(x.shape[0], width) // width, size, width), x.dtype)
    fill_strips_transposed(x, first, 0, size, strips)
    return strips


@kernel
def _take_rows(x, start, rows, first, scale, out):
    """out = scale times the rows from start and the columns from first on; below the last of the rows zero."""
    for r in range(out.shape[0]):
        to = out[r]
        if r < rows:
            row = x[start + r, first : first + to.size]
            for c in range(to.size):
                to[c] = row[c] * scale
        else:
            to[:] = 0


@kernel
def _multiply(a, strips, adds, c):
    """c = a @ b, or c += a @ b, in whole tiles, b as strips.   (R, K) @ (K, C) -> (R, C), both up to whole tiles"""
    n_strips, depth, width = strips.shape
    nothing = np.zeros(width, c.dtype)
    for s in range(n_strips):
        strip, left = strips[s].reshape(-1), s * width
        for i in range(0, a.shape[0], ROWS):
            tile(a[i : i + ROWS], strip, nothing, adds, c[i : i + ROWS, left : left + width])


@kernel
def _softmax(scores, n):
    """Softmax of the first n scores, in place; the rest becomes zero. Returns log(sum(exp(scores)))."""
    for j in range(n, scores.size):
        scores[j] = -np.inf
    vector = load(scores, 0)
    for j in range(0, scores.size, lanes(scores)):
        vector = larger(load(scores, j), vector)
    top = largest(vector)  # a NaN does not count here; it makes the total NaN
    total = scores.dtype.type(0)
    for j in range(scores.size):
        scores[j] = exp(scores[j] - top)
        total += scores[j]
    inverse = scores.dtype.type(1) / total
    for j in range(scores.size):
        scores[j] *= inverse
    return top + np.log(total)


@kernel
def _dropout_mask(mask, least, scale, key_low, key_high, place):
    """What multiplies each weight of a row: scale where it is kept, else zero; weight j has the place + j."""
    zero = mask.dtype.type(0)
    for j in range(mask.size):
        mask[j] = scale if random_bits(key_low, key_high, np.uint32(place + j)) >= least else zero


@kernel
def _times(mask, weights):
    for j in range(mask.size):
        weights[j] *= mask[j]


@parallel_kernel
def _attention(q, k, v, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, context, log_sum):
    size = q.shape[1] // n_heads
    scale, typed_keep = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(keep_scale)
    places = _first_places(q_offsets, offsets, n_heads)
    for task in prange((offsets.size - 1) * n_heads):
        b, h = task // n_heads, task % n_heads
        start, stop, first = offsets[b], offsets[b + 1], h * size
        q_start, m, n = q_offsets[b], q_offsets[b + 1] - q_offsets[b], stop - start
        keys_t = _strips_transposed(k[start:stop], first, size)
        values = _strips(v[start:stop], first, size)
        width = keys_t.shape[2]
        queries, weights = np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, _up_to(n, width)), q.dtype)
        contexts = np.empty((QUERIES, _up_to(size, width)), q.dtype)
        mask = np.empty(_up_to(n, lanes(q)), q.dtype)  # all loops over tokens are over whole vectors
        for i in range(0, m, QUERIES):
            rows = min(QUERIES, m - i)
            tiles = _up_to(rows, ROWS)
            _take_rows(q, q_start + i, rows, first, scale, queries[:tiles])
            _multiply(queries[:tiles], keys_t, False, weights)
            for r in range(rows):
                row = weights[r, : mask.size]
                log_sum[q_start + i + r, h] = _softmax(row, n)
                if least > 0:
                    _dropout_mask(mask, least, typed_keep, key_low, key_high, places[b] + (h * m + i + r) * n)
                    _times(mask, row)
            _multiply(weights[:tiles, :n], values, False, contexts)
            context[q_start + i : q_start + i + rows, first : first + size] = contexts[:rows, :size]


@parallel_kernel
def _attention_backward(
    dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, dq, dk, dv
):
    size = q.shape[1] // n_heads
    scale, typed_keep = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(keep_scale)
    one = q.dtype.type(1)
    places = _first_places(q_offsets, offsets, n_heads)
    for task in prange((offsets.size - 1) * n_heads):
        b, h = task // n_heads, task % n_heads
        start, stop, first = offsets[b], offsets[b + 1], h * size
        q_start, m, n = q_offsets[b], q_offsets[b + 1] - q_offsets[b], stop - start
        keys, keys_t = _strips(k[start:stop], first, size), _strips_transposed(k[start:stop], first, size)
        values_t = _strips_transposed(v[start:stop], first, size)
        width = keys.shape[2]
        all_keys, all_columns = _up_to(n, ROWS), _up_to(size, width)
        key_grads, value_grads = np.zeros((all_keys, all_columns), q.dtype), np.zeros((all_keys, all_columns), q.dtype)
        queries, grads = np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, size), q.dtype)
        query_grads = np.empty((QUERIES, all_columns), q.dtype)
        wide = max(_up_to(n, width), all_keys)
        weights, dweights = np.zeros((QUERIES, wide), q.dtype), np.zeros((QUERIES, wide), q.dtype)
        mask = np.ones(_up_to(n, lanes(q)), q.dtype)
        for i in range(0, m, QUERIES):
            rows = min(QUERIES, m - i)
            tiles = _up_to(rows, ROWS)
            _take_rows(q, q_start + i, rows, first, scale, queries[:tiles])
            _take_rows(dcontext, q_start + i, rows, first, one, grads[:tiles])
            _multiply(queries[:tiles], keys_t, False, weights)
            _multiply(grads[:tiles], values_t, False, dweights)
            for r in range(rows):
                if least > 0:
                    _dropout_mask(mask, least, typed_keep, key_low, key_high, places[b] + (h * m + i + r) * n)
                _score_gradients(
                    weights[r, : mask.size], dweights[r, : mask.size], mask, log_sum[q_start + i + r, h], n
                )
            _multiply(dweights[:tiles, :n], keys, False, query_grads)
            for r in range(rows):
                _scaled_copy(query_grads[r, :size], scale, dq[q_start + i + r, first : first + size])
            _multiply(weights[:rows, :all_keys].T, _strips(grads[:rows], 0, size), True, value_grads)
            _multiply(dweights[:rows, :all_keys].T, _strips(queries[:rows], 0, size), True, key_grads)
        dk[start:stop, first : first + size] = key_grads[:n, :size]
        dv[start:stop, first : first + size] = value_grads[:n, :size]


@kernel
def _score_gradients(weights, dweights, mask, total, n):
    """Of one row: scores S to the weights P m that multiplied V, and dcontext V.T to dS, both in place.

    Behind the n-th place both become zero.
    """
    zero, inner = weights.dtype.type(0), weights.dtype.type(0)
    for j in range(weights.size):
        weights[j] = exp(weights[j] - total)
        dweights[j] *= mask[j]
    for j in range(n, weights.size):  # where all scores lie below -88, exp(0 - total) is infinite, times zero NaN
        weights[j], dweights[j] = zero, zero
    for j in range(weights.size):
        inner += dweights[j] * weights[j]
    for j in range(weights.size):
        dweights[j] = weights[j] * (dweights[j] - inner)
        weights[j] *= mask[j]


@kernel
def _scaled_copy(x, scale, out):
    for c in range(out.size):
        out[c] = x[c] * scale
