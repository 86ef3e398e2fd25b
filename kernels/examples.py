"""One small call of every operation: what `warm_up` compiles, what the tests compare, a first look at the shapes."""

from __future__ import annotations

import sys
import time

import numpy as np
from tqdm import tqdm

import kernels

KEY = (np.uint32(1), np.uint32(2))


def examples(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_out: int = 12, n_heads: int = 2):
    """Yield (name of the operation, its arguments); what it changes in place is among the arguments.

    The batch has sequences of the given lengths, D = size, and weights (size, n_out).
    """
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    T, D, F = sum(lengths), size, n_out
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids, segments, positions = (rng.integers(0, n, T).astype(np.int32) for n in (20, 2, max(lengths)))
    yield "matmul", (normal(T, D), normal(D, F), normal(F))
    yield "matmul", (normal(T, D), normal(D, 2), normal(2))  # too few columns for a tile
    yield "matmul_dx", (normal(T, F), normal(D, F))
    yield "matmul_dw", (normal(T, D), normal(T, F), normal(D, F))
    yield "bias_db", (normal(T, F), normal(F))
    for name in ("gelu", "gelu_tanh", "relu", "tanh", "swish"):
        yield name, (2 * normal(T, F),)
        yield f"{name}_backward", (normal(T, F), 2 * normal(T, F))
    yield "layernorm", (normal(T, D), normal(T, D), normal(D), normal(D), 1e-12)
    yield "layernorm", (normal(T, D), None, normal(D), normal(D), 1e-12)
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D))
    yield "layernorm_dgamma_dbeta", (normal(T, D), normal(T, D), normal(D), normal(D))
    q, k, v = normal(T, D), normal(T, D), normal(T, D)
    for rate in (0.0, 0.25):
        yield "attention", (q, k, v, offsets, offsets, n_heads, rate, KEY)
        log_sum = kernels.attention(q, k, v, offsets, offsets, n_heads, rate, KEY)[1]
        yield "attention_backward", (normal(T, D), q, k, v, log_sum, offsets, offsets, rate, KEY)
    first, one_each = q[offsets[:-1]], np.arange(len(lengths) + 1)
    yield "attention", (first, k, v, one_each, offsets, n_heads)
    log_sum = kernels.attention(first, k, v, one_each, offsets, n_heads)[1]
    yield "attention_backward", (normal(*first.shape), first, k, v, log_sum, one_each, offsets)
    yield "softmax_cross_entropy", (normal(T, 3), rng.integers(0, 3, T))
    yield "embedding", (ids, segments, positions, normal(20, D), normal(2, D), normal(max(lengths), D))
    yield "embedding_backward", (normal(T, D), ids, normal(20, D))
    yield "dropout", (normal(T, D), 0.25, KEY)
    yield "adam", (normal(D, F), normal(D, F), normal(D, F), normal(D, F) ** 2, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3)
    yield "squared_norm", (normal(T, D),)


def warm_up(dtype=np.float32, between=lambda: None) -> float:
    """Compile every kernel for dtype, or load it from the cache. Returns the seconds; says so if anything was
    compiled. between() is called between two kernels, and may raise to end it: Numba's compiler itself cannot be
    interrupted without harm."""
    if kernels.BACKEND != "numba":
        return 0.0
    from ._compile import KERNELS, LISTENER

    start, compiled_before = time.perf_counter(), LISTENER.compiled
    with tqdm(total=len(KERNELS), unit="kernel", leave=False, disable=True if not sys.stderr.isatty() else None) as bar:
        for name, arguments in examples(dtype):
            getattr(kernels, name)(*arguments)
            bar.update(LISTENER.compiled - compiled_before - bar.n)
            between()
    seconds = time.perf_counter() - start
    if LISTENER.compiled > compiled_before:
        print(f"compiled {LISTENER.compiled - compiled_before} kernels in {seconds:.0f} s", file=sys.stderr)
    return seconds
