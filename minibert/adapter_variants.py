"""The variants of the adapter that the paper tried and set aside (end of section 3.6), each with its gradient.

adapter.py is the paper's own form. Here a bottleneck may

    layernorm        normalize what it reads, before W_down
    depth            have further hidden layers of M units, each with the nonlinearity, before W_up
    activation       have another nonlinearity: gelu_tanh, swish, relu or tanh
    parallel         read what the sublayer read, instead of what it gave
    multiplicative   scale x instead of adding to it: y = x (1 + z), element by element; z = 0 is the identity again

and all of these together. Leaving out a sublayer or a layer changes no formula: the layer then has no adapter there.
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

LAYERNORM_EPS = 1e-12  # as in BERT

# Settings of AdapterConfig for each form that the paper tried, its own first. Two of them leave an adapter out of each
# layer and change no formula: these and the paper's own are no variants by `AdapterConfig.is_variant`.
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


def variant_forward(x, sublayer_input, p, grads, context: Context):
    """y = x + z or x (1 + z), z the bottleneck of x or of sublayer_input.   (T, D), (T, D) -> (T, D)"""
    config = context.adapter
    read = sublayer_input if config.parallel else x
    if config.multiplicative:
        z, z_cache = bottleneck_forward(read, p, grads, context)
        return x * (1 + z), None if grads is None else (z_cache, x, z)
    y, z_cache = bottleneck_forward(read, p, grads, context, residual=x)  # the skip connection
    return y, None if grads is None else (z_cache, None, None)


def variant_backward(dy, d_input, p, cache, grads, context: Context):
    """dx, and d_input with the gradient of sublayer_input added if that was read.   (T, D), (T, D) -> the same"""
    config, (z_cache, x, z) = context.adapter, cache
    dx, dz = (dy * (1 + z), dy * x) if config.multiplicative else (dy, dy)  # y was x (1 + z), or x + z
    if config.parallel:
        return dx, bottleneck_backward(dz, p, z_cache, grads, context, dx_accum=d_input)
    # z was computed from x, which has two consumers: the bottleneck and the skip connection
    return bottleneck_backward(dz, p, z_cache, grads, context, dx_accum=dx), d_input


def bottleneck_forward(x, p, grads, context: Context, residual=None):
    """z = f(x W_down + b_down) W_up + b_up + residual.   (T, D) -> (T, M) -> (T, D)"""
    config, norm_cache, hidden_caches = context.adapter, None, []
    if config.layernorm:
        x, norm_cache = add_norm_forward(x, None, p["norm"], subtree(grads, "norm"), LAYERNORM_EPS)
    h, down_cache, act_grad = linear_act_forward(x, p["down"], subtree(grads, "down"), config.activation)  # (T, M)
    for name in _hidden_layers(p):
        act_grad_below, hidden_grads = act_grad, subtree(subtree(grads, "hidden"), name)
        h, hidden_cache, act_grad = linear_act_forward(h, p["hidden"][name], hidden_grads, config.activation)  # (T, M)
        hidden_caches.append((hidden_cache, act_grad_below))
    z, up_cache = linear_forward(h, p["up"], subtree(grads, "up"), residual)  # (T, M) @ (M, D) -> (T, D)
    return z, None if grads is None else (norm_cache, down_cache, hidden_caches, act_grad, up_cache)


def bottleneck_backward(dz, p, cache, grads, context: Context, dx_accum):
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
    return add_norm_backward(dx, p["norm"], norm_cache, subtree(grads, "norm")) + dx_accum


def _hidden_layers(p) -> list[str]:
    """The names of the hidden layers between W_down and W_up, from the first to the last."""
    return sorted(p.get("hidden", {}), key=int)
