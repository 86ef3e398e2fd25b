"""Checks of shapes and dtypes. Kernels do not check bounds: with a wrong shape they would read other memory."""

from __future__ import annotations


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


def check_heads(q, n_heads) -> None:
    """Raise ValueError unless the columns of q can be divided among the heads."""
    if q.shape[1] % n_heads:
        raise ValueError(f"{q.shape[1]} features a token cannot be shared out over {n_heads} heads")
