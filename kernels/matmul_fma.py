"""c = a @ b with multiply-adds of vectors, on any processor.

The smallest piece is the tile (tile.py): a few rows of c and a strip of its columns, two vectors wide, summed in
registers. The loops around it keep what it reads in the caches (numbers for AVX-512; 24 rows and half the bytes for
AVX2):

    for each thread's band of rows of c
        for each 56 rows of the band
            for each 384 steps of k: 86 KB of a, which stay in the L2 cache
                for each strip of b: 48 KB, read from the L2 cache, where the tiles before have put it
                    for each tile: sum in registers, then store in c

A product waits for memory in two places, and does not if memory is asked in time. The next strip is fetched into the L2
cache, a line in each step of k, while this one is used: b is as a rule a weight that nobody has touched since the last
training step. And the lines of c in which the next tile will be stored are fetched before this tile begins.

b must first be copied into its strips. a is read as it lies in memory; only of a x.T, whose neighbours in a row lie far
apart, 384 steps of k of a tile's rows are copied to a panel.

Every number of c is summed by one thread, in an order that depends on the shapes alone: not on the number of threads,
not on the other numbers, not on where arrays lie.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import overload

from ._compile import allocating_kernel, kernel, parallel_kernel
from .memory import empty, zeros
from .simd import lanes, load, prefetch_rows, store
from .sums import add_transposed
from .tile import (
    HALF,
    ROWS,
    Places,
    better_turned,
    fill_strips,
    fill_strips_transposed,
    filled_up,
    rows_of_band,
    square_of_zeros,
    tile,
)

BLOCK, DEPTH = 4 * ROWS, 384  # rows and steps of k that a strip is used for
PANEL = 16  # numbers that are copied for a tile's rows; whole vectors, and at least ROWS


def in_strips(b, transposed):
    """The strips of b, or of b.T.   (K, C) -> (strips, K, width)"""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    width = 2 * lanes(b)
    b = np.ascontiguousarray(b)
    strips = empty((-(-n_columns // width), depth, width), b.dtype)
    strips[n_columns // width :] = 0
    _fill_strips(b, transposed, strips)
    return strips


def multiply(a, b, transposed, strips, bias, plus, c):
    """c = a @ b + bias + plus, or a @ b.T;  c is in C order.

    strips, those of b or of b.T, bias (C,) and plus may be None, and plus may be c itself.
    """
    strips = in_strips(b, transposed) if strips is None else strips
    if len(a) < HALF and c.size > 0:  # a batch of one short text: with rows of zeros it fills a tile
        few, c_few = zeros((HALF, len(a.T)), a.dtype), zeros((HALF, c.shape[1]), a.dtype)
        few[: len(a)] = a
        if plus is not None:
            c_few[: len(a)] = plus
        multiply(few, b, transposed, strips, bias, c_few, c_few)
        c[...] = c_few[: len(a)]
        return
    none = c.reshape(-1)[:0]
    bias, plus = none if bias is None else bias, none if plus is None else plus.reshape(-1)
    rows, n_panels = rows_of_band(len(a), HALF), 0 if a.flags.c_contiguous else BLOCK // HALF
    panels = empty((-(-len(a) // rows), n_panels, PANEL * DEPTH), a.dtype)
    _multiply(a, strips, bias, plus, rows, panels, c)


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, all in C order."""
    if better_turned(*dW.shape, 2 * lanes(dW)):
        turned = empty(dW.shape[::-1], dW.dtype)
        multiply(dy.T, x, False, None, None, None, turned)
        add_transposed(turned, dW)
    else:
        multiply(x.T, dy, False, None, None, dW, dW)


