"""Predict, then measure: floating-point operations and bytes, from shapes alone and as they happened.

A multiply-add is two operations. A step's operations are those of its matrix products, attention's included: the rest
is about a hundredth of them, and is bound by memory.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from itertools import chain
from unittest.mock import patch

import numpy as np

import kernels
from kernels import reference
from minibert.bert import first_trained_layer
from minibert.params import unflatten


def _pairs(offsets_q, offsets_kv, **_) -> int:
    """Pairs of a query and a key: the sum over the sequences of m n."""
    return int(np.diff(offsets_q) @ np.diff(offsets_kv))


# Operations of a call, by the names of its arguments.
PRODUCTS = {
    "matmul": lambda x, W, **_: 2 * x.shape[0] * W.size,
    "matmul_gelu": lambda x, W, **_: 2 * x.shape[0] * W.size,
    "matmul_dx": lambda dy, W, **_: 2 * dy.shape[0] * W.size,
    "matmul_dw": lambda x, dW, **_: 2 * x.shape[0] * dW.size,
    "matmul_backward": lambda dy, W, dW, **_: 2 * dy.shape[0] * W.size * (1 if dW is None else 2),
    "matmul_each": lambda x, Ws, **_: 2 * x.shape[0] * sum(W.size for W in Ws),
    "matmul_dx_each": lambda dys, Ws, **_: 2 * dys[0].shape[0] * sum(W.size for W in Ws),
    "attention": lambda q, **a: 4 * q.shape[1] * _pairs(**a),  # Q K.T and P V
    "attention_backward": lambda q, **a: 10 * q.shape[1] * _pairs(**a),  # Q K.T again, dP, dV, dQ, dK
}

# Operations for each element of the largest array, of what is no product. About: exp, tanh and Phi are counted as the
# polynomials of vector_math.py, a random number of dropout as nothing, for it is no floating-point work.
PER_ELEMENT = {
    "bias_db": 1,
    "gelu": 42,
    "gelu_tanh": 40,
    "relu": 2,
    "tanh": 22,
    "swish": 23,
    "layernorm": 8,
    "layernorm_backward": 12,
    "softmax_cross_entropy": 20,
    "embedding": 2,
    "embedding_backward": 1,
    "dropout": 1,
    "adam": 12,
    "squared_norm": 2,
}


def named_arguments(name: str, arguments, keywords=None) -> dict:
    """{argument's name: value} of a call of a kernel, defaults included."""
    bound = inspect.signature(getattr(reference, name)).bind(*arguments, **(keywords or {}))
    bound.apply_defaults()
    return bound.arguments


def operations(name: str, arguments, keywords=None) -> int:
    """The floating-point operations of a call of a kernel."""
    if name in PRODUCTS:
        return PRODUCTS[name](**named_arguments(name, arguments, keywords))
    return PER_ELEMENT[name] * max(a.size for a in arguments if isinstance(a, np.ndarray))


def bytes_moved(arguments, results) -> int:
    """What a call must read and write at least: each array among its arguments and results, once.

    The tables of an embedding are not read as a whole, and count like all arrays: its result is too high.
    """
    several = [item if isinstance(item, list) else [item] for item in (*arguments, *results)]
    return sum({a.ctypes.data: a.nbytes for a in chain(*several) if isinstance(a, np.ndarray)}.values())


@contextmanager
def counting():
    """Count the operations of every product computed inside: yields {kernel: operations}."""
    counts = dict.fromkeys(PRODUCTS, 0)

    def counted(name):
        kernel = getattr(kernels, name)

        def call(*arguments, **keywords):
            counts[name] += operations(name, arguments, keywords)
            return kernel(*arguments, **keywords)

        return call

    with patch.multiple(kernels, **{name: counted(name) for name in PRODUCTS}):
        yield counts


def predicted_operations(model, batch) -> dict[str, int]:
    """{"forward", "step"}: operations of the products, by formula.

    Forward multiplies every row by every weight, once; backward does the same for dx in each layer that it reaches, and
    once more for dW where a weight is trained. In the last layer only keys and values are computed of every token;
    all the rest is computed for the first tokens alone. A sequence of n tokens has n^2 pairs of query and key.
    """
    B, trained = len(batch), model.trained()
    first, last = _first_layer(model), model.config.n_layers - 1
    forward = backward = 0
    for name, W in model.parameters().items():
        if name.startswith("embeddings/") or not name.endswith("/W"):
            continue
        layer = int(name.split("/")[2]) if name.startswith("encoder/") else last + 1
        every_token = layer < last or (layer == last and name.split("/")[-2] in ("key", "value"))
        once = 2 * (batch.n_tokens if every_token else B) * W.size
        forward += once
        backward += (layer >= first) * once + (name in trained) * once
    for layer in range(model.config.n_layers):
        pairs = batch.n_tokens if layer == last else int((np.diff(batch.offsets) ** 2).sum())
        forward += 4 * model.config.hidden_size * pairs
        backward += (layer >= first) * 10 * model.config.hidden_size * pairs
    return {"forward": forward, "step": forward + backward}


def _first_layer(model) -> int:
    return first_trained_layer(unflatten(model.trained()), model.config.n_layers)


def predicted_cache(model, batch) -> int:
    """Bytes that the encoder's forward pass keeps for backward, by formula.

    The non-linear steps need their inputs or outputs, frozen or not: q, k, v and the log-sum-exp of each row and head
    for the softmax, the derivatives of the activations, the normalized rows and their scale for LayerNorm. A linear
    layer needs its input only if its weight is trained.
    """
    c, trained, M = model.config, model.trained(), model.adapter.size if model.adapter else 0
    T, B, D, F, H = batch.n_tokens, len(batch), c.hidden_size, c.feed_forward_size, c.n_heads
    first = _first_layer(model)
    numbers = T * (D + 1) if first < 0 else 0  # the LayerNorm of the embeddings
    for layer in range(max(first, 0), c.n_layers):
        R = B if layer == c.n_layers - 1 else T  # rows that this layer computes

        def learns(part, layer=layer):
            return f"encoder/layers/{layer}/{part}/W" in trained

        numbers += R * D + 2 * T * D + R * H  # q, k, v, lse
        numbers += T * D * any(learns(f"attention/{part}") for part in ("query", "key", "value"))
        numbers += R * D * (learns("attention/query") and R < T)  # the first tokens' rows are a copy
        numbers += R * D * learns("attention/output") + R * D * learns("feed_forward/intermediate")
        numbers += R * F + R * F * learns("feed_forward/output")  # the derivative of the activation, and its output
        numbers += 2 * R * (D + 1)  # two LayerNorms
        numbers += 2 * R * (D + 2 * M) if M else 0  # two adapters: their input, the derivative, and the activation
    return numbers * next(iter(trained.values())).itemsize


def measured_cache(model, batch) -> int:
    """Bytes of the arrays that the encoder's forward pass of a training step keeps; a shared one is counted once."""
    found, to_visit = {}, [model.caches(batch, dropout_step=0)]
    while to_visit:
        item = to_visit.pop()
        if isinstance(item, np.ndarray):
            found[item.ctypes.data] = item.nbytes
        elif isinstance(item, dict):
            to_visit.extend(item.values())
        elif isinstance(item, (tuple, list)):
            to_visit.extend(item)
    return sum(found.values())
