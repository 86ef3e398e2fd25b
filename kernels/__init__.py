"""The operations a Transformer is made of, forward and backward. Arrays in, arrays out; nothing here knows of BERT.

This file is the only door: whatever is used outside stands here by name. Functions return new arrays and leave their
arguments as they are, but for gradients that they add to (dW, db, dgamma, dbeta) and for what the optimizer moves.

Every operation stands at least twice, under the same name: as NumPy in reference.py, the formula, and as a Numba kernel
in a file of its own. Products and attention stand a third time, in engine/, at the machine's limit. The environment
variable MINIBERT_KERNELS chooses:

    numpy   reference.py: to read, and to step through in a debugger
    plain   the readable Numba kernels: matmul.py, attention.py, layernorm.py, ...
    numba   the default: as plain, with products and attention of engine/
    fma     as numba, but without AMX tiles even where the processor has them
    blas    as numba, but NumPy's BLAS computes the products
"""

import os

from .runtime.pool import lay_out

BACKEND = os.environ.get("MINIBERT_KERNELS", "numba")
COMPILED = BACKEND in ("plain", "numba", "fma", "blas")  # kernels of Numba are used

if BACKEND == "numpy":
    from .reference import *  # noqa: F403
elif COMPILED:
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
else:
    raise ImportError(f"MINIBERT_KERNELS must be numpy, plain, numba, fma or blas, got {BACKEND!r}")
