"""c = a @ b with multiply-adds of vectors, on any processor.

The smallest piece is the tile (tile.py): a few rows of c and a strip of its columns, two vectors wide, summed in
registers. The loops around it keep what it reads in the caches (numbers for AVX-512; 24 rows and half the bytes for
AVX2):

    for each thread's band of c, some rows of it or some columns
        for each 384 steps of k
            for each 56 rows of the band: 86 KB of a, which stay in the L2 cache
                for each strip of b: 48 KB, read from the L2 cache, where the tiles before have put it
                    for each tile: sum in registers, then store in c

A product waits for memory in two places, and does not if memory is asked in time. The next strip is fetched into the L2
cache, a line in each step of k, while this one is used: b is as a rule a weight that nobody has touched since the last
training step. And the lines of c in which the next tile will be stored are fetched before this tile begins.

b must first be copied into its strips: a frozen weight once (`pack_panels`), and then 56 rows go through all steps of k
before the next. Any other b each thread copies for itself, 384 steps at a time: strips that another one has written
would have to come from the other's caches, which takes longer. Where there are strips enough for all threads, each has
some columns of c, and no strip is copied twice. a is read as it lies in memory; only of a x.T, whose neighbours in a
row lie far apart, 384 steps of k of a tile's rows are copied to a panel.

Every number of c is summed by one thread, in an order that depends on the shapes alone: not on the number of threads,
not on the other numbers, not on where arrays lie.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import overload

from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import empty, zeros
from ..runtime.threads import n_threads
from .micro_kernel import (
    HALF,
    ROWS,
    Places,
    fill_strips,
    fill_strips_transposed,
    filled_up,
    rows_of_band,
    square_of_zeros,
    tile,
)
from .sums import add_transposed
from .vectors import lanes, load, prefetch_rows, store

BLOCK, DEPTH = 4 * ROWS, 384  # rows and steps of k that a strip is used for
PANEL = 16  # numbers that are copied for a tile's rows; whole vectors, and at least ROWS


def pack_panels(b, transposed):
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
    if len(a) < HALF and c.size > 0:  # a batch of one short text: with rows of zeros it fills a tile
        few, c_few = zeros((HALF, len(a.T)), a.dtype), zeros((HALF, c.shape[1]), a.dtype)
        few[: len(a)] = a
        if plus is not None:
            c_few[: len(a)] = plus
        multiply(few, b, transposed, strips, bias, c_few, c_few)
        c[...] = c_few[: len(a)]
        return
    none, width = c.reshape(-1)[:0], 2 * lanes(c)
    bias, plus = none if bias is None else bias, none if plus is None else plus.reshape(-1)
    n_strips, threads, is_fresh = -(-c.shape[1] // width), n_threads(), strips is None
    by_columns = is_fresh and (n_strips % threads == 0 or n_strips >= 4 * threads)  # about as many for each
    by_columns &= a.flags.c_contiguous or c.shape[1] > len(a)  # panels of a are then copied by each thread
    rows = max(len(a), 1) if by_columns else rows_of_band(len(a), HALF)
    n_parts, n_own = (threads, -(-n_strips // threads)) if by_columns else (-(-len(a) // rows), n_strips)
    if is_fresh:
        b, strips = np.ascontiguousarray(b), np.empty((0, 0, width), c.dtype)
        fresh = empty((n_parts, n_own, min(a.shape[1], DEPTH), width), c.dtype)
    else:
        b, fresh = c, np.empty((n_parts, 0, 0, width), c.dtype)  # b is not read: any matrix will do
    panels = empty((n_parts, 0 if a.flags.c_contiguous else BLOCK // HALF, PANEL * DEPTH), a.dtype)
    _multiply(a, b, transposed, strips, bias, plus, rows, by_columns, fresh, panels, c)


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, all in C order."""
    if dW.shape[1] < 2 * lanes(dW) <= len(dW):  # a strip would be half empty, but not of dW.T = dy.T @ x
        turned = empty(dW.shape[::-1], dW.dtype)
        multiply(dy.T, x, False, None, None, None, turned)
        add_transposed(turned, dW)
    else:
        multiply(x.T, dy, False, None, None, dW, dW)


