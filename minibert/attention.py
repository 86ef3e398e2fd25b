"""Multi-head self-attention (Vaswani et al., 2017, section 3.2), up to the projection that ends the sublayer."""

from __future__ import annotations

import numpy as np

import kernels
from minibert.layers import Run, inside, linear_backward, linear_forward


def query_offsets(run: Run) -> np.ndarray:
    """Where the queries of each sequence begin: at its tokens, or one query a sequence."""
    return np.arange(len(run.offsets)) if run.first_only else run.offsets


def self_attention_forward(asking, x, p, grads, run: Run):
    """context = softmax(Q K.T / sqrt(K)) V, head by head, within each sequence.   -> as asking

    asking holds the rows of x that ask, all of them (T, D) or each sequence's first token (B, D). All of x answers.
    """
    q, q_cache = linear_forward(asking, p["query"], inside(grads, "query"))
    k, k_cache = linear_forward(x, p["key"], inside(grads, "key"))
    v, v_cache = linear_forward(x, p["value"], inside(grads, "value"))
    dropout = run.dropout
    context, log_sum = kernels.attention(
        q, k, v, query_offsets(run), run.offsets, run.config.n_heads, dropout.attention, dropout.key
    )
    # q, k and v are kept, frozen or not: the softmax and the two products are not linear in them.
    return context, None if grads is None else (q_cache, k_cache, v_cache, q, k, v, log_sum)


def self_attention_backward(dcontext, p, cache, grads, run: Run, plus):
    """The gradient of x, which asked and answered.   (T, D) or (B, D) -> (T, D)

    plus: the gradient of what asked from the residual sum, which it went into, too.
    """
    q_cache, k_cache, v_cache, q, k, v, log_sum = cache
    dropout = run.dropout
    dq, dk, dv = kernels.attention_backward(
        dcontext, q, k, v, log_sum, query_offsets(run), run.offsets, dropout.attention, dropout.key
    )
    dasking = linear_backward(dq, p["query"], q_cache, inside(grads, "query"), plus)
    all_asked = None if run.first_only else dasking
    dx = linear_backward(dk, p["key"], k_cache, inside(grads, "key"), plus=all_asked)
    dx = linear_backward(dv, p["value"], v_cache, inside(grads, "value"), plus=dx)  # x went into all three
    if run.first_only:
        dx[run.offsets[:-1]] += dasking
    return dx
