"""Self-attention over a packed batch (Vaswani et al., 2017, section 3.2), fast: the twin of kernels/attention.py.

It is the only operation that knows where a sequence ends. For sequence b and head h, with Q (m, d_head) and
K, V (n, d_head) the parts of q, k and v that belong to them:

    S = Q K.T / sqrt(d_head)      P = softmax(S), row by row      context = dropout(P) V

P is never stored. Forward keeps one number for each row and head, the log-sum-exp lse = log(sum(exp(S))), and backward
computes P = exp(S - lse) again: R H numbers in all, instead of H m n for each sequence. This is the recomputation of
FlashAttention (Dao et al., 2022, who keep the row's maximum and sum; Dao, 2023, FlashAttention-2, keeps the lse).

Rows offsets_q[b]:offsets_q[b + 1] of q, and offsets_kv[b]:offsets_kv[b + 1] of k and v, are sequence b. In most layers
the two are the same; in the last one q may hold only the rows that the head will read.

Both products run on the micro-kernel, a block of QUERIES queries at a time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from ..dropout import NO_DROPOUT, first_positions, settings
from ..runtime.checks import check_attention, check_attention_backward
from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import empty
from ..runtime.threads import share
from .attention_rows import (
    CHUNK,
    QUERIES,
    dropout_mask,
    exp_in_place,
    fill_columns,
    load_head,
    multiply_in_place,
    multiply_panels,
    padding_bias,
    prefetch_head,
    round_up,
    row_max,
    row_sum,
    score_gradients,
    store_head,
    subtract_from_row,
    weight_buffers,
    weight_positions,
    zero_panels,
)
from .attention_shares import bounds_of_heads, share_of_heads, work_of_heads
from .micro_kernel import MR_HALF, Strided, pack_b, pack_b_transposed, square_of_zeros
from .vectors import lanes


def attention(q, k, v, offsets_q, offsets_kv, n_heads, dropout=None):
    """context and lse.   q (R, D), k and v (T, D), int64 offsets (B + 1,) -> (R, D), (R, H)

    dropout: (rate, key) of the attention weights, or None.
    """
    check_attention(q, k, v, offsets_q, offsets_kv, n_heads)
    q, k, v = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)  # rows are read as vectors
    context, lse = empty(q.shape, q.dtype), empty((q.shape[0], n_heads), q.dtype)
    dropping = settings(dropout or NO_DROPOUT)
    threads = share(ns=work_of_heads(q, k, offsets_q))
    _attention(q, k, v, offsets_q, offsets_kv, n_heads, *dropping, threads, context, lse)
    return context, lse


def attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv, dropout=None):
    """dq, dk, dv; if there are as many queries as keys, one array.   (R, D) -> (R, D), (T, D), (T, D), or (3, T, D)

    forward was context = (P m) V with P = softmax(S) and m the mask of dropout, so now, with dA = dcontext,
    dV = (P m).T dA;  dP = (dA V.T) m;  dS = P (dP - row_sum(dP P));
    dQ = dS K / sqrt(d_head);  dK = dS.T Q / sqrt(d_head)
    """
    check_attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv)
    q, k, v = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)  # rows are read as vectors
    dcontext, n_heads = np.ascontiguousarray(dcontext), lse.shape[1]
    # In one array, for matmul_dx_each.
    grads = empty((3, *k.shape), k.dtype) if len(q) == len(k) else tuple(empty(x.shape, x.dtype) for x in (q, k, v))
    dropping = settings(dropout or NO_DROPOUT)
    threads = share(ns=2.5 * work_of_heads(q, k, offsets_q))
    _attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv, n_heads, *dropping, threads, *grads)
    return grads


@parallel_kernel
def _attention(q, k, v, offsets_q, offsets_kv, n_heads, threshold, scale, key_low, key_high, n_threads, context, lse):
    """Each thread owns some heads, with about as much work as the others."""
    positions = first_positions(offsets_q, offsets_kv, n_heads)
    bounds = bounds_of_heads(offsets_q, offsets_kv, n_heads, n_threads)
    for part in prange(n_threads):
        for b in range(bounds[part] // n_heads, round_up(bounds[part + 1], n_heads) // n_heads):
            heads, queries, keys = share_of_heads(part, b, bounds, n_heads, offsets_q, offsets_kv)
            dropout = threshold, scale, key_low, key_high, positions[b]
            _heads(q[queries], k[keys], v[keys], heads, dropout, context[queries], lse[queries])


@allocating_kernel
def _heads(q, k, v, heads, dropout, context, lse):
    """Some heads of a sequence, one after the other in the same workspace."""
    n, d_head = len(k), q.shape[1] // lse.shape[1]
    keys_t, values = zero_panels(d_head, n, q), zero_panels(n, d_head, q)
    score_bias, no_bias = padding_bias(n, keys_t), np.zeros(round_up(d_head, 2 * lanes(q)), q.dtype)
    weights, flat_weights = weight_buffers(score_bias.size, q)
    workspace = _Workspace(
        (keys_t, values, square_of_zeros(q)),
        (score_bias, no_bias),
        (np.empty((QUERIES, d_head), q.dtype), np.empty((QUERIES, no_bias.size), q.dtype)),
        (weights, flat_weights),
        (weight_positions(n, score_bias.size), np.empty(flat_weights.size, q.dtype)),
        np.empty(QUERIES, q.dtype),
    )
    for h in range(*heads):
        _head(q, k, v, h, dropout, workspace, context, lse)


class _Workspace(NamedTuple):
    """Buffers of the forward pass of a head."""

    panels: tuple  # K.T, V, and a square for packing
    biases: tuple  # of the scores: minus infinity in the padding; zeros
    rows: tuple  # of queries, and of the context
    weights: tuple  # P of a block of queries, as rows and flat
    masks: tuple  # positions of the weights, and dropout's factors
    row_sums: np.ndarray


@kernel
def _head(q, k, v, h, dropout, workspace, context, lse):
    """One head of a sequence.   (m, D), (n, D), (n, D) -> d_head columns of context (m, D), and one of lse (m, H)"""
    (keys_t, values, square), (score_bias, no_bias) = workspace.panels, workspace.biases
    (queries, contexts), (weights, flat_weights) = workspace.rows, workspace.weights
    (positions, mask), row_sums = workspace.masks, workspace.row_sums
    (threshold, keep_scale, key_low, key_high, first_position), zeros = dropout, Strided(no_bias, 0, 0)
    (m, n), d_head, first = (len(q), len(k)), queries.shape[1], h * queries.shape[1]
    scale, one = q.dtype.type(1.0 / math.sqrt(d_head)), q.dtype.type(1)
    prefetch_head((q, k, v), first + d_head, d_head)
    prefetch_head((context,), first, d_head)
    pack_b_transposed(k, first, 0, d_head, keys_t, square)
    pack_b(v, first, d_head, 0, n, values)
    for i in range(0, m, QUERIES):
        rows, position = min(QUERIES, m - i), first_position + (h * m + i) * n
        padded_rows = round_up(rows, MR_HALF)
        load_head(q, i, rows, first, scale, queries[:padded_rows])
        multiply_panels(queries[:padded_rows], keys_t, score_bias, zeros, weights)
        # One step for all rows before the next step for any row: the result of a step has a long latency, and meanwhile
        # the processor starts on other rows.
        for r in range(rows):
            lse[i + r, h] = row_max(weights[r])
            subtract_from_row(weights[r], lse[i + r, h])
        size = round_up(rows * score_bias.size, CHUNK)
        exp_in_place(flat_weights[:size])
        for r in range(rows):
            row_sums[r] = row_sum(weights[r])
            lse[i + r, h] += np.log(row_sums[r])
        if threshold > 0:
            dropout_mask(
                mask[:size], positions[:size], (threshold, q.dtype.type(keep_scale), key_low, key_high), position
            )
            multiply_in_place(flat_weights[:size], mask[:size])
        multiply_panels(weights[:padded_rows, :n], values, no_bias, zeros, contexts)
        for r in range(rows):  # divided only now: the context has fewer columns than P
            store_head(contexts[r : r + 1], 1, one / row_sums[r], context, i + r, first, d_head)


@parallel_kernel
def _attention_backward(
    dcontext, q, k, v, lse, offsets_q, offsets_kv, n_heads, threshold, scale, key_low, key_high, n_threads, dq, dk, dv
):
    """Threads own the same heads as in the forward pass."""
    positions = first_positions(offsets_q, offsets_kv, n_heads)
    bounds = bounds_of_heads(offsets_q, offsets_kv, n_heads, n_threads)
    for part in prange(n_threads):
        for b in range(bounds[part] // n_heads, round_up(bounds[part + 1], n_heads) // n_heads):
            heads, queries, keys = share_of_heads(part, b, bounds, n_heads, offsets_q, offsets_kv)
            dropout = threshold, scale, key_low, key_high, positions[b]
            inputs = q[queries], k[keys], v[keys], lse[queries]
            _heads_backward(dcontext[queries], inputs, heads, dropout, dq[queries], dk[keys], dv[keys])


@allocating_kernel
def _heads_backward(dcontext, inputs, heads, dropout, dq, dk, dv):
    """The backward pass of `_heads`."""
    q, k, _, lse = inputs
    n, d_head = len(k), q.shape[1] // lse.shape[1]
    keys, keys_t, values_t = zero_panels(n, d_head, q), zero_panels(d_head, n, q), zero_panels(d_head, n, q)
    n_keys, n_columns = round_up(n, MR_HALF), round_up(d_head, keys.shape[2])  # padded to whole micro-tiles
    width = round_up(max(n, n_keys), keys.shape[2])
    (masks, mask), is_key = weight_buffers(width, q), np.zeros(width, q.dtype)
    mask[:] = 1
    is_key[:n] = 1
    workspace = _BackwardWorkspace(
        (keys, keys_t, values_t, square_of_zeros(q)),
        (zero_panels(QUERIES, d_head, q), zero_panels(QUERIES, d_head, q)),
        (padding_bias(n, keys_t), np.zeros(max(width, n_columns), q.dtype), is_key),
        (np.empty((QUERIES, d_head), q.dtype), np.empty((QUERIES, d_head), q.dtype)),
        (np.empty((QUERIES, n_columns), q.dtype), np.empty((n_keys, n_columns), q.dtype)),
        np.empty((n_keys, n_columns), q.dtype),
        weight_buffers(width, q),
        weight_buffers(width, q)[0],
        (weight_positions(n, width), masks, mask),
    )
    for h in range(*heads):
        _head_backward(dcontext, inputs, h, dropout, workspace, dq, dk, dv)


class _BackwardWorkspace(NamedTuple):
    """Buffers of the backward pass of a head."""

    panels: tuple  # K, K.T, V.T, and a square for packing
    query_panels: tuple  # of queries, and of rows of dcontext
    biases: tuple  # of the scores: minus infinity in the padding; zeros; one for each key
    rows: tuple  # of queries, and of dcontext
    grads: tuple  # of queries, and of keys
    value_grads: np.ndarray
    weights: tuple  # P of a block of queries, as rows and flat
    dweights: np.ndarray
    masks: tuple  # positions of the weights, and dropout's factors, as rows and flat


@kernel
def _head_backward(dcontext, inputs, h, dropout, workspace, dq, dk, dv):
    """The backward pass of `_head`.   dcontext (m, D) -> d_head columns of dq (m, D), dk and dv (n, D)"""
    (q, k, v, lse), (threshold, keep_scale, key_low, key_high, first_position) = inputs, dropout
    (keys, keys_t, values_t, square), (query_panels, grad_panels) = workspace.panels, workspace.query_panels
    (score_bias, no_bias, is_key), (queries, grads) = workspace.biases, workspace.rows
    (query_grads, key_grads), value_grads = workspace.grads, workspace.value_grads
    (weights, flat_weights), dweights = workspace.weights, workspace.dweights
    (positions, masks, mask), zeros = workspace.masks, Strided(no_bias, 0, 0)
    (m, n), d_head, first = (len(q), len(k)), queries.shape[1], h * queries.shape[1]
    scale, one = q.dtype.type(1.0 / math.sqrt(d_head)), q.dtype.type(1)
    n_keys, n_columns = key_grads.shape
    from_keys, from_values = (
        Strided(key_grads.reshape(-1), 0, n_columns),
        Strided(value_grads.reshape(-1), 0, n_columns),
    )
    prefetch_head((q, k, v, dcontext), first + d_head, d_head)
    prefetch_head((dq, dk, dv), first, d_head)
    pack_b(k, first, d_head, 0, n, keys)
    pack_b_transposed(k, first, 0, d_head, keys_t, square)
    pack_b_transposed(v, first, 0, d_head, values_t, square)
    key_grads[:], value_grads[:] = 0, 0
    for i in range(0, m, QUERIES):
        rows, position = min(QUERIES, m - i), first_position + (h * m + i) * n
        padded_rows = round_up(rows, MR_HALF)
        load_head(q, i, rows, first, scale, queries[:padded_rows])
        load_head(dcontext, i, rows, first, one, grads[:padded_rows])
        multiply_panels(queries[:padded_rows], keys_t, score_bias, zeros, weights)
        multiply_panels(grads[:padded_rows], values_t, no_bias, zeros, dweights)
        fill_columns(weights, score_bias.size, -np.inf)
        for r in range(rows):
            subtract_from_row(weights[r], lse[i + r, h])
        size = round_up(rows * weights.shape[1], CHUNK)
        exp_in_place(flat_weights[:size])
        if threshold > 0:
            dropout_mask(
                mask[:size], positions[:size], (threshold, q.dtype.type(keep_scale), key_low, key_high), position
            )
        for r in range(rows):
            score_gradients(weights[r], dweights[r], masks[r], is_key)
        multiply_panels(dweights[:padded_rows, :n], keys, no_bias, zeros, query_grads)
        store_head(query_grads, rows, scale, dq, i, first, d_head)
        pack_b(grads, 0, d_head, 0, rows, grad_panels)
        pack_b(queries, 0, d_head, 0, rows, query_panels)
        multiply_panels(weights[:rows, :n_keys].T, grad_panels[:, :rows], no_bias, from_values, value_grads)
        multiply_panels(dweights[:rows, :n_keys].T, query_panels[:, :rows], no_bias, from_keys, key_grads)
    store_head(key_grads, n, one, dk, 0, first, d_head)
    store_head(value_grads, n, one, dv, 0, first, d_head)
