"""c = a @ b in float32 on AMX tiles: packed panels, the call from Python, and how threads share a product.

A b that is frozen was packed before (`pack_panels`). Otherwise each thread packs what it needs of b, as of a: to read
panels that another thread has packed would take longer, as they lie in that thread's caches. The loops that a thread
runs are in amx_loops.py, and the micro-kernel in bf16x3.py.
"""

from __future__ import annotations

from functools import lru_cache
from threading import get_ident

import numpy as np
from numba import prange

from ..activations import gelu_of
from ..dropout import NO_DROPOUT, drop, settings
from ..runtime.compiling import kernel, parallel_kernel
from ..runtime.pool import empty
from ..runtime.threads import n_threads
from .amx import TILE_K, TILE_ROWS, configure_tiles, release_tiles
from .amx_loops import PACKED_A, PACKED_B, Left, Parts, Right, multiply_band
from .bf16x3 import NR, PANEL_STEP, pack_panel, scratch_tile
from .sums import add_rows

WIDER = 3  # columns are shared out if there are so many times as many as rows; see _band
NO_VECTOR, NO_MATRIX, NO_PANELS = np.empty(0, np.float32), np.empty((0, 0), np.float32), np.empty(0, np.uint16)
NO_GRADS = (NO_MATRIX, NO_MATRIX, NO_MATRIX, NO_VECTOR)
KEEP_ALL = settings(NO_DROPOUT)
ONE = (1, 1, 0, 0)  # Parts, as a plain tuple


