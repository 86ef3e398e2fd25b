"""The layers of a Transformer, forward and backward, over the kernels.

The convention of all files from here to bert.py:

    y, cache = f_forward(x, p, grads, ...)      dx = f_backward(dy, p, cache, grads)

p holds the layer's parameters. grads is a tree like p that has a leaf only where a parameter is trained: backward
adds into the leaf if it is there, and skips that work if not. Forward looks at grads for one reason: to cache only
what backward will need. grads None means that no backward will come this way, and nothing is cached.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np

import kernels
from minibert.config import AdapterConfig, BertConfig, InputError


def inside(grads, key: str):
    """The branch of grads below key; None stays None, and a branch where nothing is trained is empty."""
    return None if grads is None else grads.get(key, {})


# ---------------------------------------------------------------------------------------------------------- dropout


NO_KEY = (np.uint32(0), np.uint32(0))


class Dropout(NamedTuple):
    """The rates, and the place in (seed, step, layer, site) that decides which units are dropped."""

    hidden: float = 0.0
    attention: float = 0.0
    place: tuple = ()

    def at(self, site) -> Dropout:
        """The dropout of a site inside this one: a layer, or a tensor in it."""
        return Dropout(self.hidden, self.attention, (*self.place, site))

    @property
    def key(self) -> tuple[np.uint32, np.uint32]:
        """Two 32-bit keys for the kernels' random numbers."""
        return key_of(self.place) if self.place else NO_KEY


@lru_cache(maxsize=1024)  # backward asks again for those of forward
def key_of(place: tuple) -> tuple[np.uint32, np.uint32]:
    """The two keys of a place."""
    name = "/".join(map(str, place)).encode()
    return np.uint32(zlib.crc32(name)), np.uint32(zlib.crc32(b"second" + name[::-1]))


NO_DROPOUT = Dropout()


def dropout_forward(x, dropout: Dropout):
    """Hidden dropout, written over x. The mask is a function of dropout.place, so there is nothing to cache."""
    return kernels.dropout(x, dropout.hidden, dropout.key) if dropout.hidden > 0 else x


def dropout_backward(dy, dropout: Dropout):
    """forward was y = x m, so now dx = dy m with the same mask m."""
    return dropout_forward(dy, dropout)


class Run(NamedTuple):
    """What every layer of one pass may look at: the shapes, where sequences end, and the dropout.

    first_only: of the last layer's output only the first token of each sequence is wanted, (B, D) instead of (T, D).
    It is all that a classifier reads, and most of that layer's work need not be done.
    """

    config: BertConfig
    offsets: np.ndarray
    adapter: AdapterConfig | None = None
    dropout: Dropout = NO_DROPOUT
    first_only: bool = False

    def at(self, site) -> Run:
        """The same run, its dropout placed inside a layer or at a site."""
        return Run(self.config, self.offsets, self.adapter, self.dropout.at(site), self.first_only)


# ----------------------------------------------------------------------------------------------------------- linear


def linear_forward(x, p, grads, plus=None, dropout: Dropout = NO_DROPOUT):
    """y = dropout(x W + b + plus).   (T, in) @ (in, out) -> (T, out);  plus (T, out) may be None"""
    y = kernels.matmul(x, p["W"], p["b"], p.get("W_strips"), plus, dropout.hidden, dropout.key)
    return y, kept_for_dw(x, grads)


def kept_for_dw(x, grads):
    """What backward needs of the input: a frozen W needs no x."""
    return x if grads and "W" in grads else None


def linear_backward(dy, p, x, grads, plus=None, slope=None, dropout: Dropout = NO_DROPOUT):
    """forward was y = dropout(x W + b), so now dy is multiplied by the same mask, and

    dW += x.T dy, db += sum of dy over rows, dx = dy W.T.

    plus (T, in): x went another way, too, and this is the gradient from there; it is added to dx.
    slope (T, in): x was f(u), and this is f'(u); what is returned is then du = dx f'(u).
    """
    strips = p.get("W_t_strips")  # if W is frozen, see model.Backbone
    return kernels.matmul_backward(
        dy, x, p["W"], grads.get("W"), grads.get("b"), strips, plus, slope, dropout.hidden, dropout.key
    )


