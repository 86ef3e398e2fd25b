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
