"""float32 products on AMX tiles (amx.py), which multiply bfloat16: each float32 is split into three bfloat16.

A float32 has 24 significant bits, a bfloat16 has 8. So a number is split into x = x0 + x1 + x2: its first 8 bits, the
first 8 bits of the remainder, and the rest. Nothing is lost. Then

    a b = a0 b0 + (a0 b1 + a1 b0) + (a0 b2 + a1 b1 + a2 b0) + ...

and each product on the right is one that AMX computes and sums in float32. The terms that are left out are 2^-23 of
a b on average, which is about float32's own rounding error. Results are as accurate as those of plain float32
products, mostly more. Six products replace one, and AMX does sixteen in the time of one. (Henry, Tang and Heinecke:
Leveraging the bfloat16 Artificial Intelligence Datatype for Higher-Precision Computations, 2019, arXiv 1904.06376.
Intel's MKL calls it float_to_bf16x3.)

Two things differ from plain float32. An infinite number gives NaN, since infinity minus infinity appears in its split.
And numbers below 1e-33 lose their last bits, as those below 1e-38 lose all: AMX takes denormal numbers for zero.

Split numbers are packed in the order in which the micro-kernel reads them. A (R, K) is packed as (R / 16, K / 32,
SPLIT, TILE). B (K, C) is packed in panels of NR = 32 columns, (C / 32, K / 32, 2, SPLIT, TILE).
"""

from __future__ import annotations

import numpy as np

from ..runtime.compiling import allocating_kernel, inlined_kernel, kernel
from .amx import (
    PREFETCH_ROWS,
    SPLIT,
    TILE,
    TILE_K,
    TILE_ROWS,
    load_accumulators,
    multiply_accumulate,
    store_accumulators,
    store_interleaved,
    truncate_to_bf16,
)
from .micro_kernel import aligned_empty
from .vectors import load, store, subtract, transpose_square

MR = NR = 2 * TILE_ROWS  # rows and columns of the micro-tile, which is four tiles of C
SPLIT_TILE = SPLIT * TILE  # bfloat16 elements of a tile of A or B that was split
PANEL_STEP = 2 * SPLIT_TILE  # bfloat16 elements of a panel for TILE_K values of k
STORE_EVERY = 3  # see _micro_kernel


@allocating_kernel
def scratch_tile():
    """Memory for a float32 micro-tile."""
    return aligned_empty(MR * NR, np.float32).reshape(MR, NR)


# ------------------------------------------------------------------------------------------------------------ packing


@kernel
def _split_pair(first, second, out, at):
    """Two vectors, split and interleaved; their three parts lie TILE apart."""
    for _ in range(SPLIT - 1):
        store_interleaved(out, at, first, second)
        first, second = subtract(first, truncate_to_bf16(first)), subtract(second, truncate_to_bf16(second))
        at += TILE
    store_interleaved(out, at, first, second)


@kernel
def _split_row(a, i, k, out, at):
    """a[i, k : k + 32], a row of a tile of A."""
    _split_pair(load(a, (i, k)), load(a, (i, k + TILE_ROWS)), out, at)


@kernel
def _split_tile_of_b(b, k, j, out, at):
    """b[k : k + 32, j : j + 16]"""
    for r in range(TILE_ROWS):
        _split_pair(load(b, (k + r, j)), load(b, (k + TILE_ROWS + r, j)), out, at + r * TILE_K)


@kernel
def copy_padded(x, i, rows, j, columns, out, height, width):
    """out[:height, :width] = x[i : i + rows, j : j + columns], padded with zeros; width is one vector or two."""
    for r in range(rows):
        for c in range(0, width, TILE_ROWS):
            if c + TILE_ROWS <= columns:
                store(out, (r, c), load(x, (i + r, j + c)))
            else:
                out[r, c : c + TILE_ROWS] = 0
                for n in range(c, columns):
                    out[r, n] = x[i + r, j + n]
    out[rows:height, :width] = 0


@kernel
def _transpose_to_tile(x, i, rows, j, columns, out, scratch):
    """out[:16, :32] = x[i : i + rows, j : j + columns].T, padded with zeros; at most 32 rows and 16 columns."""
    if rows < TILE_K or columns < TILE_ROWS:
        copy_padded(x, i, rows, j, columns, scratch, TILE_K, TILE_ROWS)
        x, i, j = scratch, 0, 0
    transpose_square(x, (i, j), out, (0, 0))
    transpose_square(x, (i + TILE_ROWS, j), out, (0, TILE_ROWS))


@kernel
def _transpose_block(x, i, j, out):
    """out = x[i : i + 32, j : j + 32].T"""
    for r in range(0, 2 * TILE_ROWS, TILE_ROWS):
        for c in range(0, 2 * TILE_ROWS, TILE_ROWS):
            transpose_square(x, (i + r, j + c), out, (c, r))


