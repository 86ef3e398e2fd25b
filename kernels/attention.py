"""Self-attention over a packed batch (Vaswani et al., 2017, section 3.2) as plain loops, forward and backward.

It is the only operation that knows where a sequence ends. For sequence b and head h, with Q (m, d_head) and
K, V (n, d_head) the parts of q, k and v that belong to them:

    S = Q K.T / sqrt(d_head)      P = softmax(S), row by row      context = dropout(P) V

Rows offsets_q[b]:offsets_q[b + 1] of q, and offsets_kv[b]:offsets_kv[b + 1] of k and v, are sequence b. In most layers
the two are the same; in the last one q may hold only the rows that the head will read.

P is never stored. Forward keeps one number a row and head, the log-sum-exp `lse` = log(sum(exp(S))), and backward
computes P = exp(S - lse) again: R H numbers instead of H m n for each sequence (Dao et al., 2022, FlashAttention).

The default replaces this file by engine/attention.py, which takes many queries at a time.
"""

import math

import numpy as np
from numba import prange

from .dropout import NO_DROPOUT, first_positions, kept_scale, settings
from .rows import add_row, dot
from .runtime.checks import check_attention, check_attention_backward
from .runtime.compiling import kernel, parallel_kernel
from .runtime.threads import share
from .runtime.vector_math import exp


def attention(q, k, v, offsets_q, offsets_kv, n_heads, dropout=None):
    """context and lse.   q (R, D), k and v (T, D), offsets (B + 1,) -> (R, D), (R, H)

    dropout: (rate, key) of the attention weights, or None. Raises ValueError if shapes or dtypes do not fit, or offsets
    do not end at R and T.
    """
    check_attention(q, k, v, offsets_q, offsets_kv, n_heads)
    q, k, v = map(np.ascontiguousarray, (q, k, v))
    context, lse = np.zeros_like(q), np.empty((len(q), n_heads), q.dtype)
    share(ns=0.2 * q.shape[1] * (np.diff(offsets_q) @ np.diff(offsets_kv)))
    _attention(q, k, v, offsets_q, offsets_kv, settings(dropout or NO_DROPOUT), context, lse)
    return context, lse


def attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv, dropout=None):
    """dq, dk and dv.   (R, D) -> (R, D), (T, D), (T, D)

    forward was context = (P m) V with P = softmax(S) and m the mask of dropout, so now, with dA = dcontext,
    dV = (P m).T dA,  dP = (dA V.T) m,  dS = P (dP - row_sum(dP P)),
    dQ = dS K / sqrt(d_head),  dK = dS.T Q / sqrt(d_head)
    """
    check_attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv)
    dcontext, q, k, v = map(np.ascontiguousarray, (dcontext, q, k, v))
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    share(ns=0.5 * q.shape[1] * (np.diff(offsets_q) @ np.diff(offsets_kv)))
    inputs, masking = (dcontext, q, k, v, lse), settings(dropout or NO_DROPOUT)
    _attention_backward(inputs, offsets_q, offsets_kv, masking, (dq, dk, dv))
    return dq, dk, dv


@parallel_kernel
def _attention(q, k, v, offsets_q, offsets_kv, dropout, context, lse):
    """Each task is one head of one sequence: it owns d_head columns of its rows."""
    n_heads, d_head = lse.shape[1], q.shape[1] // lse.shape[1]
    first, scale = first_positions(offsets_q, offsets_kv, n_heads), q.dtype.type(1.0 / math.sqrt(d_head))
    for task in prange((offsets_q.size - 1) * n_heads):
        b, h = task // n_heads, task % n_heads
        head, keys = slice(h * d_head, (h + 1) * d_head), slice(offsets_kv[b], offsets_kv[b + 1])
        K, V, P = k[keys], v[keys], np.empty(offsets_kv[b + 1] - offsets_kv[b], q.dtype)
        for i in range(offsets_q[b], offsets_q[b + 1]):
            position = first[b] + (h * (offsets_q[b + 1] - offsets_q[b]) + i - offsets_q[b]) * P.size
            lse[i, h] = _row_of_weights(q[i, head], K, head, scale, P)
            for j in range(P.size):
                add_row(context[i, head], P[j] * kept_scale(dropout, position + j), V[j, head])


@kernel
def _row_of_weights(q, K, head, scale, P):
    """P = softmax(K q scale) of one query; its log-sum-exp is returned. The largest score is subtracted before exp."""
    row_max, row_sum = q.dtype.type(-np.inf), q.dtype.type(0)
    for j in range(P.size):
        P[j] = scale * dot(q, K[j, head])
        row_max = max(row_max, P[j])
    for j in range(P.size):
        P[j] = exp(P[j] - row_max)
    for j in range(P.size):
        row_sum += P[j]
    for j in range(P.size):
        P[j] /= row_sum
    return row_max + np.log(row_sum)


@parallel_kernel
def _attention_backward(inputs, offsets_q, offsets_kv, dropout, grads):
    """The same tasks. A head's rows of dK and dV are its own, so no two threads add to one place."""
    (dcontext, q, k, v, lse), (dq, dk, dv) = inputs, grads
    n_heads, d_head = lse.shape[1], q.shape[1] // lse.shape[1]
    first, scale = first_positions(offsets_q, offsets_kv, n_heads), q.dtype.type(1.0 / math.sqrt(d_head))
    for task in prange((offsets_q.size - 1) * n_heads):
        b, h = task // n_heads, task % n_heads
        head, start, n = slice(h * d_head, (h + 1) * d_head), offsets_kv[b], offsets_kv[b + 1] - offsets_kv[b]
        P, m, dP = np.empty(n, q.dtype), np.empty(n, q.dtype), np.empty(n, q.dtype)
        for i in range(offsets_q[b], offsets_q[b + 1]):
            position = first[b] + (h * (offsets_q[b + 1] - offsets_q[b]) + i - offsets_q[b]) * n
            inner = q.dtype.type(0)  # row_sum(dP P)
            for j in range(n):
                P[j] = exp(scale * dot(q[i, head], k[start + j, head]) - lse[i, h])
                m[j] = kept_scale(dropout, position + j)
                dP[j] = dot(dcontext[i, head], v[start + j, head]) * m[j]
                inner += dP[j] * P[j]
            for j in range(n):
                scaled_dS = scale * P[j] * (dP[j] - inner)  # dS / sqrt(d_head)
                add_row(dq[i, head], scaled_dS, k[start + j, head])
                add_row(dk[start + j, head], scaled_dS, q[i, head])
                add_row(dv[start + j, head], P[j] * m[j], dcontext[i, head])
