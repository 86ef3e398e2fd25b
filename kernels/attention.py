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

LANES = 16  # numbers in the widest vector
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
def _columns(x, start, stop, first, size):
    """Rows start:stop, columns first:first+size of x, transposed, so that loops over tokens run over neighbours.

    -> (size, n) with n rounded up to whole vectors; what is behind the last token is zero.
    """
    n = stop - start
    part = np.zeros((size, (n + LANES - 1) // LANES * LANES), x.dtype)
    for c in range(size):
        row = part[c]
        for t in range(n):
            row[t] = x[start + t, first + c]
    return part


@kernel
def _weighted_sum(weights, columns, out):
    """out[j] = sum over c of weights[c] * columns[c, j]; four c at a time, to load and store out a quarter as often."""
    for j in range(out.size):
        out[j] = 0
    n = weights.size // 4 * 4
    for c in range(0, n, 4):
        w0, w1, w2, w3 = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        r0, r1, r2, r3 = columns[c], columns[c + 1], columns[c + 2], columns[c + 3]
        for j in range(out.size):
            out[j] += w0 * r0[j] + w1 * r1[j] + w2 * r2[j] + w3 * r3[j]
    for c in range(n, weights.size):
        w, row = weights[c], columns[c]
        for j in range(out.size):
            out[j] += w * row[j]


@kernel
def _softmax(scores, n):
    """Softmax of the first n scores, in place; the rest becomes zero. Returns log(sum(exp(scores)))."""
    largest = scores[0]
    for j in range(n):
        largest = scores[j] if not scores[j] <= largest else largest  # written so that a NaN wins
    for j in range(n, scores.size):
        scores[j] = -np.inf
    total = scores.dtype.type(0)
    for j in range(scores.size):
        scores[j] = exp(scores[j] - largest)
        total += scores[j]
    inverse = scores.dtype.type(1) / total
    for j in range(scores.size):
        scores[j] *= inverse
    return largest + np.log(total)


@kernel
def _drop(weights, least, scale, key_low, key_high, place):
    """Dropout in place, weight j being the place + j."""
    zero = weights.dtype.type(0)
    for j in range(weights.size):
        keep = random_bits(key_low, key_high, np.uint32(place + j)) >= least
        weights[j] *= scale if keep else zero


@parallel_kernel
def _attention(q, k, v, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, context, log_sum):
    size = q.shape[1] // n_heads
    scale, typed_keep = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(keep_scale)
    places = _first_places(q_offsets, offsets, n_heads)
    for task in prange((offsets.size - 1) * n_heads):
        b, h = task // n_heads, task % n_heads
        start, stop, first = offsets[b], offsets[b + 1], h * size
        q_start, m, n = q_offsets[b], q_offsets[b + 1] - q_offsets[b], stop - start
        keys = _columns(k, start, stop, first, size)
        values = np.ascontiguousarray(v[start:stop, first : first + size])
        weights, query = np.empty(keys.shape[1], q.dtype), np.empty(size, q.dtype)
        for i in range(m):
            for c in range(size):
                query[c] = q[q_start + i, first + c] * scale
            _weighted_sum(query, keys, weights)
            log_sum[q_start + i, h] = _softmax(weights, n)
            if least > 0:
                _drop(weights, least, typed_keep, key_low, key_high, places[b] + (h * m + i) * n)
            _weighted_sum(weights[:n], values, context[q_start + i, first : first + size])


@parallel_kernel
def _attention_backward(
    dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, dq, dk, dv
):
    size = q.shape[1] // n_heads
    scale, typed_keep = q.dtype.type(1.0 / math.sqrt(size)), q.dtype.type(keep_scale)
    one, zero = q.dtype.type(1), q.dtype.type(0)
    places = _first_places(q_offsets, offsets, n_heads)
    for task in prange((offsets.size - 1) * n_heads):
        b, h = task // n_heads, task % n_heads
        start, stop, first = offsets[b], offsets[b + 1], h * size
        q_start, m, n = q_offsets[b], q_offsets[b + 1] - q_offsets[b], stop - start
        keys, values = _columns(k, start, stop, first, size), _columns(v, start, stop, first, size)
        n_padded = keys.shape[1]  # all loops below run over whole vectors; only the first n places count
        key_rows = np.ascontiguousarray(k[start:stop, first : first + size])
        key_grads, value_grads = np.zeros((n, size), q.dtype), np.zeros((n, size), q.dtype)
        weights, dweights, mask = np.empty(n_padded, q.dtype), np.empty(n_padded, q.dtype), np.empty(n_padded, q.dtype)
        query = np.empty(size, q.dtype)
        for i in range(m):
            for c in range(size):
                query[c] = q[q_start + i, first + c] * scale
            grad = dcontext[q_start + i, first : first + size]
            _weighted_sum(query, keys, weights)
            total = log_sum[q_start + i, h]
            for j in range(n_padded):
                weights[j] = exp(weights[j] - total)
                mask[j] = one
            for j in range(n, n_padded):  # where all scores lie below -88, exp(0 - total) is infinite, times zero NaN
                weights[j] = zero
            if least > 0:
                _drop(mask, least, typed_keep, key_low, key_high, places[b] + (h * m + i) * n)
            _weighted_sum(grad, values, dweights)
            for j in range(n_padded):  # behind the n-th place dweights is zero, as the columns of `values` are
                dweights[j] *= mask[j]
            inner = zero
            for j in range(n_padded):
                inner += dweights[j] * weights[j]
            for j in range(n):
                kept = weights[j] * mask[j]
                dweights[j] = weights[j] * (dweights[j] - inner)  # now dS
                to_value, to_key, ds = value_grads[j], key_grads[j], dweights[j]
                for c in range(size):
                    to_value[c] += kept * grad[c]
                    to_key[c] += ds * query[c]
            out = dq[q_start + i, first : first + size]
            _weighted_sum(dweights[:n], key_rows, out)
            for c in range(size):
                out[c] *= scale
        dk[start:stop, first : first + size] = key_grads
        dv[start:stop, first : first + size] = value_grads
