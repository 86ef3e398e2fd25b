"""Checks of shapes, dtypes and indices. Kernels do not check bounds: with a wrong shape, or an index outside of its
table, they would read or write other memory."""

from __future__ import annotations

import numpy as np

from .compiling import serial_kernel


def check_shapes(operation: str, dtype, arrays, shapes) -> None:
    """Raise ValueError unless every array has its shape and the dtype; arrays may be None. It must be quick: it runs
    before every kernel."""
    for array, shape in zip(arrays, shapes, strict=True):
        if array is not None and (array.shape != shape or (array.dtype is not dtype and array.dtype != dtype)):
            given = [None if a is None else f"{a.dtype}{a.shape}" for a in arrays]
            expected = [f"{np.dtype(dtype)}{s}" for s in shapes]
            raise ValueError(f"{operation}: arguments {given} do not fit, expected {expected}")


def check_rows(operation: str, name: str, index, n_rows: int) -> None:
    """Raise IndexError unless every element of index is the number of a row."""
    if index.size and not 0 <= index.min() <= index.max() < n_rows:
        raise IndexError(f"{operation}: {name} go from {index.min()} to {index.max()}; rows are 0 to {n_rows - 1}")


def check_product(a, b, transposed, bias, residual, act_grad, c) -> None:
    """Raise ValueError unless c = (a @ b + bias + residual) act_grad, or a @ b.T if transposed, fits.

    bias, residual and act_grad may be None.
    """
    shape, dtype = c.shape, c.dtype
    fits = a.shape[1] == b.shape[transposed] and (bias is None or bias.shape == shape[1:])
    same = (residual is None or residual.shape == shape) and (act_grad is None or act_grad.shape == shape)
    if not (fits and same):
        others = "".join(f", and {x.shape} beside it" for x in (bias, residual, act_grad) if x is not None)
        b = b.T if transposed else b
        raise ValueError(f"a product of {a.shape} and {b.shape}{others}: the shapes do not fit")
    if a.dtype is b.dtype is dtype and residual is None and act_grad is None and (bias is None or bias.dtype is dtype):
        return  # most products, checked in half the time
    for x in (a, b, bias, residual, act_grad):
        if x is not None and x.dtype is not dtype and x.dtype != dtype:
            raise ValueError(f"a product of {a.dtype} and {x.dtype}: all arrays must have one dtype")


def check_dw(x, dy, dW) -> None:
    """Raise ValueError unless dW += x.T @ dy fits, and rows of dW are contiguous."""
    if len(x) != len(dy) or dW.shape != (x.shape[1], dy.shape[1]):
        raise ValueError(f"dW of shape {dW.shape} for a product of {x.T.shape} and {dy.shape}: the shapes do not fit")
    if not x.dtype == dy.dtype == dW.dtype:
        raise ValueError(f"a product of {x.dtype} and {dy.dtype} for {dW.dtype}: all arrays must have one dtype")
    if dW.strides[1] != dW.itemsize:
        raise ValueError(f"dW must be in C order, got shape {dW.shape} with strides {dW.strides}")


def check_attention(q, k, v, offsets_q, offsets_kv, n_heads) -> None:
    """Raise ValueError unless q (R, D), k and v (T, D) and both offsets fit, and D can be divided among the heads."""
    if q.shape[1] % n_heads:
        raise ValueError(f"{q.shape[1]} features a token cannot be shared out over {n_heads} heads")
    check_shapes("attention", q.dtype, (k, v), ((len(k), q.shape[1]), k.shape))
    if not _offsets_fit(offsets_q, offsets_kv, len(q), len(k)):
        wanted = f"offsets_q must go up from 0 to {len(q)}, offsets_kv from 0 to {len(k)}, for as many sequences"
        raise ValueError(f"attention: {wanted}; got {offsets_q} and {offsets_kv}")


@serial_kernel
def _offsets_fit(offsets_q, offsets_kv, n_rows, n_keys):
    """Compiled, as it runs before each attention: NumPy would take ten times as long."""
    fit = offsets_q.size == offsets_kv.size and offsets_q[0] == 0 and offsets_kv[0] == 0
    fit = fit and offsets_q[-1] == n_rows and offsets_kv[-1] == n_keys
    for b in range(offsets_q.size - 1 if fit else 0):
        fit = fit and offsets_q[b] <= offsets_q[b + 1] and offsets_kv[b] <= offsets_kv[b + 1]
    return fit


def check_attention_backward(dcontext, q, k, v, lse, offsets_q, offsets_kv) -> None:
    """The same of its backward: dcontext (R, D), lse (R, H)."""
    check_attention(q, k, v, offsets_q, offsets_kv, lse.shape[1])
    check_shapes("attention_backward", q.dtype, (dcontext, lse), (q.shape, (len(q), lse.shape[1])))
