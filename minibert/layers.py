"""The layers of a Transformer, forward and backward. The convention of all files from here to bert.py:

    y, cache = f_forward(x, p, grads, ...)      dx = f_backward(dy, p, cache, grads, ...)

p      the layer's parameters, a dict: p["W"] (in, out), p["b"] (out,); for a larger layer a dict of such dicts.
grads  a tree like p, with a leaf only where a parameter is trained. Backward adds into the leaf if it is there, and
       skips that work if not. So *frozen* is no flag: it is the absence of a place for the gradient. And frozen does
       not mean stopped: dx is passed on through a frozen weight as through any other.
cache  what backward needs of forward. Forward looks at grads for one reason: to keep only that. With grads None no
       backward will follow, and nothing is kept.

dx is the gradient of the loss with respect to x. An x with two consumers has the sum of two gradients: dx_accum is the
one from the other consumer, and is added. A few functions return one thing more, and say so.

Shapes are in these letters: B sequences, T tokens of all sequences together, R of them whose output is wanted (mostly
all), D hidden size, F feed-forward size, H attention heads of d_head = D / H, M adapter size, C classes.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np

import kernels
from minibert.config import AdapterConfig, BertConfig
from minibert.errors import InputError


def subtree(grads, key: str):
    """The branch of grads below key; None stays None, and a branch where nothing is trained is empty."""
    return None if grads is None else grads.get(key, {})


# ----------------------------------------------------------------------------------------------------------- linear


def linear_forward(x, p, grads, residual=None, dropout=None):
    """y = dropout(x W + b + residual).   (T, in) @ (in, out) -> (T, out);  residual (T, out) may be None"""
    y = kernels.matmul(x, p["W"], p["b"], residual, dropout)
    return y, cached_input(x, grads)


def cached_input(x, grads):
    """What backward needs of the input: a frozen W needs no x."""
    return x if grads and "W" in grads else None


def linear_backward(dy, p, x, grads, dx_accum=None, act_grad=None, dropout=None):
    """forward was y = dropout(x W + b), so now dy is multiplied by the same mask, and

    dW += x.T dy, db += sum of dy over rows, dx = dy W.T + dx_accum.

    act_grad (T, in): x was f(u), and this is f'(u); what is returned is then du = dx f'(u). The gradient of a residual
    is dy times the mask, which the caller has.
    """
    return kernels.matmul_backward(dy, x, p["W"], grads.get("W"), grads.get("b"), dx_accum, act_grad, dropout)


def linear_act_forward(x, p, grads, activation: str):
    """y = f(u) with u = x W + b; the cache; and the derivative f'(u).   (T, in) @ (in, out) -> (T, out), ..., (T, out)

    activation: gelu, gelu_tanh, swish, relu or tanh. It has no backward of its own. If the next layer is z = y W2 + b2,
    then dy = dz W2.T and du = dy f'(u), and one call computes both: du = linear_backward(dz, p2, ..., act_grad=f'(u)).
    """
    if activation == "gelu":
        y, act_grad = kernels.matmul_gelu(x, p["W"], p["b"])
    else:
        y, act_grad = getattr(kernels, activation)(kernels.matmul(x, p["W"], p["b"]))
    return y, cached_input(x, grads), None if grads is None else act_grad


# --------------------------------------------------------------------------------------------- feed-forward, add & norm


def feed_forward_forward(x, p, grads, context: Context):
    """y = dropout(f(x W1 + b1) W2 + b2), f the activation.   (T, D) -> (T, F) -> (T, D)"""
    h, cache_1, act_grad = linear_act_forward(
        x, p["intermediate"], subtree(grads, "intermediate"), context.config.activation
    )
    y, cache_2 = linear_forward(h, p["output"], subtree(grads, "output"), dropout=context.dropout.hidden)
    return y, None if grads is None else (cache_1, act_grad, cache_2)


def feed_forward_backward(dy, p, cache, grads, context: Context, dx_accum):
    """dx, the other consumer's gradient added.   (T, D) -> (T, F) -> (T, D)"""
    cache_1, act_grad, cache_2 = cache
    # y was dropout(h W2 + b2) and h was f(u), so du = (dropout(dy) W2.T) f'(u)
    du = linear_backward(
        dy, p["output"], cache_2, subtree(grads, "output"), act_grad=act_grad, dropout=context.dropout.hidden
    )
    # u was x W1 + b1
    return linear_backward(du, p["intermediate"], cache_1, subtree(grads, "intermediate"), dx_accum)


def add_norm_forward(x, residual, p, grads, eps: float):
    """y = LayerNorm(x + residual).   (T, D) -> (T, D);  residual may be None"""
    y, normalized, inverse_std = kernels.layernorm(x, residual, p["gamma"], p["beta"], eps)
    return y, None if grads is None else (normalized, inverse_std)


