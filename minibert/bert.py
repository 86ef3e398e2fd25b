"""BERT's encoder (Devlin et al., 2018): one layer, then the stack; backward is the mirror image of forward.

A layer has two sublayers, attention and feed-forward. Both end in the same way:

    y = LayerNorm(x + adapter(dropout(h W + b)))

with h what the sublayer computed from x. The adapter is there if the parameters have one.
"""

from __future__ import annotations

from kernels.runtime.pool import aligned_copy
from minibert.adapter import adapter_backward, adapter_forward
from minibert.attention import self_attention_backward, self_attention_forward
from minibert.layers import (
    Run,
    embeddings_backward,
    embeddings_forward,
    feed_forward_backward,
    feed_forward_forward,
    inside,
    key_of,
    linear_backward,
    linear_forward,
    residual_layernorm_backward,
    residual_layernorm_forward,
)


def sublayer_end_forward(h, x, p, grads, run: Run, slope=None):
    """y = LayerNorm(x + adapter(dropout(h W + b))).   h (T, D) or (T, F), x (T, D) -> (T, D)

    slope (T, F): h was f(u), and this is f'(u).
    """
    a, linear_cache = linear_forward(h, p["output"], inside(grads, "output"), dropout=run.dropout)
    adapter_cache = None
    if "adapter" in p:
        a, adapter_cache = adapter_forward(a, p["adapter"], inside(grads, "adapter"), run.adapter, x)
    y, norm_cache = residual_layernorm_forward(a, x, p["norm"], inside(grads, "norm"), run.config.layernorm_eps)
    return y, None if grads is None else (linear_cache, slope, adapter_cache, norm_cache)


def sublayer_end_backward(dy, p, cache, grads, run: Run):
    """dh, or du if h was f(u); and the gradient of x through the residual sum.   (T, D) -> (T, D) or (T, F), (T, D)"""
    linear_cache, slope, adapter_cache, norm_cache = cache
    d_sum = residual_layernorm_backward(dy, p["norm"], norm_cache, inside(grads, "norm"))
    da, dx = d_sum, None
    if "adapter" in p:
        da, dx = adapter_backward(da, p["adapter"], adapter_cache, inside(grads, "adapter"), run.adapter)
    da = aligned_copy(da) if da is d_sum else da  # dropout is written over it, and d_sum goes another way, too
    dh = linear_backward(da, p["output"], linear_cache, inside(grads, "output"), slope=slope, dropout=run.dropout)
    return dh, d_sum if dx is None else d_sum + dx  # a parallel adapter read x, too


def layer_forward(x, p, grads, run: Run):
    """One Transformer layer.   (T, D) -> (T, D), or (B, D) if run.first_only"""
    attention, feed_forward = run.at("attention"), run.at("feed_forward")
    attention_grads, feed_forward_grads = inside(grads, "attention"), inside(grads, "feed_forward")

    asking = x[run.offsets[:-1]] if run.first_only else x
    h, attention_cache = self_attention_forward(asking, x, p["attention"], attention_grads, attention.at("weights"))
    x, end_cache_1 = sublayer_end_forward(h, asking, p["attention"], attention_grads, attention)
    h, feed_forward_cache, slope = feed_forward_forward(x, p["feed_forward"], feed_forward_grads, run)
    x, end_cache_2 = sublayer_end_forward(h, x, p["feed_forward"], feed_forward_grads, feed_forward, slope)
    return x, None if grads is None else (attention_cache, end_cache_1, feed_forward_cache, end_cache_2)


def layer_backward(dy, p, cache, grads, run: Run):
    """One layer backwards.   (T, D), or (B, D) if run.first_only -> (T, D)"""
    attention_cache, end_cache_1, feed_forward_cache, end_cache_2 = cache
    attention, feed_forward = run.at("attention"), run.at("feed_forward")
    attention_grads, feed_forward_grads = inside(grads, "attention"), inside(grads, "feed_forward")

    # What a sublayer reads goes two ways: into its first linear layer, and round it into the residual sum.
    du, dy = sublayer_end_backward(dy, p["feed_forward"], end_cache_2, feed_forward_grads, feed_forward)
    dy = feed_forward_backward(du, p["feed_forward"], feed_forward_cache, feed_forward_grads, plus=dy)
    dh, dy = sublayer_end_backward(dy, p["attention"], end_cache_1, attention_grads, attention)
    return self_attention_backward(
        dh, p["attention"], attention_cache, attention_grads, attention.at("weights"), plus=dy
    )


def first_trained_layer(grads, n_layers: int) -> int:
    """The lowest layer that backward must reach: -1 for the embeddings, n_layers if nothing of the encoder is
    trained."""
    if not grads:
        return n_layers
    if grads.get("embeddings"):
        return -1
    layers = grads.get("encoder", {}).get("layers", {})
    return min((int(i) for i, trained in layers.items() if trained), default=n_layers)


def run_of_layer(run: Run, i: int) -> Run:
    """The run as layer i sees it: its own dropout, and every token unless it is the last layer."""
    first_only = run.first_only and i == run.config.n_layers - 1
    return Run(run.config, run.offsets, run.adapter, run.dropout.at(i), first_only)


DROPOUT_SITES = ("attention",), ("attention", "weights"), ("feed_forward",)  # in a layer: where layer_forward drops


def compute_keys(run: Run) -> None:
    """The dropout keys of all layers, at once: later, between two kernels, each would find the processor's caches
    empty, and take ten times as long."""
    for i in range(run.config.n_layers if run.dropout.place else 0):
        for sites in DROPOUT_SITES:
            key_of((*run.dropout.place, i, *sites))


def encoder_forward(batch, params, grads, run: Run):
    """A packed batch to hidden states.   (T,) ids -> (T, D), or (B, D) if run.first_only; and caches for backward"""
    compute_keys(run)
    first = first_trained_layer(grads, run.config.n_layers)
    embeddings_grads = inside(grads, "embeddings") if first < 0 else None
    x, cache = embeddings_forward(batch, params["embeddings"], embeddings_grads, run.at("embeddings"))
    caches = [cache]
    layers_grads = inside(inside(grads, "encoder"), "layers")
    for i in range(run.config.n_layers):
        layer_grads = inside(layers_grads, str(i)) if i >= first else None
        x, cache = layer_forward(x, params["encoder"]["layers"][str(i)], layer_grads, run_of_layer(run, i))
        caches.append(cache)
    return x, caches


def encoder_backward(dx, batch, params, caches, grads, run: Run) -> None:
    """Add every gradient into grads, from the last layer down to the lowest trained parameter, and stop there.   dx
    (T, D)

    Each cache is dropped once it is used. A second call with the same caches is an error: it would double the
    gradients.
    """
    if not caches:
        raise RuntimeError("these caches have been used by a backward pass; run the forward pass again")
    first = first_trained_layer(grads, run.config.n_layers)
    layers_grads = inside(inside(grads, "encoder"), "layers")
    for i in reversed(range(max(first, 0), run.config.n_layers)):
        layer = params["encoder"]["layers"][str(i)]
        dx = layer_backward(dx, layer, caches.pop(), inside(layers_grads, str(i)), run_of_layer(run, i))
    if first < 0:
        embeddings_backward(dx, batch, params["embeddings"], caches.pop(), grads["embeddings"], run.at("embeddings"))
    caches.clear()
