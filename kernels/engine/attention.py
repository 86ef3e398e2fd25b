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

from ..dropout import NO_DROPOUT, settings
from ..runtime.checks import check_attention, check_attention_backward
from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import empty
from ..runtime.threads import share
from .attention_rows import (
    CHUNK,
    QUERIES,
    dropout_mask,
    ends_of_keys,
    exponentials,
    fill_up,
    largest_of,
    lower,
    multiply_strips,
    places_of_weights,
    put_rows,
    score_gradients,
    strips_of_zeros,
    take_rows,
    times_each,
    total_of,
    up_to,
    weights_of_queries,
)
from .micro_kernel import HALF, Places, fill_strips, fill_strips_transposed, square_of_zeros
from .vectors import lanes, prefetch

# Measured: a head of a sequence takes as long as if each side had so many tokens more and all else were for nothing.
MORE = 24


def attention(q, k, v, offsets_q, offsets_kv, n_heads, dropout=None):
    """context and lse.   q (R, D), k and v (T, D), int64 offsets (B + 1,) -> (R, D), (R, H)

    dropout: (rate, key) of the attention weights, or None.
    """
    check_attention(q, k, v, offsets_q, offsets_kv, n_heads)
    q, k, v = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)  # rows are read as vectors
    context, lse = empty(q.shape, q.dtype), empty((q.shape[0], n_heads), q.dtype)
    dropping = settings(dropout or NO_DROPOUT)
    threads = share(ns=_work(q, k, offsets_q))
    _attention(q, k, v, offsets_q, offsets_kv, n_heads, *dropping, threads, context, lse)
    return context, lse


def attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv, dropout=None):
    """dq, dk, dv; if there are as many queries as keys, one array.   (R, D) -> (R, D), (T, D), (T, D), or (3, T, D)

    forward was context = (P m) V with P = softmax(S) and m the mask of dropout, so now
    dV = (P m).T dC;  dP = (dC V.T) m;  dS = P (dP - row_sum(dP P));
    dQ = dS K / sqrt(d_head);  dK = dS.T Q / sqrt(d_head)
    """
    check_attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv)
    q, k, v = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)  # rows are read as vectors
    dcontext, n_heads = np.ascontiguousarray(dcontext), lse.shape[1]
    # In one array, for matmul_dx_each.
    grads = empty((3, *k.shape), k.dtype) if len(q) == len(k) else tuple(empty(x.shape, x.dtype) for x in (q, k, v))
    dropping = settings(dropout or NO_DROPOUT)
    threads = share(ns=2.5 * _work(q, k, offsets_q))
    _attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv, n_heads, *dropping, threads, *grads)
    return grads


def _work(q, k, offsets_q) -> float:
    """About the nanoseconds that one thread takes for the forward pass, if all sequences are of one length: for each
    pair of a query and a key 4 D operations of the two products, and an exponential a head."""
    n_sequences, n_rows, n_keys = max(len(offsets_q) - 1, 1), len(q), len(k)
    return 0.1 * q.shape[1] * (n_rows * n_keys / n_sequences + MORE * (n_rows + n_keys))


@allocating_kernel
def _first_places(q_offsets, offsets, n_heads):
    """Number of attention weights before each sequence: the place of a weight, for dropout."""
    places = np.zeros(offsets.size, np.int64)
    for b in range(offsets.size - 1):
        m, n = q_offsets[b + 1] - q_offsets[b], offsets[b + 1] - offsets[b]
        places[b + 1] = places[b] + n_heads * m * n
    return places


@parallel_kernel
def _attention(q, k, v, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, n_threads, context, log_sum):
    """Each thread has some heads, about as much work as the others."""
    places, bounds = _first_places(q_offsets, offsets, n_heads), _bounds(q_offsets, offsets, n_heads, n_threads)
    for part in prange(n_threads):
        for b in range(bounds[part] // n_heads, up_to(bounds[part + 1], n_heads) // n_heads):
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
    keys_t, values = strips_of_zeros(size, n, q), strips_of_zeros(n, size, q)
    ends, nothing = ends_of_keys(n, keys_t), np.zeros(up_to(size, 2 * lanes(q)), q.dtype)
    weights, one_behind_other = weights_of_queries(ends.size, q)
    memory = _Memory(
        (keys_t, values, square_of_zeros(q)),
        (ends, nothing),
        (np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, nothing.size), q.dtype)),
        (weights, one_behind_other),
        (places_of_weights(n, ends.size), np.empty(one_behind_other.size, q.dtype)),
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
        tiles = up_to(rows, HALF)
        take_rows(q, i, rows, first, scale, queries[:tiles])
        multiply_strips(queries[:tiles], keys_t, ends, zeros, weights)
        # A step for all rows before the next step for any: a step takes long until its result is there, and meanwhile
        # the processor begins with other rows.
        for r in range(rows):
            log_sum[i + r, h] = largest_of(weights[r])
            lower(weights[r], log_sum[i + r, h])
        flat = up_to(rows * ends.size, CHUNK)
        exponentials(one_behind_other[:flat])
        for r in range(rows):
            totals[r] = total_of(weights[r])
            log_sum[i + r, h] += np.log(totals[r])
        if least > 0:
            dropout_mask(mask[:flat], places[:flat], (least, q.dtype.type(keep_scale), key_low, key_high), place)
            times_each(one_behind_other[:flat], mask[:flat])
        multiply_strips(weights[:tiles, :n], values, nothing, zeros, contexts)
        for r in range(rows):  # divided only now: V has fewer columns than P
            put_rows(contexts[r : r + 1], 1, one / totals[r], context, i + r, first, size)