def add_norm_backward(dy, p, cache, grads):
    """The gradient of the sum x + residual, and so of x and of residual alike."""
    normalized, inverse_std = cache
    return kernels.layernorm_backward(dy, normalized, inverse_std, p["gamma"], grads.get("gamma"), grads.get("beta"))


# ------------------------------------------------------------------------------------------------------- embeddings


def _rows_of_tables(batch) -> dict[str, np.ndarray]:
    """Which row of each table a token takes."""
    return {"word": batch.ids, "segment": batch.segments, "position": batch.positions}


def _check_rows(table: str, rows, n_rows: int) -> None:
    if not 0 <= rows.min() <= rows.max() < n_rows:
        raise InputError(
            f"{table} ids must be from 0 to {n_rows - 1} for this backbone, got {rows.min()} to {rows.max()}"
        )


def embeddings_forward(batch, p, grads, context: Context):
    """x = dropout(LayerNorm(word + segment + position)).   (T,) ids -> (T, D)"""
    rows = _rows_of_tables(batch)
    tables = [p[name]["W"] for name in rows]
    try:
        x = kernels.embedding(*rows.values(), *tables)
    except IndexError:
        for name, table in zip(rows, tables, strict=True):
            _check_rows(name, rows[name], len(table))
        raise
    y, norm_cache = add_norm_forward(x, None, p["norm"], subtree(grads, "norm"), context.config.layernorm_eps)
    return dropout_forward(y, context.dropout.hidden), norm_cache


def embeddings_backward(dy, batch, p, cache, grads, context: Context):
    """The end of the backward pass: ids have no gradient."""
    dx = dropout_backward(dy, context.dropout.hidden)
    dx = add_norm_backward(dx, p["norm"], cache, subtree(grads, "norm"))
    for table, rows in _rows_of_tables(batch).items():
        if table in grads:
            kernels.embedding_backward(dx, rows, grads[table]["W"])


# ---------------------------------------------------------------------------------------------------------- dropout


class Dropout(NamedTuple):
    """The rates, and the place in (seed, step, layer, site) that decides which elements are dropped."""

    hidden_rate: float = 0.0
    attention_rate: float = 0.0
    place: tuple = ()

    def at(self, *sites) -> Dropout:
        """The dropout of a place inside this one: a layer, or a tensor in it."""
        return self._replace(place=(*self.place, *sites))

    @property
    def hidden(self):
        """(rate, key) of hidden states here, as the kernels take it; None for no dropout."""
        return (self.hidden_rate, _key_of(self.place)) if self.hidden_rate > 0 else None

    @property
    def attention(self):
        """The same of attention weights."""
        return (self.attention_rate, _key_of(self.place)) if self.attention_rate > 0 else None


@lru_cache(maxsize=1024)  # backward needs those of forward again
def _key_of(place: tuple) -> tuple[np.uint32, np.uint32]:
    """A key for the kernels' random numbers, a function of the place alone: two checksums of its name.

    The second is of the name read backwards. Such checksums are linear: that of the name with only another beginning
    would be the first one XOR a constant, for all names of one length, and so nothing new.
    """
    name = "/".join(map(str, place)).encode()
    return np.uint32(zlib.crc32(name)), np.uint32(zlib.crc32(b"second" + name[::-1]))


NO_DROPOUT = Dropout()


def dropout_of_step(config: BertConfig, seed: int, step: int) -> Dropout:
    """The dropout of a training step."""
    return Dropout(config.hidden_dropout, config.attention_dropout, (seed, step))


def dropout_forward(x, dropout):
    """y = x m. The mask m is a function of dropout, (rate, key) or None, so there is nothing to cache."""
    return x if dropout is None else kernels.dropout(x, dropout)


def dropout_backward(dy, dropout):
    """forward was y = x m, so now dx = dy m with the same mask m."""
    return dropout_forward(dy, dropout)


class Context(NamedTuple):
    """What every layer of one pass may look at: shapes, where sequences begin and end, the adapters, the dropout.

    Attention reads hidden states (T, D), of which rows offsets_kv[b]:offsets_kv[b+1] are sequence b; and it computes
    its output for R of them, rows offsets_q[b]:offsets_q[b+1] of (R, D). In all layers but the last the two are the
    same; of the last a classifier wants only the first row of each sequence (bert.context_of).
    """

    config: BertConfig
    offsets_q: np.ndarray
    offsets_kv: np.ndarray
    adapter: AdapterConfig | None = None
    dropout: Dropout = NO_DROPOUT

    @property
    def all_rows(self) -> bool:
        """Whether the output of all rows is wanted: R = T."""
        return self.offsets_q is self.offsets_kv or np.array_equal(self.offsets_q, self.offsets_kv)

    def at(self, *sites) -> Context:
        """The same context, its dropout placed inside a layer or at a site."""
        return self._replace(dropout=self.dropout.at(*sites))
