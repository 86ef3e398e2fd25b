"""The operations a Transformer is made of, forward and backward. Arrays in, arrays out; nothing here knows of BERT.

Some write over an array that nobody needs any more (dropout, LayerNorm, activations), and say so; all others leave what
they are given as it is, but for gradients that they add to.

Each stands twice, under the same name: as a Numba kernel in a file of its own, and as plain NumPy in reference.py.
The environment variable MINIBERT_KERNELS chooses: "numba" (the default) or "numpy". Two more change the matrix products
alone: with "fma" they are sums of multiply-adds even where the processor has a matrix unit (amx.py), and with "blas"
NumPy's BLAS computes them.
"""

import os

BACKEND = os.environ.get("MINIBERT_KERNELS", "numba")
COMPILED = BACKEND in ("numba", "fma", "blas")  # kernels of Numba are used

if BACKEND == "numpy":
    from .reference import *  # noqa: F403
elif COMPILED:
    from .activations import gelu, gelu_tanh, relu, swish, tanh  # noqa: F401
    from .adam import adam, squared_norm  # noqa: F401
    from .dropout import dropout  # noqa: F401
    from .embedding import embedding, embedding_backward  # noqa: F401
    from .engine.attention import attention, attention_backward  # noqa: F401
    from .engine.gemm import (  # noqa: F401
        matmul,
        matmul_backward,
        matmul_dw,
        matmul_dx,
        matmul_dx_each,
        matmul_each,
        matmul_gelu,
        prepare,
        prepare_each,
    )
    from .engine.sums import bias_db  # noqa: F401
    from .layernorm import layernorm, layernorm_backward  # noqa: F401
    from .softmax import softmax_cross_entropy  # noqa: F401
else:
    raise ImportError(f"MINIBERT_KERNELS must be numba, fma, blas or numpy, got {BACKEND!r}")


def use_threads(n: int) -> None:
    """From now on kernels run on n threads."""
    from .runtime import threads

    threads.use_threads(n)


def compile_for(purpose: str = "train", between=lambda: None) -> None:
    """Load the kernels that a purpose needs, compiled first where the cache does not have them.

    purpose: "train", "predict" (forward alone) or "gradcheck" (float64). between() is called between two kernels; what
    it raises ends the compilation.
    """
    from .runtime import examples

    examples.warm_up({"train": "float32", "predict": "float32", "gradcheck": "float64"}[purpose], between)


def environment() -> dict:
    """How the kernels are compiled and run. Compiles them if need be: the threading layer is not known before.

    Keys: kernels (MINIBERT_KERNELS), blas (name and version); and if they are compiled: threads, most_threads,
    threading_layer, vector_bits (0: not known), amx, cache (folder), cache_bytes, cache_is_kept.
    """
    from .engine import blas

    found = {"kernels": BACKEND, "blas": blas.library()}
    if not COMPILED:
        return found
    import numba

    from .engine import amx
    from .runtime import compiling

    compile_for("predict")
    files = [file for file in compiling.CACHE_FOLDER.rglob("*") if file.is_file()]
    return found | {
        "threads": numba.get_num_threads(),
        "most_threads": numba.config.NUMBA_NUM_THREADS,
        "threading_layer": numba.threading_layer(),
        "vector_bits": compiling.vector_bits(),
        "amx": amx.ALLOWED,
        "cache": str(compiling.CACHE_FOLDER),
        "cache_bytes": sum(file.stat().st_size for file in files),
        "cache_is_kept": compiling.CACHE_IS_KEPT,
    }
