"""One small call of every operation: what `warm_up` compiles, what the tests compare, a first look at the shapes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

import kernels

DROPOUT = (0.25, (np.uint32(1), np.uint32(2)))  # rate and key


def examples(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_out: int = 12, n_heads: int = 2):
    """Yield (name of the operation, its arguments); what it changes in place is among the arguments.

    The batch has sequences of the given lengths, D = size, and weights (size, n_out).
    """
    yield from examples_of_layers(dtype, seed, lengths, size, n_out)
    yield from examples_of_narrow_products(dtype, seed, lengths)
    yield from examples_of_attention(dtype, seed, lengths, size, n_heads)


def examples_of_layers(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_out: int = 12):
    """All operations but attention and narrow products."""
    normal = _normal(dtype, rng := np.random.default_rng(seed))
    T, D, F = sum(lengths), size, n_out
    ids, segments, positions = (rng.integers(0, n, T).astype(np.int32) for n in (20, 2, max(lengths)))
    yield "matmul", (normal(T, D), normal(D, F), normal(F))
    yield "matmul", (normal(T, D), normal(D, 2), normal(2))  # too few columns for a strip
    yield "matmul", (normal(T, D), normal(D, 450), normal(450))  # a wide strip, a narrow one, and two columns more
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
    for name in ("gelu", "gelu_tanh", "relu", "tanh", "swish"):
        yield name, (2 * normal(T, F),)
    yield "layernorm", (normal(T, D), normal(T, D), normal(D), normal(D), 1e-12)
    yield "layernorm", (normal(T, D), None, normal(D), normal(D), 1e-12)
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D))
    yield "layernorm_backward", (normal(T, D), normal(T, D), 1 + normal(T) ** 2, normal(D), normal(D), normal(D))
    yield "softmax_cross_entropy", (normal(T, 3), rng.integers(0, 3, T))
    yield "embedding", (ids, segments, positions, normal(20, D), normal(2, D), normal(max(lengths), D))
    yield "embedding_backward", (normal(T, D), ids, normal(20, D))
    yield "dropout", (normal(T, D), DROPOUT)
    yield "adam", (normal(D, F), normal(D, F), normal(D, F), normal(D, F) ** 2, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3)
    yield "squared_norm", (normal(T, D),)
    yield "squared_norm", (normal(T, D), 2.0)


def examples_of_narrow_products(dtype, seed: int = 0, lengths=(3, 8, 1)):
    """Few columns of the weight, and few rows, forward and dx."""
    normal, T = _normal(dtype, np.random.default_rng(seed)), sum(lengths)
    yield "matmul", (normal(T, 32), normal(32, 3), normal(3))
    yield "matmul", (normal(T, 3), normal(3, 32), normal(32))
    yield "matmul_dx", (normal(T, 3), normal(32, 3))


def examples_of_attention(dtype, seed: int = 0, lengths=(3, 8, 1), size: int = 8, n_heads: int = 2):
    """Every token asks, without and with dropout; and the first token of each sequence alone."""
    normal = _normal(dtype, np.random.default_rng(seed))
    T, D = sum(lengths), size
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    q, k, v = normal(T, D), normal(T, D), normal(T, D)
    for dropout in (None, DROPOUT):
        yield "attention", (q, k, v, offsets, offsets, n_heads, dropout)
        lse = kernels.attention(q, k, v, offsets, offsets, n_heads, dropout)[1]
        yield "attention_backward", (normal(T, D), q, k, v, lse, offsets, offsets, dropout)
    first, one_each = q[offsets[:-1]], np.arange(len(lengths) + 1)
    yield "attention", (first, k, v, one_each, offsets, n_heads)
    lse = kernels.attention(first, k, v, one_each, offsets, n_heads)[1]
    yield "attention_backward", (normal(*first.shape), first, k, v, lse, one_each, offsets)


def _normal(dtype, rng):
    return lambda *shape: rng.standard_normal(shape).astype(dtype)


# What two processes compile at once. No kernel is in both, as Numba keeps one index for each, and does not lock it.
SHARES = {
    "layers": examples_of_layers,
    "others": lambda dtype: chain(examples_of_attention(dtype), examples_of_narrow_products(dtype)),
}


def warm_up(dtype=np.float32, between=lambda: None) -> None:
    """Load every kernel for dtype, compiled first where the cache does not have it. between() is called between two."""
    ensure_compiled(dtype, between)
    if kernels.COMPILED:
        for name, arguments in examples(dtype):
            getattr(kernels, name)(*arguments)
            between()


def ensure_compiled(dtype=np.float32, between=lambda: None) -> None:
    """Fill the kernel cache for dtype if it is not filled yet, by two processes of their own, and show progress.

    between() is called ten times a second; what it raises ends the two.

    Numba optimizes a parallel kernel once more when it writes it to the cache, so the process that compiles it computes
    with other last bits than every later one. That nobody may see, for the same input must give the same bits: a
    program only ever runs kernels that came from the cache, if its arrays are as everywhere here: in C order, writable.
    """
    if not kernels.COMPILED:
        return
    from .compiling import CACHE_FOLDER, KERNELS, LISTENER

    name = np.dtype(dtype).name
    if (CACHE_FOLDER / f"{name}.complete").exists():
        return
    LISTENER.tell()
    start, before = time.perf_counter(), _indexed(CACHE_FOLDER)
    compilers = []
    try:
        for share in SHARES:
            compilers.append(_start_compiler(name, share, CACHE_FOLDER))
        with tqdm(total=len(KERNELS), unit="kernel", leave=False, disable=None if sys.stderr.isatty() else True) as bar:
            while any(compiler.poll() is None for compiler in compilers):
                time.sleep(0.1)
                between()
                bar.update(_indexed(CACHE_FOLDER) - before - bar.n)
    finally:
        for compiler in compilers:
            compiler.kill()  # only one that still runs, after Ctrl-C; the cache's files are written whole
    codes = {compiler.wait() for compiler in compilers}
    if -signal.SIGINT in codes:
        raise KeyboardInterrupt
    if codes == {0}:
        (CACHE_FOLDER / f"{name}.complete").touch()
        print(f"compiled all kernels in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    else:
        print(f"warning: compiling all kernels ended with {codes}; they are compiled as they are used", file=sys.stderr)


def _indexed(folder: Path) -> int:
    """How many kernels are in the cache: each has one index, for all dtypes."""
    return len(list(folder.rglob("*.nbi")))


def _start_compiler(name: str, share: str, folder: Path) -> subprocess.Popen:
    environment = {"NUMBA_CACHE_DIR": str(folder.parent.parent)}
    if kernels.BACKEND != "fma":  # which has kernels of its own
        environment["MINIBERT_KERNELS"] = "numba"  # all kernels, even if this process needs fewer
    # These kernels, whatever lies in the folder that the program was started in: `-m` would look there first.
    here = str(Path(__file__).parent.parent)
    program = f"import sys; sys.path[:] = [{here!r}, *filter(None, sys.path)]; "
    program += "from kernels.runtime.examples import compile_share; "
    return subprocess.Popen(
        [sys.executable, "-c", program + f"compile_share({name!r}, {share!r})"], env=os.environ | environment
    )


def compile_share(name: str, share: str) -> None:
    """Compile a share of the kernels for the dtype called name into the cache, silently."""
    from .compiling import LISTENER

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a compiler at once
    LISTENER.told = True
    for operation, arguments in SHARES[share](np.dtype(name)):
        getattr(kernels, operation)(*arguments)
