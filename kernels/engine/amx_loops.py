"""The loops of a product on AMX tiles, around the micro-kernel of bf16x3.py, and the epilogue fused with them.

These are the five loops of GotoBLAS and BLIS (Goto and van de Geijn: Anatomy of High-Performance Matrix Multiplication,
2008; Van Zee and van de Geijn: BLIS, 2015), with the block sizes of `_block_sizes`:

    for each thread's band of c, some of its rows or some of its columns                            (gemm_amx.py)
        for each KC rows of b, a part of the k loop
            for each group of panels of b: pack it, if it is not packed
                for each MC rows of the band: pack them
                    for each panel of the group
                        for each MR rows: the micro-kernel, then the epilogue

Packed elements should stay in the L2 cache until they are used. Packing takes three times as long when they are
evicted, so `_block_sizes` limits how many rows and panels are packed at a time. While the tiles are busy, the next
panel and the next rows of c are prefetched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..runtime.compiling import allocating_kernel, kernel
from .amx import PREFETCH_LINES, PREFETCH_ROWS, TILE_K, TILE_ROWS
from .bf16x3 import MR, NR, PANEL_STEP, SPLIT_TILE, copy_padded, micro_kernel, pack_panel, pack_rows, scratch_tile
from .micro_kernel import Strided, zero_padded
from .vectors import add, load, multiply, prefetch_rows, store

KC, MC, MC_MOST, GROUP = 384, 256, 384, 12  # values of k, rows, and panels; see _block_sizes
PACKED_A = MC_MOST // TILE_ROWS * KC // TILE_K * SPLIT_TILE  # bfloat16 elements that a thread packs at a time
PACKED_B = GROUP * KC // TILE_K * PANEL_STEP


# Numba compiles a function for each set of types it is called with, and a tuple with the literal `True` in it has
# another type than one with `False`. Fields of these have the same type whatever they hold. They are made inside of the
# compiled code: passing one from Python takes a microsecond, a plain tuple a twentieth of that.


class Left(NamedTuple):
    """The left factor: a, or its transpose."""

    a: np.ndarray
    transposed: bool


class Right(NamedTuple):
    """The right factor: b, or its transpose, and its packed panels. If these are empty, b is packed now."""

    b: np.ndarray
    transposed: bool
    panels: np.ndarray


class Parts(NamedTuple):
    """Several products in one: how many parts of a are summed, and how many parts c has, each end to end in memory;
    and how many steps of each panel belong to other parts of a, before and after."""

    of_a: int
    of_c: int
    before: int
    after: int


class Start(NamedTuple):
    """What the accumulators of a block start from: bias, if it has one, otherwise rows of `c` (1-D, may be empty)."""

    bias: np.ndarray
    has_bias: bool
    c: np.ndarray


@allocating_kernel
def multiply_band(left, right, epilogue, rows, columns, packed, c, parts):
    """Some rows and columns of c = (left @ right + bias + residual) act_grad."""
    if rows[0] < rows[1] and columns[0] < columns[1]:
        bias, residual, act_grad = epilogue
        width = (c.shape[1] + NR - 1) // NR * NR * parts.of_c
        biases = zero_padded(bias, width), np.zeros(NR, np.float32), bias.size > 0
        flat = biases, residual.reshape(-1), act_grad.reshape(-1)
        scratches = scratch_tile(), scratch_tile()
        _loops(left, right, flat, rows, columns, packed, scratches, c, parts)


@kernel
def _loops(left, right, epilogue, rows, columns, packed, scratches, c, parts):
    """The loops over k, groups of panels, rows and panels, for a band of c whose columns begin with a panel."""
    (a, a_transposed), (b, b_transposed, panels), (packed_a, packed_b) = left, right, packed
    n_rows, depth = a.shape[::-1] if a_transposed else a.shape
    (bias, zeros, has_bias), residual, act_grad = epilogue
    n_panels, part_steps = (c.shape[1] + NR - 1) // NR, (depth + TILE_K - 1) // TILE_K
    all_steps, is_packed = parts.before + parts.of_a * part_steps + parts.after, panels.size > 0
    first, last = columns[0] // NR, (columns[1] + NR - 1) // NR
    kc, mc, group = _block_sizes(depth, rows[1] - rows[0], last - first, is_packed)
    for part in range(parts.of_a):
        for k0 in range(0, max(depth, 1), kc):
            k1, first_step = min(k0 + kc, depth), parts.before + part * part_steps + k0 // TILE_K
            n_steps, is_first = (k1 - k0 + TILE_K - 1) // TILE_K, part == 0 and k0 == 0
            before = residual if is_first else c.reshape(-1)
            factors = act_grad[: act_grad.size if part == parts.of_a - 1 and k1 >= depth else 0]
            for p0 in range(first, last, group):
                p1 = min(p0 + group, last)
                if is_packed:
                    apart, at = all_steps * PANEL_STEP, (p0 * all_steps + first_step) * PANEL_STEP
                else:
                    apart, at = n_steps * PANEL_STEP, 0
                    for p in range(p0, p1):
                        pack_panel(b, b_transposed, k0, k1, p * NR, scratches, packed_b, (p - p0) * apart)
                for i0 in range(rows[0], rows[1], mc):
                    i1 = min(i0 + mc, rows[1])
                    if p0 == first or mc < rows[1] - rows[0]:
                        a0, a1 = part * n_rows + i0, part * n_rows + i1
                        pack_rows(a, a_transposed, a0, a1, k0, k1, scratches, packed_a)
                    for p in range(p0, p1):
                        row, j = p // n_panels * n_rows, p % n_panels * NR
                        panel = Strided(panels if is_packed else packed_b, at + (p - p0) * apart, PANEL_STEP)
                        following = at + (min(p + 1, p1 - 1) - p0) * apart
                        biases = bias[p * NR : (p + 1) * NR] if is_first else zeros
                        start, block = Start(biases, has_bias and is_first, before), (row + i0, row + i1)
                        _macro_kernel(c, block, j, packed_a, panel, n_steps, start, factors, scratches[0], following)


@kernel
def _block_sizes(depth, n_rows, n_panels, is_packed):
    """KC, MC and the panels of a group.

    A group is all panels if they are packed, one panel if all rows can be packed before, and GROUP panels otherwise. A
    panel of KC values of k takes 74 KB, MC rows take 590 KB, MC_MOST rows 885 KB.
    """
    kc = _balanced(depth, KC, TILE_K)
    if is_packed:
        return kc, _balanced(n_rows, MC, MR), max(n_panels, 1)
    if n_rows <= MC_MOST:
        return kc, max(n_rows, 1), 1
    return kc, _balanced(n_rows, MC, MR), GROUP


@kernel
def _balanced(size, most, unit):
    """How large equal parts of `size` are that are at most `most` large, in whole units."""
    parts = max((size + most - 1) // most, 1)
    return max((size + parts * unit - 1) // (parts * unit), 1) * unit


@kernel
def _macro_kernel(c, rows, j, packed_a, panel, n_steps, start, act_grad, scratch, following):
    """NR columns of c from j on, in some rows, = (start + A B) act_grad, where that is not empty.

    Accumulators start from the bias or from rows of c or the residual; where there are both, the latter are added in
    the epilogue. Whole tiles are moved between the accumulators and memory, all others through scratch. following:
    where the panel that comes next begins.
    """
    (i0, i1), memory, flat_scratch = rows, c.reshape(-1), scratch.reshape(-1)
    columns, width = min(NR, c.shape[1] - j), c.shape[1]
    from_c = start.c.size > 0 and not start.has_bias
    added = start.c[: 0 if from_c else start.c.size]
    direct = columns == NR and added.size == 0 and act_grad.size == 0
    for i in range(i0, i1, MR):
        height, at = min(MR, i1 - i), i * width + j
        ahead = following + (i - i0) // MR * n_steps * PREFETCH_LINES * TILE_K
        next_panel = Strided(panel.memory, ahead, PREFETCH_LINES * TILE_K)
        next_c = Strided(memory, at + MR * width if i + MR < i1 else i0 * width + j + NR, width)
        if n_steps * PREFETCH_ROWS < MR and columns == NR:  # too few steps to prefetch all rows of the next tile
            prefetch_rows(TILE_ROWS, c, (i, j))
            prefetch_rows(TILE_ROWS, c, (i + TILE_ROWS, j))
        whole = direct and height % TILE_ROWS == 0
        c_to = Strided(memory, at, width) if whole else Strided(flat_scratch, 0, NR)
        if from_c and not whole:
            copy_padded(start.c.reshape(c.shape), i, height, j, columns, scratch, MR, NR)
        before = start.c if whole else flat_scratch
        c_from = Strided(before, c_to.first, c_to.stride) if from_c else Strided(start.bias, 0, 0)
        a_first = (i - i0) // TILE_ROWS * n_steps * SPLIT_TILE
        micro_kernel(height, packed_a, a_first, n_steps, panel, c_from, c_to, next_panel, next_c, flat_scratch)
        if not whole:
            _epilogue(scratch, height, columns, added, act_grad, memory, at, width)


@kernel
def _epilogue(tile, rows, columns, residual, act_grad, memory, first, step):
    """Rows of memory, `step` apart, = (tile + residual) act_grad; both lie as memory does, and may be empty."""
    for r in range(rows):
        at = first + r * step
        for n in range(0, columns, TILE_ROWS):
            if n + TILE_ROWS <= columns:
                row = load(tile, (r, n))
                if residual.size > 0:
                    row = add(row, load(residual, at + n))
                if act_grad.size > 0:
                    row = multiply(row, load(act_grad, at + n))
                store(memory, at + n, row)
            else:
                for k in range(n, columns):
                    element = tile[r, k]
                    if residual.size > 0:
                        element += residual[at + k]
                    if act_grad.size > 0:
                        element *= act_grad[at + k]
                    memory[at + k] = element
