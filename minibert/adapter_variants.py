"""The variants of the adapter, each with its gradient: of the kinds that the paper tried and set aside (end of section
3.6), and some by others.

adapter.py is the paper's own form. Here a bottleneck may

    layernorm        normalize what it reads, before W_down
    depth            have further hidden layers of M units, each with the nonlinearity, before W_up
    activation       have another nonlinearity: gelu_tanh, swish, relu or tanh
    parallel         read what the sublayer read, instead of what it gave
    multiplicative   scale x instead of adding to it: y = x (1 + z), element by element; z = 0 is the identity again
    reads_norm       read the block's LayerNorm, of what the sublayer gave and read (Pfeiffer et al., 2020,
                     "AdapterFusion"; the AdapterHub library calls it seq_bn). With the lines of the layer around it:

                         n = LayerNorm(x + r)      x: the sublayer's output, r: its input, the residual
                         y = x + bottleneck(n)
                         LayerNorm(y + r)          which is no part of the adapter. It is the same LayerNorm twice

and all of these together, but that parallel and reads_norm exclude each other. Leaving out a sublayer or a layer
changes no formula: the layer then has no adapter there.
"""

from __future__ import annotations

from minibert.layers import (
    Context,
    add_norm_backward,
    add_norm_forward,
    linear_act_forward,
    linear_backward,
    linear_forward,
    subtree,
)

# Settings of AdapterConfig for the paper's own form, and for the kinds of variants that it tried. It names layer
# normalization, more layers, tanh, attention only, parallel, and multiplicative together with parallel. How many
# layers, the other activations, feed-forward only and multiplicative alone are our choices of the same kinds. (Its
# batch normalization is not here.) "attention only" and "feed-forward only" leave an adapter out of each layer and
# change no formula: these two and the paper's own are no variants by `AdapterConfig.is_variant`.
VARIANTS = {
    "paper": {},
    "layernorm": {"layernorm": True},
    "two hidden layers": {"depth": 2},
    "three hidden layers": {"depth": 3},
    "tanh": {"activation": "tanh"},
    "relu": {"activation": "relu"},
    "swish": {"activation": "swish"},
    "attention only": {"sublayers": ("attention",)},
    "feed-forward only": {"sublayers": ("feed_forward",)},
    "parallel": {"parallel": True},
    "multiplicative": {"multiplicative": True},
    "parallel, multiplicative": {"parallel": True, "multiplicative": True},
}
# Forms of others. The first is the default of the AdapterHub library, and that of nearly all adapters on its hub.
BY_OTHERS = {
    "Pfeiffer": {"reads_norm": True, "sublayers": ("feed_forward",)},
    "Pfeiffer, twice a layer": {"reads_norm": True},
    "layernorm of PyTorch": {"layernorm": True, "layernorm_eps": 1e-5},
}


def variant_forward(x, sublayer_input, p, grads, context: Context):
    """y = x + z or x (1 + z), z the bottleneck of what the variant reads.   (T, D), (T, D) -> (T, D)

    p, grads: those of the block; its adapter, and its LayerNorm for reads_norm, which reads that of x + sublayer_input.
    """
    config, norm_cache = context.adapter, None
    read = sublayer_input if config.parallel else x
    if config.reads_norm:
        norm_grads, eps = subtree(grads, "norm"), context.config.layernorm_eps
        read, norm_cache = add_norm_forward(x, sublayer_input, p["norm"], norm_grads, eps)
    p_adapter, adapter_grads = p["adapter"], subtree(grads, "adapter")
    if config.multiplicative:
        z, z_cache = bottleneck_forward(read, p_adapter, adapter_grads, context)
        return x * (1 + z), None if grads is None else (norm_cache, z_cache, x, z)
    y, z_cache = bottleneck_forward(read, p_adapter, adapter_grads, context, residual=x)  # the skip connection
    return y, None if grads is None else (norm_cache, z_cache, None, None)


def variant_backward(dy, d_input, p, cache, grads, context: Context):
    """dx, and d_input with the gradient of sublayer_input added if that was read.   (T, D), (T, D) -> the same"""
    config, (norm_cache, z_cache, x, z) = context.adapter, cache
    dx, dz = (dy * (1 + z), dy * x) if config.multiplicative else (dy, dy)  # y was x (1 + z), or x + z
    p_adapter, adapter_grads = p["adapter"], subtree(grads, "adapter")
    if config.parallel:
        return dx, bottleneck_backward(dz, p_adapter, z_cache, adapter_grads, context, dx_accum=d_input)
    if not config.reads_norm:
        # z was computed from x, which has two consumers: the bottleneck and the skip connection
        return bottleneck_backward(dz, p_adapter, z_cache, adapter_grads, context, dx_accum=dx), d_input
    # z was computed from n, and n was LayerNorm(x + sublayer_input): both terms of the sum have one more consumer. So
    # have gamma and beta, whose gradients are added to those of the LayerNorm that follows the adapter
    dn = bottleneck_backward(dz, p_adapter, z_cache, adapter_grads, context)
    dsum = add_norm_backward(dn, p["norm"], norm_cache, subtree(grads, "norm"))
    return dx + dsum, d_input + dsum


def bottleneck_forward(x, p, grads, context: Context, residual=None):
    """z = f(x W_down + b_down) W_up + b_up + residual.   (T, D) -> (T, M) -> (T, D)"""
    config, norm_cache, hidden_caches = context.adapter, None, []
    if config.layernorm:
        x, norm_cache = add_norm_forward(x, None, p["norm"], subtree(grads, "norm"), config.layernorm_eps)
    h, down_cache, act_grad = linear_act_forward(x, p["down"], subtree(grads, "down"), config.activation)  # (T, M)
    for name in _hidden_layers(p):
        act_grad_of_input, hidden_grads = act_grad, subtree(subtree(grads, "hidden"), name)
        h, hidden_cache, act_grad = linear_act_forward(h, p["hidden"][name], hidden_grads, config.activation)  # (T, M)
        hidden_caches.append((hidden_cache, act_grad_of_input))
    z, up_cache = linear_forward(h, p["up"], subtree(grads, "up"), residual)  # (T, M) @ (M, D) -> (T, D)
    return z, None if grads is None else (norm_cache, down_cache, hidden_caches, act_grad, up_cache)


def bottleneck_backward(dz, p, cache, grads, context: Context, dx_accum=None):
    """The forward's lines from the last to the first; dx_accum is added.   (T, D) -> (T, M) -> (T, D)"""
    norm_cache, down_cache, hidden_caches, act_grad, up_cache = cache
    # z was h W_up + b_up and h was f(u), so du = (dz W_up.T) f'(u)
    du = linear_backward(dz, p["up"], up_cache, subtree(grads, "up"), act_grad=act_grad)
    for name, (hidden_cache, act_grad) in zip(reversed(_hidden_layers(p)), reversed(hidden_caches), strict=True):
        hidden_grads = subtree(subtree(grads, "hidden"), name)
        du = linear_backward(du, p["hidden"][name], hidden_cache, hidden_grads, act_grad=act_grad)
    # u was x W_down + b_down
    if not context.adapter.layernorm:
        return linear_backward(du, p["down"], down_cache, subtree(grads, "down"), dx_accum)
    dx = linear_backward(du, p["down"], down_cache, subtree(grads, "down"))
    dx = add_norm_backward(dx, p["norm"], norm_cache, subtree(grads, "norm"))
    return dx if dx_accum is None else dx + dx_accum


def _hidden_layers(p) -> list[str]:
    """The names of the hidden layers between W_down and W_up, from the first to the last."""
    return sorted(p.get("hidden", {}), key=int)