def activated_linear_forward(x, p, grads, activation: str):
    """y = f(u) with u = x W + b, the cache, and the slope f'(u).   (T, in) @ (in, out) -> (T, out), ..., (T, out)

    activation: gelu, gelu_tanh, swish, relu or tanh. It needs no backward of its own: who reads y passes the slope to
    `linear_backward`.
    """
    if activation == "gelu":  # where u is still in the processor's caches
        y, slope = kernels.matmul_gelu(x, p["W"], p["b"], p.get("W_strips"))
    else:
        y, slope = getattr(kernels, activation)(linear_forward(x, p, grads)[0])
    return y, kept_for_dw(x, grads), None if grads is None else slope


# -------------------------------------------------------------------------------------------------------- LayerNorm


def residual_layernorm_forward(x, residual, p, grads, eps: float):
    """y = LayerNorm(x + residual).   (T, D) -> (T, D);  residual may be None; x is gone: the cache has its memory"""
    y, normalized, inverse_std = kernels.layernorm(x, residual, p["gamma"], p["beta"], eps)
    return y, None if grads is None else (normalized, inverse_std)


def residual_layernorm_backward(dy, p, cache, grads):
    """The gradient of the sum x + residual, and so of x and of residual."""
    normalized, inverse_std = cache
    return kernels.layernorm_backward(dy, normalized, inverse_std, p["gamma"], grads.get("gamma"), grads.get("beta"))


# ----------------------------------------------------------------------------------------------------- feed-forward


def feed_forward_forward(x, p, grads, run: Run):
    """h = activation(x W1 + b1), the wide half of the feed-forward block; its cache; and the activation's slope.

    (T, D) -> (T, F). The projection back to D ends the sublayer, as it does in attention: bert.sublayer_end_forward.
    """
    return activated_linear_forward(x, p["intermediate"], inside(grads, "intermediate"), run.config.activation)


def feed_forward_backward(du, p, linear_cache, grads, plus=None):
    """(T, F) -> (T, D);  plus (T, D): the gradient of x from another way"""
    return linear_backward(du, p["intermediate"], linear_cache, inside(grads, "intermediate"), plus)


# ------------------------------------------------------------------------------------------------------- embeddings


def _rows_of_tables(batch) -> dict[str, np.ndarray]:
    """Which row of each table a token takes."""
    return {"word": batch.ids, "segment": batch.segments, "position": batch.positions}


def _check_rows(table: str, rows, n_rows: int) -> None:
    if not 0 <= rows.min() <= rows.max() < n_rows:
        raise InputError(
            f"{table} ids must be from 0 to {n_rows - 1} for this backbone, got {rows.min()} to {rows.max()}"
        )


def embeddings_forward(batch, p, grads, run: Run):
    """x = dropout(LayerNorm(word + segment + position)).   (T,) ids -> (T, D)"""
    rows = _rows_of_tables(batch)
    tables = [p[name]["W"] for name in rows]
    try:
        x = kernels.embedding(*rows.values(), *tables)
    except IndexError:
        for name, table in zip(rows, tables, strict=True):
            _check_rows(name, rows[name], len(table))
        raise
    y, norm_cache = residual_layernorm_forward(x, None, p["norm"], inside(grads, "norm"), run.config.layernorm_eps)
    return dropout_forward(y, run.dropout), norm_cache


def embeddings_backward(dy, batch, p, cache, grads, run: Run):
    """The end of the backward pass: ids have no gradient."""
    dx = residual_layernorm_backward(dropout_backward(dy, run.dropout), p["norm"], cache, inside(grads, "norm"))
    for table, rows in _rows_of_tables(batch).items():
        if table in grads:
            kernels.embedding_backward(dx, rows, grads[table]["W"])
