"""Self-attention over a packed batch, with the weights stored, and without."""

from __future__ import annotations

import math

import numpy as np

from minibert.lessons.plain.gradients import softmax, softmax_backward


def attention(q, k, v, offsets, n_heads):
    """softmax(Q K.T / sqrt(d_head)) V of each head of each sequence.   (T, D) x 3 -> (T, D)"""
    d_head = q.shape[1] // n_heads
    y = np.zeros_like(v)
    weights = {}
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            P, _ = softmax(scores)
            y[rows, head] = P @ v[rows, head]
            weights[b, h] = P
    return y, (q, k, v, offsets, n_heads, weights)


def attention_backward(dy, cache):
    """dq, dk, dv, each (T, D)."""
    q, k, v, offsets, n_heads, weights = cache
    d_head = q.shape[1] // n_heads
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            P = weights[b, h]
            dv[rows, head] = P.T @ dy[rows, head]
            dP = dy[rows, head] @ v[rows, head].T
            dS = softmax_backward(dP, P) / math.sqrt(d_head)
            dq[rows, head] = dS @ k[rows, head]
            dk[rows, head] = dS.T @ q[rows, head]
    return dq, dk, dv


def attention_lse(q, k, v, offsets, n_heads):
    """The same y. The cache holds a number a row and head instead of P: lse = log(sum(exp(scores))) (T, H)."""
    d_head = q.shape[1] // n_heads
    y, lse = np.zeros_like(v), np.zeros((len(q), n_heads))
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            row_max = scores.max(axis=1)
            lse[rows, h] = row_max + np.log(np.exp(scores - row_max[:, None]).sum(axis=1))
            y[rows, head] = np.exp(scores - lse[rows, h, None]) @ v[rows, head]
    return y, (q, k, v, y, lse, offsets, n_heads)


def attention_lse_backward(dy, cache):
    """dq, dk, dv without a stored P: it is computed again from lse (T, H), and the row sums of dP P are those of dy y.

    cache: (q, k, v, y, lse, offsets, n_heads).
    """
    q, k, v, y, lse, offsets, n_heads = cache
    d_head = q.shape[1] // n_heads
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(offsets) - 1):
        rows = slice(offsets[b], offsets[b + 1])
        for h in range(n_heads):
            head = slice(h * d_head, (h + 1) * d_head)
            scores = q[rows, head] @ k[rows, head].T / math.sqrt(d_head)
            P = np.exp(scores - lse[rows, h, None])
            dv[rows, head] = P.T @ dy[rows, head]
            dP = dy[rows, head] @ v[rows, head].T
            inner = (dy[rows, head] * y[rows, head]).sum(axis=1, keepdims=True)
            dS = P * (dP - inner) / math.sqrt(d_head)
            dq[rows, head] = dS @ k[rows, head]
            dk[rows, head] = dS.T @ q[rows, head]
    return dq, dk, dv