@parallel_kernel
def _fill_strips(b, transposed, strips):
    """Each thread fills some steps of all strips."""
    depth, n_columns = strips.shape[1], b.shape[0 if transposed else 1]
    for block in prange((depth + 15) // 16):
        k0, k1 = block * 16, min(block * 16 + 16, depth)
        _fill(b, transposed, 0, n_columns, k0, k1, strips[:, k0:k1], square_of_zeros(b))


@parallel_kernel
def _multiply(a, b, transposed, strips, bias, plus, rows, by_columns, fresh, panels, c):
    """c = a @ b + bias + plus; both may have no numbers at all. Each thread owns some rows of c, or some strips."""
    n_rows, n_columns, width = len(a), c.shape[1], strips.shape[2]
    n_strips = (n_columns + width - 1) // width
    start, nothing = filled_up(bias, n_strips * width), filled_up(bias[:0], n_strips * width)
    step = n_columns if plus.size > 0 else 0
    if plus.size == 0:
        plus, start = start, nothing
    for part in prange(len(panels)):
        band = part * rows, min(part * rows + rows, n_rows)
        own = 0, n_strips
        if by_columns:
            band, own = (0, n_rows), (part * n_strips // len(panels), (part + 1) * n_strips // len(panels))
        begin, memory = (start, nothing, plus, step), (fresh[part], panels[part], _scratch(width, c))
        _part_of_c(a, b, transposed, strips, begin, band, own, memory, c)


@allocating_kernel
def _part_of_c(a, b, transposed, strips, begin, band, own, memory, c):
    """Some rows and strips of c. If b is not in strips, those that are wanted are filled on the way."""
    (start, nothing, plus, step), (fresh, panels, scratch), so_far = begin, memory, c.reshape(-1)
    depth, n_columns, width, all_strips = a.shape[1], c.shape[1], strips.shape[2], strips.reshape(-1)
    is_fresh, spare = fresh.size > 0, square_of_zeros(c)
    if is_fresh and n_columns < own[1] * width:
        fresh[own[1] - own[0] - 1] = 0
    together = max(band[1] - band[0], 1) if is_fresh else BLOCK
    for top in range(band[0], band[1], together):
        for k0 in range(0, max(depth, 1), DEPTH):
            k1 = min(k0 + DEPTH, depth)
            if is_fresh:
                _fill(b, transposed, own[0] * width, min(own[1] * width, n_columns), k0, k1, fresh, spare)
            for block in range(top, min(top + together, band[1]), BLOCK):
                end = min(block + BLOCK, band[1])
                for s in range(own[0], own[1]):
                    left = s * width
                    if k0 == 0:
                        before, first = Places(plus, left, step), start[left : left + width]
                    else:
                        before, first = Places(so_far, left, n_columns), nothing[:width]
                    # The next strip is fetched, a cache line in each step of k.
                    coming = Places(all_strips, ((s + 1) * depth + k0) * width, 64 // c.itemsize)
                    if is_fresh or s == own[1] - 1:
                        coming = Places(all_strips, 0, 0)
                    strip = fresh[s - own[0], : k1 - k0] if is_fresh else strips[s, k0:k1]
                    copies = s == own[0]
                    _strip_of(c, block, end, left, a, k0, k1, strip, first, before, copies, coming, scratch, panels)


@kernel
def _fill(b, transposed, first, last, k0, k1, strips, spare):
    """Steps k0:k1 and columns first:last of b, or of b.T, into strips; 16 steps of all columns stay in the L1 cache."""
    for k in range(0, k1 - k0, 16):
        end = min(k + 16, k1 - k0)
        if transposed:
            fill_strips_transposed(b[first:last], k0, k, end, strips, spare)
        else:
            fill_strips(b[k0:k1], first, last - first, k, end, strips)


@kernel
def _strip_of(c, block, end, left, a, k0, k1, strip, bias, plus, copies, coming, scratch, panels):
    """Rows block:end of a strip of c: plus + bias + a[block:end, k0:k1] @ strip, tile by tile.

    The last tile of all rows is moved back until it fits, and the last strip may be wider than c.
    """
    n_rows, width, wanted = len(a), strip.shape[1], min(strip.shape[1], c.shape[1] - left)
    copies = copies or wanted < width  # there tiles are of another height
    row = block
    while row < end:
        height = ROWS if row + ROWS <= end and wanted == width else HALF
        i, panel = min(row, n_rows - height), panels[(row - block) // HALF]
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
