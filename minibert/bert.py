"""BERT's encoder (Devlin et al., 2018) with adapters: one layer, then the stack; backward mirrors forward.

A layer is the figure of Houlsby et al. (2019), read from below:

    x ─┬─ attention ─── adapter ─(+)─ LayerNorm ─┬─ feed-forward ─── adapter ─(+)─ LayerNorm ── x
       └──────────────────────────┘              └─────────────────────────────┘

The adapters are there if the parameters have them.
"""

from __future__ import annotations

import numpy as np

from minibert.adapter import adapter_backward, adapter_forward
from minibert.adapter_variants import variant_backward, variant_forward
from minibert.attention import attention_backward, attention_forward
from minibert.layers import (
    NO_DROPOUT,
    Context,
    add_norm_backward,
    add_norm_forward,
    embeddings_backward,
    embeddings_forward,
    feed_forward_backward,
    feed_forward_forward,
    subtree,
)


def layer_forward(x_q, x_kv, p, grads, context: Context):
    """One Transformer layer.   x_q (R, D), x_kv (T, D) -> (R, D)

    x_kv holds all tokens, which attention reads; x_q those whose output is wanted: in all layers but the last the same
    array. c1 to c6 are what the six lines keep for backward.
    """
    p_a, p_f = p["attention"], p["feed_forward"]
    grads_a, grads_f = subtree(grads, "attention"), subtree(grads, "feed_forward")
    context_a, context_f, eps = context.at("attention"), context.at("feed_forward"), context.config.layernorm_eps

    a, c1 = attention_forward(x_q, x_kv, p_a, grads_a, context_a)
    a, c2 = any_adapter_forward(a, x_q, p_a, grads_a, context)
    x, c3 = add_norm_forward(a, x_q, p_a["norm"], subtree(grads_a, "norm"), eps)
    h, c4 = feed_forward_forward(x, p_f, grads_f, context_f)
    h, c5 = any_adapter_forward(h, x, p_f, grads_f, context)
    x, c6 = add_norm_forward(h, x, p_f["norm"], subtree(grads_f, "norm"), eps)
    return x, None if grads is None else (c1, c2, c3, c4, c5, c6)


def layer_backward(dx, p, cache, grads, context: Context):
    """The same six lines from the last to the first: dx_q and dx_kv.   (R, D) -> (R, D), (T, D)

    A residual sum passes its gradient to both of its terms: to the block, and to the block's input, dx_accum. If x_q
    and x_kv were one array, dx_q is its whole gradient, and dx_kv is None.
    """
    c1, c2, c3, c4, c5, c6 = cache
    p_a, p_f = p["attention"], p["feed_forward"]
    grads_a, grads_f = subtree(grads, "attention"), subtree(grads, "feed_forward")
    context_a, context_f = context.at("attention"), context.at("feed_forward")

    dh = dx_accum = add_norm_backward(dx, p_f["norm"], c6, subtree(grads_f, "norm"))
    dh, dx_accum = _any_adapter_backward(dh, dx_accum, p_f, c5, grads_f, context)
    dx = feed_forward_backward(dh, p_f, c4, grads_f, context_f, dx_accum)
    da = dx_accum = add_norm_backward(dx, p_a["norm"], c3, subtree(grads_a, "norm"))
    da, dx_accum = _any_adapter_backward(da, dx_accum, p_a, c2, grads_a, context)
    return attention_backward(da, p_a, c1, grads_a, context_a, dx_accum)


def any_adapter_forward(x, sublayer_input, p, grads, context: Context):
    """The block's adapter: the paper's, a variant of it, or none.   (T, D) -> (T, D)"""
    if "adapter" not in p:
        return x, None
    if context.adapter.is_variant:
        return variant_forward(x, sublayer_input, p, grads, context)
    return adapter_forward(x, p["adapter"], subtree(grads, "adapter"))


def _any_adapter_backward(dy, dx_accum, p, cache, grads, context: Context):
    """dx, and the gradient of the block's input, to which variants that read it add.   (T, D), (T, D) -> the same"""
    if "adapter" not in p:
        return dy, dx_accum
    if context.adapter.is_variant:
        return variant_backward(dy, dx_accum, p, cache, grads, context)
    return adapter_backward(dy, p["adapter"], cache, subtree(grads, "adapter")), dx_accum


def first_trained_layer(grads, n_layers: int) -> int:
    """The lowest layer that backward must reach: -1 for the embeddings, n_layers if nothing of the encoder trains."""
    if not grads:
        return n_layers
    if grads.get("embeddings"):
        return -1
    layers = grads.get("encoder", {}).get("layers", {})
    return min((int(i) for i, trained in layers.items() if trained), default=n_layers)


def encoder_forward(batch, params, grads, context: Context):
    """A packed batch to hidden states, and the caches for backward.   (T,) ids -> (R, D)

    context.offsets_q tells how many rows of the last layer's output are wanted: all of each sequence (R = T), or one,
    which is then its first (R = B).
    """
    n_layers, layers = context.config.n_layers, params["encoder"]["layers"]
    first = first_trained_layer(grads, n_layers)
    layers_grads = subtree(subtree(grads, "encoder"), "layers")
    embeddings_grads = subtree(grads, "embeddings") if first < 0 else None
    x, cache = embeddings_forward(batch, params["embeddings"], embeddings_grads, context.at("embeddings"))
    caches = [cache]
    for i in range(n_layers):
        layer_grads = subtree(layers_grads, str(i)) if i >= first else None
        here = layer_context(context, i)
        x_q = x if here.all_rows else x[batch.first_rows]
        x, cache = layer_forward(x_q, x, layers[str(i)], layer_grads, here)
        caches.append(cache)
    return x, caches


def encoder_backward(dx, batch, params, caches, grads, context: Context) -> None:
    """Add every gradient into grads, from the last layer down to the lowest trained parameter, and stop there.

    dx (R, D). Each cache is dropped once it is used. Raises RuntimeError if the caches were used before: the gradients
    would double.
    """
    if not caches:
        raise RuntimeError("these caches have been used by a backward pass; run the forward pass again")
    first = first_trained_layer(grads, context.config.n_layers)
    layers_grads = subtree(subtree(grads, "encoder"), "layers")
    for i in reversed(range(max(first, 0), context.config.n_layers)):
        p, layer_grads = params["encoder"]["layers"][str(i)], subtree(layers_grads, str(i))
        dx, dx_kv = layer_backward(dx, p, caches.pop(), layer_grads, layer_context(context, i))
        if dx_kv is not None:  # x_q was the first rows of x_kv
            dx_kv[batch.first_rows] += dx
            dx = dx_kv
    if first < 0:
        here = context.at("embeddings")
        embeddings_backward(dx, batch, params["embeddings"], caches.pop(), grads["embeddings"], here)
    caches.clear()


def layer_context(context: Context, i: int) -> Context:
    """The context as layer i sees it: its own dropout, and queries of all rows unless it is the last layer."""
    is_last = i == context.config.n_layers - 1
    offsets_q = context.offsets_q if is_last else context.offsets_kv
    return context.at(i)._replace(offsets_q=offsets_q)


def context_of(batch, config, adapter=None, dropout=NO_DROPOUT, all_rows: bool = True) -> Context:
    """The context of a pass over a batch. all_rows False: of the last layer only each sequence's first row is wanted,
    [CLS], which is all that a classifier reads, so most of that layer's work need not be done."""
    one_each = np.arange(len(batch.offsets), dtype=np.int64)  # one query a sequence: 0, 1, ..., B
    offsets_q = batch.offsets if all_rows else one_each
    return Context(config, offsets_q, batch.offsets, adapter, dropout)
