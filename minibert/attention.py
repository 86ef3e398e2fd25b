"""Multi-head self-attention (Vaswani et al., 2017, section 3.2) with its output projection and dropout.

    y = dropout(attended W_o + b_o)     attended = softmax(Q K.T / sqrt(d_head)) V, head by head, within each sequence

Q = x_q W_q + b_q comes from the rows x_q whose output is wanted; K and V come from x_kv, all tokens. In every layer but
perhaps the last the two are one array; then one product makes all three, and the cache tells backward so. Instead of
the softmax's output the kernel keeps a number a row and head, `lse`, from which backward computes it again
(kernels/attention.py).
"""

from __future__ import annotations

import kernels
from minibert.layers import Context, cached_input, linear_backward, linear_forward, subtree

QUERY, KEYS_AND_VALUES = ("query",), ("key", "value")
PROJECTIONS = QUERY + KEYS_AND_VALUES


def attention_forward(x_q, x_kv, p, grads, context: Context):
    """y of each row of x_q.   (R, D), (T, D) -> (R, D)"""
    if x_q is x_kv:
        (q, k, v), cache_qkv = _project_forward(x_q, p, grads, PROJECTIONS)
        caches = (cache_qkv,)
    else:
        (q,), cache_q = _project_forward(x_q, p, grads, QUERY)
        (k, v), cache_kv = _project_forward(x_kv, p, grads, KEYS_AND_VALUES)
        caches = cache_q, cache_kv
    weights_dropout = context.dropout.at("weights").attention
    attended, lse = kernels.attention(
        q, k, v, context.offsets_q, context.offsets_kv, context.config.n_heads, weights_dropout
    )
    y, output_cache = linear_forward(attended, p["output"], subtree(grads, "output"), dropout=context.dropout.hidden)
    # q, k and v are kept, frozen or not: the softmax and the two products are not linear in them.
    return y, None if grads is None else (caches, q, k, v, lse, output_cache)


def attention_backward(dy, p, cache, grads, context: Context, dx_accum):
    """dx_q and dx_kv; the other consumer's gradient of x_q is added.   (R, D) -> (R, D), (T, D)

    Where x_q and x_kv were one array (the very same, not a copy), the first is its whole gradient, and the second None.
    """
    caches, q, k, v, lse, output_cache = cache
    dattended = linear_backward(dy, p["output"], output_cache, subtree(grads, "output"), dropout=context.dropout.hidden)
    weights_dropout = context.dropout.at("weights").attention
    dqkv = kernels.attention_backward(dattended, q, k, v, lse, context.offsets_q, context.offsets_kv, weights_dropout)
    if len(caches) == 1:  # x_q was x_kv
        return _project_backward(dqkv, p, caches[0], grads, PROJECTIONS, dx_accum), None
    dx_q = _project_backward(dqkv[:1], p, caches[0], grads, QUERY, dx_accum)
    return dx_q, _project_backward(dqkv[1:], p, caches[1], grads, KEYS_AND_VALUES, None)


def _project_forward(x, p, grads, names):
    """x W + b for each of the names, and what backward needs of x for each.   (T, D) -> [(T, D), ...], caches"""
    ys = kernels.matmul_each(x, [p[name]["W"] for name in names], [p[name]["b"] for name in names])
    return ys, [cached_input(x, subtree(grads, name)) for name in names]


def _project_backward(dys, p, caches, grads, names, dx_accum):
    """The gradient of x, which all of them read, + dx_accum.   [(T, D), ...] -> (T, D)"""
    if not any(subtree(grads, name) for name in names):
        return kernels.matmul_dx_each(dys, [p[name]["W"] for name in names], dx_accum)
    for dy, name, cache in zip(dys, names, caches, strict=True):
        dx_accum = linear_backward(dy, p[name], cache, subtree(grads, name), dx_accum)
    return dx_accum
