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
from .scalar import add_four, exp, four, random_bits

LANES = 16  # numbers in the widest vector
ROWS = 4  # queries that are asked together, so that keys and values are fetched a quarter as often
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
def _four_rows(rows, x, width, first, scale, out):
    """The first `rows` rows of out (4, width) = scale * x[:, first : first + width]; the others become zero."""
    for r in range(ROWS):
        to = out[r]
        for c in range(width):
            to[c] = x[r, first + c] * scale if r < rows else 0


@kernel
def _weighted_sums(weights, n, columns, out):
    """out (4, m) = weights[:, :n] (4, n) @ columns (n, m): a tile as in matmul.py, as wide as the tokens are many."""
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    o0, o1, o2, o3 = out[0], out[1], out[2], out[3]
    for j in range(out.shape[1]):
        o0[j], o1[j], o2[j], o3[j] = 0, 0, 0, 0
    for quarter in range(n // 4):
        c = 4 * quarter
        x0, x1, x2, x3 = four(w0, c), four(w1, c), four(w2, c), four(w3, c)
        r0, r1, r2, r3 = columns[c], columns[c + 1], columns[c + 2], columns[c + 3]
        for j in range(out.shape[1]):
            y = r0[j], r1[j], r2[j], r3[j]
            t0, t1 = add_four(o0[j], x0, y), add_four(o1[j], x1, y)
            t2, t3 = add_four(o2[j], x2, y), add_four(o3[j], x3, y)
            o0[j], o1[j], o2[j], o3[j] = t0, t1, t2, t3
    for c in range(n // 4 * 4, n):
        x0, x1, x2, x3 = w0[c], w1[c], w2[c], w3[c]
        row = columns[c]
        for j in range(out.shape[1]):
            y = row[j]
            t0, t1, t2, t3 = o0[j] + x0 * y, o1[j] + x1 * y, o2[j] + x2 * y, o3[j] + x3 * y
            o0[j], o1[j], o2[j], o3[j] = t0, t1, t2, t3


@kernel
def _add_outer(weights, n, rows, out):
    """out (n, m) += weights[:, :n].T (n, 4) @ rows (4, m)"""
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    for j in range(n):
        x, to = (weights[0, j], weights[1, j], weights[2, j], weights[3, j]), out[j]
        for c in range(to.size):
            to[c] = add_four(to[c], x, (r0[c], r1[c], r2[c], r3[c]))


@kernel
def _softmax(scores, n):
    """Softmax of the first n scores, in place; the rest becomes zero. Returns log(sum(exp(scores)))."""
    largest = scores[0]
    for j in range(n):
        largest = scores[j] if scores[j] > largest else largest  # a NaN may lose here; it makes the total NaN
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
        weights, queries = np.empty((ROWS, keys.shape[1]), q.dtype), np.empty((ROWS, size), q.dtype)
        contexts = np.empty((ROWS, size), q.dtype)
        for i in range(0, m, ROWS):
            rows = min(ROWS, m - i)
            _four_rows(rows, q[q_start + i :], size, first, scale, queries)
            _weighted_sums(queries, size, keys, weights)
            for r in range(rows):
                log_sum[q_start + i + r, h] = _softmax(weights[r], n)
                if least > 0:
                    _drop(weights[r], least, typed_keep, key_low, key_high, places[b] + (h * m + i + r) * n)
            _weighted_sums(weights, n, values, contexts)
            context[q_start + i : q_start + i + rows, first : first + size] = contexts[:rows]


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
        keys, values = _columns(k, start, stop, first, size), _columns(v, start, stop, first, size)
        n_padded = keys.shape[1]  # all loops below run over whole vectors; only the first n places count
        key_rows = np.ascontiguousarray(k[start:stop, first : first + size])
        key_grads, value_grads = np.zeros((n, size), q.dtype), np.zeros((n, size), q.dtype)
        queries, grads = np.empty((ROWS, size), q.dtype), np.empty((ROWS, size), q.dtype)
        query_grads = np.empty((ROWS, size), q.dtype)
        weights, dweights = np.empty((ROWS, n_padded), q.dtype), np.empty((ROWS, n_padded), q.dtype)
        mask = np.ones(n_padded, q.dtype)
        for i in range(0, m, ROWS):
            rows = min(ROWS, m - i)
            _four_rows(rows, q[q_start + i :], size, first, scale, queries)
            _four_rows(rows, dcontext[q_start + i :], size, first, one, grads)
            _weighted_sums(queries, size, keys, weights)
            _weighted_sums(grads, size, values, dweights)
            for r in range(rows):
                if least > 0:
                    mask[:] = one
                    _drop(mask, least, typed_keep, key_low, key_high, places[b] + (h * m + i + r) * n)
                _score_gradients(weights[r], dweights[r], mask, log_sum[q_start + i + r, h], n)
            weights[rows:], dweights[rows:] = 0, 0  # of no query: they add nothing to the gradients of k and v
            _add_outer(weights, n, grads, value_grads)
            _add_outer(dweights, n, queries, key_grads)
            _weighted_sums(dweights, n, key_rows, query_grads)
            for r in range(rows):
                _scaled_copy(query_grads[r], scale, dq[q_start + i + r, first : first + size])
        dk[start:stop, first : first + size] = key_grads
        dv[start:stop, first : first + size] = value_grads


@kernel
def _score_gradients(weights, dweights, mask, total, n):
    """Of one row: scores S to the weights P m that multiplied V, and dcontext V.T to dS, both in place.

    Behind the n-th place dweights is zero, as the columns of V are.
    """
    zero, inner = weights.dtype.type(0), weights.dtype.type(0)
    for j in range(weights.size):
        weights[j] = exp(weights[j] - total)
        dweights[j] *= mask[j]
    for j in range(n, weights.size):  # where all scores lie below -88, exp(0 - total) is infinite, times zero NaN
        weights[j] = zero
    for j in range(weights.size):
        inner += dweights[j] * weights[j]
    for j in range(weights.size):
        dweights[j] = weights[j] * (dweights[j] - inner)
        weights[j] *= mask[j]


@kernel
def _scaled_copy(x, scale, out):
    for c in range(out.size):
        out[c] = x[c] * scale
