"""A layer of BERT with frozen weights and two adapters."""

from __future__ import annotations

from minibert.lessons.plain.activations import gelu, gelu_backward, layernorm, layernorm_backward
from minibert.lessons.plain.bottleneck import adapter, adapter_backward
from minibert.lessons.plain.gradients import linear
from minibert.lessons.plain.packed_attention import attention, attention_backward


def below(p, group):
    """The part of a dict of flat names that is below a group: of "attention/norm/gamma", "gamma" below that norm."""
    found = {name.removeprefix(f"{group}/"): a for name, a in p.items() if name.startswith(f"{group}/")}
    return found or _Nothing(group)


class _Nothing(dict):
    """No parameters. To look one up raises a KeyError: no name begins with the group."""

    def __init__(self, group):
        self.group = group

    def __missing__(self, name):
        raise KeyError(f"{name}: no name begins with {self.group}/")


def adapter_if_any(x, p):
    """The adapter of p's parameters; x itself if p is empty.   (T, D) -> (T, D)"""
    return adapter(x, p) if p else (x, ())


def adapter_if_any_backward(dy, cache):
    """dx (T, D), and the gradients of the adapter's parameters, of which there may be none."""
    return adapter_backward(dy, cache) if cache else (dy, {})


def frozen_backward(dy, cache):
    """dx of a linear step whose W and b are frozen: the first of the three lines of linear_backward."""
    _, W = cache
    return dy @ W.T


def layer(x, p, offsets, n_heads):
    """One layer of BERT: two blocks, each with its adapter (if p has one), its residual and its LayerNorm.

    x (T, D) -> y (T, D). p: {"attention/query/W": (D, D), ...}, the flat names of the program's parameters below a
    layer. The cache holds that of each step, in the order of the steps.
    """
    q, query = linear(x, p["attention/query/W"], p["attention/query/b"])
    k, key = linear(x, p["attention/key/W"], p["attention/key/b"])
    v, value = linear(x, p["attention/value/W"], p["attention/value/b"])
    attended, heads = attention(q, k, v, offsets, n_heads)
    a, out_a = linear(attended, p["attention/output/W"], p["attention/output/b"])
    a, adapter_a = adapter_if_any(a, below(p, "attention/adapter"))
    x, norm_a = layernorm(x + a, p["attention/norm/gamma"], p["attention/norm/beta"])
    u, intermediate = linear(x, p["feed_forward/intermediate/W"], p["feed_forward/intermediate/b"])
    h, activation = gelu(u)
    f, out_f = linear(h, p["feed_forward/output/W"], p["feed_forward/output/b"])
    f, adapter_f = adapter_if_any(f, below(p, "feed_forward/adapter"))
    y, norm_f = layernorm(x + f, p["feed_forward/norm/gamma"], p["feed_forward/norm/beta"])
    return y, (query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f)


def layer_backward(dy, cache):
    """dx (T, D), and {name: gradient} of what adapter tuning trains in a layer: the LayerNorms and the adapters.

    The other weights are frozen: gradients cross them, and theirs are not computed. cache: those of the steps of layer,
    (query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f).
    """
    query, key, value, heads, out_a, adapter_a, norm_a, intermediate, activation, out_f, adapter_f, norm_f = cache
    dsum, dgamma_f, dbeta_f = layernorm_backward(dy, norm_f)
    df, of_adapter_f = adapter_if_any_backward(dsum, adapter_f)
    dh = frozen_backward(df, out_f)
    du = gelu_backward(dh, activation)
    dx = dsum + frozen_backward(du, intermediate)
    dsum, dgamma_a, dbeta_a = layernorm_backward(dx, norm_a)
    da, of_adapter_a = adapter_if_any_backward(dsum, adapter_a)
    dattended = frozen_backward(da, out_a)
    dq, dk, dv = attention_backward(dattended, heads)
    dx = dsum + frozen_backward(dq, query) + frozen_backward(dk, key) + frozen_backward(dv, value)
    grads = {"feed_forward/norm/gamma": dgamma_f, "feed_forward/norm/beta": dbeta_f}
    grads |= {"attention/norm/gamma": dgamma_a, "attention/norm/beta": dbeta_a}
    grads |= {f"feed_forward/adapter/{name}": gradient for name, gradient in of_adapter_f.items()}
    grads |= {f"attention/adapter/{name}": gradient for name, gradient in of_adapter_a.items()}
    return dx, grads