@kernel
def pack_panel(b, transposed, k0, k1, j, scratches, out, at):
    """Rows k0:k1 of b, or of b.T, and NR columns from j on, as a panel at out[at], padded with zeros."""
    block, scratch = scratches
    columns = min(NR, b.shape[0 if transposed else 1] - j)
    for k in range(k0, k1, TILE_K):
        steps = min(TILE_K, k1 - k)
        whole = columns == NR and steps == TILE_K
        if whole and not transposed:
            for half in range(2):
                _split_tile_of_b(b, k, j + half * TILE_ROWS, out, at + half * SPLIT_TILE)
        else:
            if not transposed:
                copy_padded(b, k, steps, j, columns, block, TILE_K, NR)
            elif whole:
                _transpose_block(b, j, k, block)
            else:
                copy_padded(b, j, columns, k, steps, scratch, NR, TILE_K)
                _transpose_block(scratch, 0, 0, block)
            for half in range(2):
                _split_tile_of_b(block, 0, half * TILE_ROWS, out, at + half * SPLIT_TILE)
        at += PANEL_STEP


@kernel
def pack_rows(a, transposed, i0, i1, k0, k1, scratches, out):
    """Rows i0:i1 of a, or of a.T, and columns k0:k1, as tiles of A. Rows of a.T are transposed in registers."""
    n_steps, whole = (k1 - k0 + TILE_K - 1) // TILE_K, 0 if transposed else (k1 - k0) // TILE_K
    block, scratch = scratches
    for i in range(i0, i1, TILE_ROWS):
        rows, at = min(TILE_ROWS, i1 - i), (i - i0) // TILE_ROWS * n_steps * SPLIT_TILE
        for step in range(whole):
            for r in range(rows):
                _split_row(a, i + r, k0 + step * TILE_K, out, at + step * SPLIT_TILE + r * TILE_K)
    for step in range(whole, n_steps):
        k, steps = k0 + step * TILE_K, min(TILE_K, k1 - k0 - step * TILE_K)
        for i in range(i0, i1, TILE_ROWS):
            rows, at = min(TILE_ROWS, i1 - i), ((i - i0) // TILE_ROWS * n_steps + step) * SPLIT_TILE
            if transposed:
                _transpose_to_tile(a, k, steps, i, rows, block, scratch)
            else:
                copy_padded(a, i, rows, k, steps, block, TILE_ROWS, TILE_K)
            for r in range(TILE_ROWS):
                _split_row(block, r, 0, out, at + r * TILE_K)


# ------------------------------------------------------------------------------------------------------- micro-kernel


@inlined_kernel
def micro_kernel(rows, a, a_first, n_steps, panel, c_from, c_to, next_panel, next_c, scratch):
    """A micro-tile: c_to = c_from + A B, of up to MR rows packed from a[a_first] on, and the NR columns of a panel.

    panel: the Strided starts of its n_steps steps of the k loop, TILE_K values of k each. c_from, c_to: the Strided
    starts of rows of C, which are moved in whole tiles. next_panel, next_c: Strided positions to prefetch in each step,
    PREFETCH_LINES cache lines and PREFETCH_ROWS rows. scratch: memory for a tile that is never read.
    """
    if rows > TILE_ROWS:
        _micro_kernel(2, a, a_first, n_steps, panel, c_from, c_to, next_panel, next_c, scratch)
    else:
        _micro_kernel(1, a, a_first, n_steps, panel, c_from, c_to, next_panel, next_c, scratch)


@inlined_kernel
def _micro_kernel(rows, a, a_first, n_steps, panel, c_from, c_to, next_panel, next_c, scratch):
    """The same; rows are now 1 or 2 tiles, as a literal.

    Every third step stores a tile into scratch, only to slow the loads down. Where stores are rare, loads run far ahead
    of the tile products, and the next store costs some 900 cycles. 12 steps take 4,500 cycles, with four stores at
    their end 5,700, and with stores in between 4,500 again.
    """
    load_accumulators(rows, 2, c_from.memory, c_from.first, c_from.stride)
    for step in range(n_steps):
        multiply_accumulate(
            rows,
            2,
            (a, a_first + step * SPLIT_TILE, n_steps * SPLIT_TILE),
            (panel.memory, panel.first + step * panel.stride, SPLIT_TILE),
            (next_panel.memory, next_panel.first + step * next_panel.stride),
            (next_c.memory, next_c.first + step * PREFETCH_ROWS * next_c.stride, next_c.stride),
        )
        if step % STORE_EVERY == 1:
            store_accumulators(1, 1, scratch, 0, 0)
    store_accumulators(rows, 2, c_to.memory, c_to.first, c_to.stride)