def pack_panels(b, transposed):
    """b, or b.T, split and packed.   (K, C) -> (C / NR * K / TILE_K * PANEL_STEP,), padded with zeros"""
    b, transposed = _in_c_order(b, transposed)
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    panels = empty(-(-n_columns // NR) * -(-depth // TILE_K) * PANEL_STEP, np.uint16)
    _pack(b, transposed, panels)
    return panels


def multiply(
    a,
    b,
    transposed,
    panels,
    bias,
    residual,
    c,
    act_grad=None,
    grads=NO_GRADS,
    activated=None,
    dropout=KEEP_ALL,
    parts=ONE,
):
    """c = a @ b + bias + residual, or a @ b.T, all float32;  c is in C order.

    panels, those of b or of b.T, bias (C,) and residual may be None, and residual may be c itself. Fused with it:

        act_grad   like c: c is multiplied by it, element by element
        grads      (x, dy, dW, db), in C order: dW += x.T @ dy, db += the sum of dy over its rows; x, dW, db may be None
        activated  becomes gelu(c), and c the derivative there
        dropout    of c: what dropout.settings returns
        parts      several products in one, whose packed weights lie side by side: see gemm.matmul_each

    activated, dropout and parts exclude each other.
    """
    bias = NO_VECTOR if bias is None else bias
    residual, act_grad = NO_MATRIX if residual is None else residual, NO_MATRIX if act_grad is None else act_grad
    activated = NO_MATRIX if activated is None else activated
    if panels is None:
        (b, transposed), panels = _in_c_order(b, transposed), NO_PANELS
    else:
        b = NO_MATRIX
    x, dy, dW, db = grads
    x, dW, db = NO_MATRIX if x is None else x, NO_MATRIX if dW is None else dW, NO_VECTOR if db is None else db
    right, epilogue, grads = (b, transposed, panels), (bias, residual, act_grad, activated), (x, dy, dW, db)
    _multiply(a, right, epilogue, c, grads, dropout, parts, _workspace(n_threads(), get_ident()))


@lru_cache(maxsize=2)  # of one thread, and of all
def _workspace(n_threads: int, python_thread: int) -> np.ndarray:
    """Memory for what each thread packs, the same for all products of a Python thread."""
    return empty(n_threads * (PACKED_A + PACKED_B), np.uint16)


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, all in C order."""
    multiply(NO_MATRIX, NO_MATRIX, False, NO_PANELS, None, None, NO_MATRIX, grads=(x, dy, dW, None))


def _in_c_order(b, transposed):
    if b.flags.c_contiguous:
        return b, transposed
    if b.flags.f_contiguous:
        return b.T, not transposed
    return np.ascontiguousarray(b), transposed


@parallel_kernel
def _pack(b, transposed, panels):
    """Each panel by some thread."""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    n_steps = (depth + TILE_K - 1) // TILE_K
    for p in prange((n_columns + NR - 1) // NR):
        scratches = scratch_tile(), scratch_tile()
        pack_panel(b, transposed, 0, depth, p * NR, scratches, panels, p * n_steps * PANEL_STEP)


@parallel_kernel
def _multiply(a, right, epilogue, c, grads, dropout, parts, workspace):
    """Both products of `multiply`; what is not wanted is an empty array. Each thread owns a band of c, dW and db."""
    (b, transposed, panels), (bias, residual, act_grad, activated), (x, dy, dW, db) = right, epilogue, grads
    threshold, scale, key_low, key_high = dropout
    a_parts, c_parts, steps_before, steps_after = parts
    n_threads, size = workspace.size // (PACKED_A + PACKED_B), PACKED_A + PACKED_B
    for part in prange(n_threads):
        packed = workspace[part * size : part * size + PACKED_A], workspace[part * size + PACKED_A : (part + 1) * size]
        add_rows(dy, db, part, n_threads)
        configure_tiles()
        if c.size > 0:
            width = c_parts * c.shape[1]
            by_columns = width > len(a) * (1 if panels.size == 0 else WIDER)
            rows, columns = _band(len(a), width, part, n_threads, by_columns)
            factors = Left(a, False), Right(b, transposed, panels)
            some = Parts(a_parts, c_parts, steps_before, steps_after)
            multiply_band(*factors, (bias, residual, act_grad), rows, columns, packed, c, some)
            _gelu_and_dropout(rows, columns, activated, (threshold, scale, key_low, key_high), c)
        if dW.size > 0:
            rows, columns = _band(len(dW), dW.shape[1], part, n_threads, dW.shape[1] > len(dW))
            factors = Left(x, True), Right(dy, False, panels[:0])
            multiply_band(*factors, (db[:0], dW, dW[:0]), rows, columns, packed, dW, Parts(1, 1, 0, 0))
        release_tiles()


@kernel
def _gelu_and_dropout(rows, columns, activated, dropout, c):
    """GELU of some rows and columns of c, or their dropout, if it is wanted."""
    drops = dropout[0] > 0
    if activated.size == 0 and not drops:
        return
    flat, width = c.reshape(-1), c.shape[1]
    together = max(rows[1] - rows[0], 1) if columns[1] - columns[0] == width else 1  # whole rows are contiguous
    for i in range(rows[0], rows[1], together):
        first, last = i * width + columns[0], (i + together - 1) * width + columns[1]
        if activated.size > 0:
            gelu_of(flat[first:last], activated.reshape(-1)[first:last])
        if drops:
            drop(flat, first, last, dropout)


@kernel
def _band(n_rows, n_columns, part, n_parts, by_columns):
    """The first and last row and column of a thread's band: some of the rows or of the columns, and all of the others.

    Where both factors are packed, the longer side is shared out, so that the shorter one is what all threads pack.
    Where only a is packed, all threads pack a if columns are shared out, and all load b's panels if rows are. Rows are
    then shared out unless there are few. Columns of several parts of c are counted through.
    """
    if by_columns:
        size = (n_columns + n_parts * NR - 1) // (n_parts * NR) * NR
        return (0, n_rows), (part * size, max(min(part * size + size, n_columns), part * size))
    size = (n_rows + n_parts * TILE_ROWS - 1) // (n_parts * TILE_ROWS) * TILE_ROWS
    first = min(part * size, n_rows)
    return (first, min(first + size, n_rows)), (0, n_columns)
