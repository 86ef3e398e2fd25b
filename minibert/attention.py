"""Multi-head self-attention (Vaswani et al., 2017, section 3.2), up to the projection that ends the sublayer."""

from __future__ import annotations

import kernels
from minibert.layers import Run, inside, linear_backward, linear_forward


def self_attention_forward(x, p, grads, run: Run):
    """context = softmax(Q K.T / sqrt(K)) V, head by head, within each sequence.   (T, D) -> (T, D)"""
    (q, k, v), caches = zip(
        *(linear_forward(x, p[name], inside(grads, name)) for name in ("query", "key", "value")), strict=True
    )
    context, log_sum = kernels.attention(
        q, k, v, run.offsets, run.config.n_heads, run.dropout.attention, run.dropout.key
    )
    # q, k and v are kept, frozen or not: the softmax and the two products are not linear in them.
    return context, None if grads is None else (caches, q, k, v, log_sum)


def self_attention_backward(dcontext, p, cache, grads, run: Run):
    """(T, D) -> (T, D). x went three ways, so its gradient is a sum of three."""
    caches, q, k, v, log_sum = cache
    dq, dk, dv = kernels.attention_backward(
        dcontext, q, k, v, log_sum, run.offsets, run.dropout.attention, run.dropout.key
    )
    dx = linear_backward(dq, p["query"], caches[0], inside(grads, "query"))
    dx += linear_backward(dk, p["key"], caches[1], inside(grads, "key"))
    dx += linear_backward(dv, p["value"], caches[2], inside(grads, "value"))
    return dx