@parallel_kernel
def _fill_strips(b, transposed, strips):
    """Each thread fills blocks of 16 rows of the strips; that few of all columns of a strip stay in the L1 cache."""
    depth = strips.shape[1]
    for block in prange((depth + 15) // 16):
        k0, k1 = block * 16, min(block * 16 + 16, depth)
        if transposed:
            fill_strips_transposed(b, 0, k0, k1, strips, square_of_zeros(b))
        else:
            fill_strips(b, 0, b.shape[1], k0, k1, strips)


@parallel_kernel
def _multiply(a, strips, bias, plus, rows, panels, c):
    """c = a @ b + bias + plus; both may have no numbers at all. Each thread owns a band of rows of c."""
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    n_strips, _, width = strips.shape
    so_far, all_strips = c.reshape(-1), strips.reshape(-1)
    start, nothing = filled_up(bias, n_strips * width), filled_up(bias[:0], n_strips * width)
    step = n_columns if plus.size > 0 else 0
    if plus.size == 0:
        plus, start = start, nothing
    for band in prange(len(panels)):
        scratch, packed = _scratch(width, c), panels[band]
        bottom = min(band * rows + rows, n_rows)
        for block in range(band * rows, bottom, BLOCK):
            for k0 in range(0, max(depth, 1), DEPTH):
                k1 = min(k0 + DEPTH, depth)
                for s in range(n_strips):
                    left = s * width
                    if k0 == 0:
                        before, begin = Places(plus, left, step), start[left : left + width]
                    else:
                        before, begin = Places(so_far, left, n_columns), nothing[:width]
                    # The next strip is fetched, a cache line in each step of k.
                    coming = Places(all_strips, ((s + 1) * depth + k0) * width, 64 // strips.itemsize)
                    if s == n_strips - 1:
                        coming = Places(all_strips, 0, 0)
                    end, strip = min(block + BLOCK, bottom), strips[s, k0:k1]
                    _strip_of(c, block, end, left, a, k0, k1, strip, begin, before, s, coming, scratch, packed)


@kernel
def _strip_of(c, block, end, left, a, k0, k1, strip, bias, plus, s, coming, scratch, packed):
    """Rows block:end of a strip of c: plus + bias + a[block:end, k0:k1] @ strip, tile by tile.

    The last tile of all rows is moved back until it fits, and the last strip may be wider than c.
    """
    n_rows, width, wanted = len(a), strip.shape[1], min(strip.shape[1], c.shape[1] - left)
    copies = s == 0 or wanted < width  # there tiles are of another height
    row = block
    while row < end:
        height = ROWS if row + ROWS <= end and wanted == width else HALF
        i, panel = min(row, n_rows - height), packed[(row - block) // HALF]
        before = Places(plus.memory, plus.first + i * plus.step, plus.step)
        # Two tiles fetch all of the next strip, if vectors are as long as cache lines, and then there is no more to do.
        done = (row - block) // ROWS * (k1 - k0)
        ahead = Places(coming.memory, coming.first + done * coming.step, coming.step if done < 2 * (k1 - k0) else 0)
        if height == ROWS:
            prefetch_rows(ROWS, c, (row + ROWS, left))
            _tile(ROWS, a, i, (k0, k1, panel, copies), strip, bias, before, c, i, left, ahead)
        elif i == row and wanted == width:
            _tile(HALF, a, i, (k0, k1, panel, copies), strip, bias, before, c, i, left, ahead)
        else:
            _take_edge(before, wanted, scratch)
            before = Places(scratch.reshape(-1), 0, width)
            _tile(HALF, a, i, (k0, k1, panel, copies), strip, bias, before, scratch, 0, 0, ahead)
            _put_edge(scratch, c, i, left, row - i, wanted)
        row += height


@kernel
def _take_edge(plus, wanted, scratch):
    """What a small tile that hangs over c begins with; the tile goes to this scratch, too."""
    for r in range(HALF):
        for j in range(wanted):
            scratch[r, j] = plus.memory[plus.first + r * plus.step + j]


@kernel
def _put_edge(scratch, c, i, left, skip, wanted):
    """And from there to c what is wanted of it. `skip` rows another tile has computed, and may be added to already."""
    for r in range(skip, HALF):
        for j in range(wanted):
            c[i + r, left + j] = scratch[r, j]


@allocating_kernel
def _scratch(width, like):
    return np.zeros((HALF, width), like.dtype)  # what is left over in memory can be slow to add


def _tile(rows, a, i, part, strip, bias, plus, c, to, left, ahead):
    """The tile of a[i:i+rows, k0:k1]; `rows` written as a number, and part = (k0, k1, panel, is it the first strip?).

    Where a's rows do not lie in a piece (a is x.T, and each step of k another row of x, a page of memory further) that
    is copied to `panel` when the first strip asks, so that its neighbours are close to each other.
    """
    raise TypeError("compiled code only")


@overload(_tile, jit_options={"_nrt": False}, prefer_literal=True)
def _tile_of_layout(rows, a, i, part, strip, bias, plus, c, to, left, ahead):
    if a.layout == "F":
        return _tile_of_panel
    return _tile_in_place


def _tile_in_place(rows, a, i, part, strip, bias, plus, c, to, left, ahead):
    tile(rows, a[i : i + rows, part[0] : part[1]], strip, bias, plus, c, to, left, ahead)


def _tile_of_panel(rows, a, i, part, strip, bias, plus, c, to, left, ahead):
    k0, k1, panel, first = part
    copied = panel[: PANEL * (k1 - k0)].reshape(k1 - k0, PANEL)
    if first:
        _copy_columns(rows, a.T, i, k0, copied)
    tile(rows, copied.T[:rows], strip, bias, plus, c, to, left, ahead)


@kernel
def _copy_columns(rows, x, i, k0, panel):
    """panel[k, r] = x[k0 + k, i + r] for some rows, and for more than that where there are more."""
    for k in range(len(panel)):
        if i + PANEL <= x.shape[1]:
            for r in range(0, PANEL, lanes(panel)):
                store(panel, (k, r), load(x, (k0 + k, i + r)))
        else:
            for r in range(rows):
                panel[k, r] = x[k0 + k, i + r]
