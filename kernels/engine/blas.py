"""c = a @ b by NumPy's BLAS, for MINIBERT_KERNELS=blas: a library tuned by others, to compare the engine with.

It is a third back end beside gemm_fma.py and gemm_amx.py, with the same functions. The last bits of a BLAS may depend
on the number of threads, and its threads and Numba's get into each other's way: see docs/speed.md.
"""

from __future__ import annotations

import numpy as np


def pack_panels(b, transposed):
    """None: BLAS packs b itself, in every call."""


def multiply(a, b, transposed, panels, bias, residual, c):
    """c = a @ b + bias + residual, or a @ b.T; panels are not used, bias (C,) and residual may be None."""
    np.matmul(a, b.T if transposed else b, out=c)
    for term in (bias, residual):
        if term is not None:
            c += term


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy."""
    dW += np.matmul(x.T, dy)


def library() -> str:
    """Name and version of the BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
