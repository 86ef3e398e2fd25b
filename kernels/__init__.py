"""The operations a Transformer is made of, forward and backward. Arrays in, arrays out; nothing here knows of BERT.

This file is the only door: whatever is used outside stands here by name. Functions return new arrays and leave their
arguments as they are, but for gradients that they add to (dW, db, dgamma, dbeta), for those that `squared_norm` clips,
and for what `adam` moves.

Operations stand twice, under the same name: as NumPy in reference.py, the formula, and as a Numba kernel in a file of
its own. Products and attention stand a third time, in engine/, at the machine's limit. (ReLU, tanh and swish, which
only a bottleneck may have, are the reference's everywhere.) The environment variable MINIBERT_KERNELS chooses:

    numpy   reference.py: to read, and to step through in a debugger
    plain   the readable Numba kernels: matmul.py, attention.py, layernorm.py, ...
    numba   the default: as plain, with products and attention of engine/
    fma     as numba, but without AMX tiles even where the processor has them
    blas    as numba, but NumPy's BLAS computes the products
"""

import contextlib
import os

from .runtime.pool import lay_out
from .runtime.settings import check_numba
from .runtime.turns import one_at_a_time

BACKEND = os.environ.get("MINIBERT_KERNELS", "numba")
COMPILED = BACKEND in ("plain", "numba", "fma", "blas")  # kernels of Numba are used
_compiled = set()  # (dtype, purpose) whose kernels this process has found in the cache

if BACKEND == "numpy":
    from .reference import *  # noqa: F403
elif COMPILED:
    check_numba(BACKEND)
    from .activations import gelu, gelu_tanh
    from .adam import adam, squared_norm

    # The plain forms first, whatever is chosen: to import kernels.matmul later would put that module in its place here.
    from .attention import attention, attention_backward
    from .dropout import dropout
    from .embedding import embedding, embedding_backward
    from .layernorm import layernorm, layernorm_backward
    from .matmul import (
        bias_db,
        freeze,
        freeze_each,
        matmul,
        matmul_backward,
        matmul_dw,
        matmul_dx,
        matmul_dx_each,
        matmul_each,
        matmul_gelu,
    )
    from .reference import relu, swish, tanh
    from .softmax import softmax_cross_entropy

    if BACKEND != "plain":
        from .engine.attention import attention, attention_backward
        from .engine.gemm import (
            freeze,
            freeze_each,
            matmul,
            matmul_backward,
            matmul_dw,
            matmul_dx,
            matmul_dx_each,
            matmul_each,
            matmul_gelu,
        )
        from .engine.sums import bias_db
else:
    raise ImportError(f"MINIBERT_KERNELS must be numpy, plain, numba, fma or blas, got {BACKEND!r}")


def use_threads(n: int) -> None:
    """From now on kernels run on at most n threads: those of this Python thread, and of all that chose no number."""
    from .runtime import threads as settings

    settings.use_threads(n)


def threads() -> int:
    """On how many threads kernels run at most; small work runs on one. (Numba knows how many were used last.)"""
    if not COMPILED:
        return 1
    from .runtime.threads import most_threads

    return most_threads()


def ensure_compiled(dtype="float32", purpose: str = "train") -> None:
    """Compile the kernels that a purpose needs, "predict" or "train", if the cache does not have them yet."""
    if COMPILED and (dtype, purpose) not in _compiled:  # it is asked for before every pass
        from .runtime import warm_up

        with one_at_a_time():
            warm_up.ensure_compiled(dtype, purpose)
        _compiled.add((dtype, purpose))


@contextlib.contextmanager
def computing(dtype="float32", purpose: str = "predict"):
    """For a pass, "predict" (forward alone) or "train": its kernels are compiled first, if the cache does not have them
    yet; and meanwhile no other Python thread computes."""
    ensure_compiled(dtype, purpose)
    with one_at_a_time():
        yield


def compile_for(purpose: str = "train", between=lambda: None) -> None:
    """Load the kernels that a purpose needs, compiled first where the cache does not have them.

    purpose: "train", "predict" (forward alone) or "gradcheck" (float64). between() is called between two kernels; what
    it raises ends the compilation.
    """
    if not COMPILED:
        return
    from .runtime import warm_up

    with one_at_a_time():
        if purpose == "gradcheck":
            warm_up.warm_up("float64", "train", between)
        else:
            warm_up.warm_up("float32", purpose, between)


def arithmetic() -> str:
    """What the last bits of results depend on, in words: "numba, 512 bits, FMA, AMX". Two machines on which it is the
    same, with the same versions of NumPy and Numba, give the same bits; but for NumPy's BLAS ("numpy", "blas"), which
    goes by the processor and the threads, too."""
    parts = [BACKEND]
    if BACKEND in ("numpy", "blas"):
        from .engine import blas

        parts.append(blas.library())
    if COMPILED:
        from .engine import amx
        from .runtime import compiling

        parts.append(f"{compiling.vector_bits()} bits")
        parts += ["FMA"] if compiling.has_fma() else []
        parts += ["AMX"] if BACKEND == "numba" and amx.ALLOWED else []
    return ", ".join(parts)


def environment() -> dict:
    """How the kernels are compiled and run. Compiles them if need be: the threading layer is not known before.

    Keys: kernels (MINIBERT_KERNELS), blas (name and version); and if they are compiled: threads, most_threads,
    threading_layer, vector_bits (0: not known), fma, amx, cache (folder), cache_bytes, cache_is_kept, old_cache: the
    folders, with their bytes, that other versions have left (see `clean_cache`).
    """
    from .engine import blas

    found = {"kernels": BACKEND, "blas": blas.library()}
    if not COMPILED:
        return found
    import numba

    from .engine import amx
    from .runtime import compiling, old_cache, sealed

    compile_for("predict")
    files = [file for file in compiling.CACHE_FOLDER.rglob("*") if file.is_file()]
    return found | {
        "threads": threads(),
        "most_threads": numba.config.NUMBA_NUM_THREADS,
        "threading_layer": numba.threading_layer(),
        "vector_bits": compiling.vector_bits(),
        "fma": compiling.has_fma(),
        "amx": amx.ALLOWED,
        "cache": str(compiling.CACHE_FOLDER),
        "cache_bytes": sum(file.stat().st_size for file in files),
        "cache_is_kept": compiling.CACHE_IS_KEPT and sealed.all_were_kept(),
        "old_cache": old_cache.old_folders(compiling.KERNELS),
    }


def clean_cache() -> int:
    """Remove what other versions of the kernels have left in the cache: folders that this one, on this machine and with
    these settings, does not use, written at least a day ago. Returns the bytes that are free now."""
    if not COMPILED:
        return 0
    from .runtime import compiling, old_cache

    return old_cache.remove(old_cache.old_folders(compiling.KERNELS))
