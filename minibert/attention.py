"""Multi-head self-attention (Vaswani et al., 2017, section 3.2), up to the projection that ends the sublayer."""

from __future__ import annotations

import numpy as np

import kernels
from minibert.layers import Run, inside, linear_backward, linear_forward


def query_offsets(run: Run) -> np.ndarray:
    """Where the queries of each sequence begin: at its tokens, or one query a sequence."""
    return np.arange(len(run.offsets)) if run.first_only else run.offsets


PROJECTIONS = ("query", "key", "value")


def projections_forward(x, p, grads, names):
    """x W + b for some of the three, all at once if they are frozen.   (T, D) -> [(T, D), ...], caches"""
    if "projections" in p:  # see model.Backbone
        Ws, bs = [p[name]["W"] for name in names], [p[name]["b"] for name in names]
        first = PROJECTIONS.index(names[0])
        return kernels.matmul_each(x, Ws, bs, p["projections"], first), [None] * len(names)
    both = [linear_forward(x, p[name], inside(grads, name)) for name in names]
    return [y for y, _ in both], [cache for _, cache in both]


def projections_backward(dys, p, caches, grads, names, plus):
    """The gradient of x, which went into all of them; plus is added.   [(T, D), ...] -> (T, D)"""
    if "projections" in p:
        Ws, first = [p[name]["W"] for name in names], PROJECTIONS.index(names[0])
        return kernels.matmul_dx_each(dys, Ws, p["projections"], first, plus)
    for dy, name, cache in zip(dys, names, caches, strict=True):
        plus = linear_backward(dy, p[name], cache, inside(grads, name), plus)
    return plus


def self_attention_forward(asking, x, p, grads, run: Run):
    """context = softmax(Q K.T / sqrt(K)) V, head by head, within each sequence.   -> as asking

    asking holds the rows of x that ask, all of them (T, D) or each sequence's first token (B, D). All of x answers.
    """
    if run.first_only:
        (q,), asking_caches = projections_forward(asking, p, grads, PROJECTIONS[:1])
        (k, v), caches = projections_forward(x, p, grads, PROJECTIONS[1:])
        caches = asking_caches + caches
    else:
        (q, k, v), caches = projections_forward(x, p, grads, PROJECTIONS)
    dropout = run.dropout
    context, log_sum = kernels.attention(
        q, k, v, query_offsets(run), run.offsets, run.config.n_heads, dropout.attention, dropout.key
    )
    # q, k and v are kept, frozen or not: the softmax and the two products are not linear in them.
    return context, None if grads is None else (caches, q, k, v, log_sum)


def self_attention_backward(dcontext, p, cache, grads, run: Run, plus):
    """The gradient of x, which asked and answered.   (T, D) or (B, D) -> (T, D)

    plus: the gradient of what asked from the residual sum, which it went into, too.
    """
    caches, q, k, v, log_sum = cache
    dropout = run.dropout
    dqkv = kernels.attention_backward(
        dcontext, q, k, v, log_sum, query_offsets(run), run.offsets, dropout.attention, dropout.key
    )
    if not run.first_only:
        return projections_backward(dqkv, p, caches, grads, PROJECTIONS, plus)
    dasking = projections_backward(dqkv[:1], p, caches[:1], grads, PROJECTIONS[:1], plus)
    dx = projections_backward(dqkv[1:], p, caches[1:], grads, PROJECTIONS[1:], None)
    dx[run.offsets[:-1]] += dasking
    return dx
