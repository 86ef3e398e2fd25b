"""Small example calls of every operation: warm_up.py compiles them, tests compare them, and they show the shapes."""

from __future__ import annotations

import numpy as np

import kernels

from .. import reference

DROPOUT = (0.25, (np.uint32(1), np.uint32(2)))  # rate and key


def examples(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_out: int = 12, n_heads: int = 2):
    """Yield (name of the operation, its arguments), arrays that it changes in place among them.

    The batch has sequences of the given lengths, D = size, and weights (size, n_out).
    """
    yield from examples_of_products(dtype, seed, lengths, size, n_out)
    yield from examples_of_narrow_products(dtype, seed, lengths)
    yield from examples_of_rows(dtype, seed, lengths, size, n_out)
    yield from examples_of_attention(dtype, seed, lengths, size, n_heads)


def examples_of_products(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_out: int = 12):
    """Products of matrices that are not skinny, and operations that may be fused with them, alone."""
    normal = _normal(dtype, np.random.default_rng(seed))
    T, D, F = sum(lengths), size, n_out
    yield "matmul", (normal(T, D), normal(D, F), normal(F))
    yield "matmul", (normal(T, D), normal(D, 2), normal(2))  # fewer columns than a panel
    yield "matmul", (normal(T, D), normal(D, 450), normal(450))  # whole panels, and two columns more
    yield "matmul_dx", (normal(T, F), normal(D, F))
    yield "matmul_dx", (normal(T, F), normal(450, F))
    yield "matmul_dw", (normal(T, D), normal(T, F), normal(D, F))
    yield "matmul_dw", (normal(T, D), normal(T, 450), normal(D, 450))
    yield "matmul_dw", (normal(T, 450), normal(T, 2), normal(450, 2))
    yield "matmul_dw", (normal(T, 32), normal(T, 3), normal(32, 3))
    yield "matmul_dw", (normal(T, 3), normal(T, 32), normal(3, 32))
    yield "matmul", (normal(T, D), normal(D, F), normal(F), None, DROPOUT)
    yield "matmul", (normal(T, D), kernels.freeze(normal(D, F)), normal(F), normal(T, F))
    yield "matmul_gelu", (normal(T, D), normal(D, F) / np.array(D, dtype), normal(F))
    for trained in ((normal(D, F), normal(F)), (None, normal(F)), (normal(D, F), None), (None, None)):
        yield "matmul_backward", (normal(T, F), normal(T, D), normal(D, F), *trained, normal(T, D), normal(T, D))
    rest = normal(T, D), normal(T, D), DROPOUT
    yield "matmul_backward", (normal(T, F), normal(T, D), normal(D, F), normal(D, F), normal(F), *rest)
    yield "matmul_backward", (normal(T, F), None, kernels.freeze(normal(D, F)), None, None, None, None, DROPOUT)
    Ws, bs, dys = kernels.freeze_each(normal(3, D, F)), normal(3, F), normal(3, T, F)
    for first in (0, 1):
        yield "matmul_each", (normal(T, D), Ws[first:], bs[first:])
        yield "matmul_dx_each", (dys[first:], Ws[first:], normal(T, D))
    yield "bias_db", (normal(T, F), normal(F))
    yield "dropout", (normal(T, D), DROPOUT)
    for name in ("gelu", "gelu_tanh", "relu", "tanh", "swish"):
        yield name, (2 * normal(T, F),)


def examples_of_rows(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_out: int = 12):
    """Operations on rows, and elementwise ones."""
    normal = _normal(dtype, rng := np.random.default_rng(seed))
    T, D, F = sum(lengths), size, n_out
    ids, segments, positions = (rng.integers(0, n, T).astype(np.int32) for n in (20, 2, max(lengths)))
    yield "layernorm", (normal(T, D), normal(T, D), normal(D), normal(D), 1e-12)
    yield "layernorm", (normal(T, D), None, normal(D), normal(D), 1e-12)
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D))
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D), normal(D), normal(D))
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D), normal(D))
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D), None, normal(D))
    yield "softmax_cross_entropy", (normal(T, 3), rng.integers(0, 3, T))
    yield "embedding", (ids, segments, positions, normal(20, D), normal(2, D), normal(max(lengths), D))
    yield "embedding_backward", (normal(T, D), ids, normal(20, D))
    yield "adam", (normal(D, F), normal(D, F), normal(D, F), normal(D, F) ** 2, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3)
    yield "squared_norm", (normal(T, D),)
    yield "squared_norm", (normal(T, D), 2.0)


def examples_of_narrow_products(dtype, seed: int = 0, lengths=(3, 8, 1)):
    """Skinny products: few columns of the weight, and few rows; forward and dx."""
    normal, T = _normal(dtype, np.random.default_rng(seed)), sum(lengths)
    yield "matmul", (normal(T, 32), normal(32, 3), normal(3))
    yield "matmul", (normal(T, 3), normal(3, 32), normal(32))
    yield "matmul_dx", (normal(T, 3), normal(32, 3))


def examples_of_attention(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_heads: int = 2):
    """Queries of every token, without and with dropout; and of the first token of each sequence alone.

    The backward's lse is the reference's, so that an example of it needs no other kernel.
    """
    normal = _normal(dtype, np.random.default_rng(seed))
    T, D = sum(lengths), size
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    q, k, v = normal(T, D), normal(T, D), normal(T, D)
    for dropout in (None, DROPOUT):
        yield "attention", (q, k, v, offsets, offsets, n_heads, dropout)
        lse = reference.attention(q, k, v, offsets, offsets, n_heads, dropout)[1]
        yield "attention_backward", (normal(T, D), q, k, v, lse, offsets, offsets, dropout)
    first, one_each = q[offsets[:-1]], np.arange(len(lengths) + 1, dtype=np.int64)
    yield "attention", (first, k, v, one_each, offsets, n_heads)
    lse = reference.attention(first, k, v, one_each, offsets, n_heads)[1]
    yield "attention_backward", (normal(*first.shape), first, k, v, lse, one_each, offsets)


def _normal(dtype, rng):
    return lambda *shape: rng.standard_normal(shape).astype(dtype)