@parallel_kernel
def _attention_backward(
    dcontext, q, k, v, log_sum, q_offsets, offsets, n_heads, least, keep_scale, key_low, key_high, n_threads, dq, dk, dv
):
    """The same shares as forward."""
    places, bounds = _first_places(q_offsets, offsets, n_heads), _bounds(q_offsets, offsets, n_heads, n_threads)
    for part in prange(n_threads):
        for b in range(bounds[part] // n_heads, up_to(bounds[part + 1], n_heads) // n_heads):
            heads, here, asking = _share(part, b, bounds, n_heads, q_offsets, offsets)
            dropout = least, keep_scale, key_low, key_high, places[b]
            inputs = q[asking], k[here], v[here], log_sum[asking]
            _heads_backward(dcontext[asking], inputs, heads, dropout, dq[asking], dk[here], dv[here])


@allocating_kernel
def _heads_backward(dcontext, inputs, heads, dropout, dq, dk, dv):
    """The same backwards."""
    q, k, _, log_sum = inputs
    n, size = len(k), q.shape[1] // log_sum.shape[1]
    keys, keys_t, values_t = strips_of_zeros(n, size, q), strips_of_zeros(size, n, q), strips_of_zeros(size, n, q)
    n_keys, n_columns = up_to(n, HALF), up_to(size, keys.shape[2])  # of whole tiles
    wide = up_to(max(n, n_keys), keys.shape[2])
    (masks, mask), there = weights_of_queries(wide, q), np.zeros(wide, q.dtype)
    mask[:] = 1
    there[:n] = 1
    memory = _BackwardMemory(
        (keys, keys_t, values_t, square_of_zeros(q)),
        (strips_of_zeros(QUERIES, size, q), strips_of_zeros(QUERIES, size, q)),
        (ends_of_keys(n, keys_t), np.zeros(max(wide, n_columns), q.dtype), there),
        (np.empty((QUERIES, size), q.dtype), np.empty((QUERIES, size), q.dtype)),
        (np.empty((QUERIES, n_columns), q.dtype), np.empty((n_keys, n_columns), q.dtype)),
        np.empty((n_keys, n_columns), q.dtype),
        weights_of_queries(wide, q),
        weights_of_queries(wide, q)[0],
        (places_of_weights(n, wide), masks, mask),
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
        tiles = up_to(rows, HALF)
        take_rows(q, i, rows, first, scale, queries[:tiles])
        take_rows(dcontext, i, rows, first, one, grads[:tiles])
        multiply_strips(queries[:tiles], keys_t, ends, zeros, weights)
        multiply_strips(grads[:tiles], values_t, nothing, zeros, dweights)
        fill_up(weights, ends.size, -np.inf)
        for r in range(rows):
            lower(weights[r], log_sum[i + r, h])
        flat = up_to(rows * weights.shape[1], CHUNK)
        exponentials(one_behind_other[:flat])
        if least > 0:
            dropout_mask(mask[:flat], places[:flat], (least, q.dtype.type(keep_scale), key_low, key_high), place)
        for r in range(rows):
            score_gradients(weights[r], dweights[r], masks[r], there)
        multiply_strips(dweights[:tiles, :n], keys, nothing, zeros, query_grads)
        put_rows(query_grads, rows, scale, dq, i, first, size)
        fill_strips(grads, 0, size, 0, rows, grad_strips)
        fill_strips(queries, 0, size, 0, rows, query_strips)
        multiply_strips(weights[:rows, :n_keys].T, grad_strips[:, :rows], nothing, to_values, value_grads)
        multiply_strips(dweights[:rows, :n_keys].T, query_strips[:, :rows], nothing, to_keys, key_grads)
    put_rows(key_grads, n, one, dk, 0, first, size)
    put_rows(value_grads, n, one, dv, 0, first, size)
