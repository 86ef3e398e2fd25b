"""Matrix products for linear layers: forward, and the two products that backward needs.

Where the processor has a matrix unit, float32 products go there: matmul_amx.py. All others are computed here.

All three are one loop, c = a @ b:

    y  = x @ W + b     a = x (T, I),    b = W   (I, O)
    dx = dy @ W.T      a = dy (T, O),   b = W.T (O, I)
    dW = x.T @ dy      a = x.T (I, T),  b = dy  (T, O)

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

b must first be copied into its strips. A weight that never changes is copied once (`prepare`). a is read as it lies in
memory; only of a x.T, whose neighbours in a row lie far apart, 384 steps of k of a tile's rows are copied to a panel.

Every number of c is summed by one thread, in an order that depends on the shapes alone: not on the number of threads,
not on the other numbers, not on where arrays lie.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange
from numba.extending import overload

from . import amx, matmul_amx
from ._compile import kernel, parallel_kernel
from .memory import empty, zeros
from .simd import lanes, load, prefetch_rows, store
from .tile import HALF, ROWS, Places, fill_strips, fill_strips_transposed, tile

BLOCK, DEPTH = 4 * ROWS, 384  # rows and steps of k that a strip is used for
PANEL = 16  # numbers that are copied for a tile's rows; whole vectors, and at least ROWS


def matmul(x, W, b=None, strips=None, plus=None):
    """y = x @ W + b + plus.   (T, I) @ (I, O) -> (T, O)

    strips: the first of `prepare(W)`, if the caller keeps it. plus (T, O): what is to be added, on the way to memory.
    """
    strips, plus = in_strips(W) if strips is None else strips, _in_rows(plus)
    return _product(x, strips, b, plus, empty((x.shape[0], W.shape[1]), x.dtype))


def matmul_dx(dy, W, strips=None, plus=None):
    """dx = dy @ W.T + plus.   (T, O) @ (O, I) -> (T, I)

    strips: the second of `prepare(W)`, if the caller keeps it. plus (T, I): another gradient of the same x.
    """
    strips = in_strips(W, transposed=True) if strips is None else strips
    return _product(dy, strips, None, _in_rows(plus), empty((dy.shape[0], W.shape[0]), dy.dtype))


def matmul_dw(x, dy, dW):
    """dW += x.T @ dy.   (I, T) @ (T, O) -> (I, O), added into dW

    Raises ValueError if neighbours in a row of dW are not neighbours in memory.
    """
    if dW.shape != (x.shape[1], dy.shape[1]):
        raise ValueError(f"dW of shape {dW.shape} for a product of {x.T.shape} and {dy.shape}: the shapes do not fit")
    if dW.strides[1] != dW.itemsize:
        raise ValueError(f"dW must be in C order, got shape {dW.shape} with strides {dW.strides}")
    rows, columns = dW.shape
    if _on_unit(dW) and dW.flags.c_contiguous:
        flat = rows <= columns // 6  # better narrow strips of x than many of dy for a few rows
        strips, large, c = (x, dy.T, dW.T) if flat else (dy, x.T, dW)
        _product(large, in_strips(strips), None, c, c)
        return
    half_empty = columns < 2 * lanes(dW) <= rows  # a strip would be, but not of dW.T = dy.T @ x
    flat = 2 * lanes(dW) <= rows <= columns // 6  # all of a wide dy would be copied for few tiles
    if half_empty or flat:
        dW += _product(dy.T, in_strips(x), None, None, empty((columns, rows), dW.dtype)).T
    elif dW.flags.c_contiguous:
        _product(x.T, in_strips(dy), None, dW, dW)
    else:  # a part of a wider array
        dW += _product(x.T, in_strips(dy), None, None, empty(dW.shape, dW.dtype))


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)"""
    _sum_rows(dy, db)


def prepare(W):
    """What `matmul` and what `matmul_dx` can use of a W that never changes: the strips of W, and those of W.T."""
    return in_strips(W), in_strips(W, transposed=True)


# ------------------------------------------------------------------------------------------------------------ strips


def in_strips(b, transposed=False):
    """The strips of b, or of b.T.   (K, C) -> (strips, K, width)"""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    width = 2 * lanes(b)
    strips = empty((-(-n_columns // width), depth, width), b.dtype)
    strips[n_columns // width :] = 0
    _fill_strips(b, transposed, strips)
    return strips


@parallel_kernel
def _fill_strips(b, transposed, strips):
    """Each thread fills blocks of 16 rows of the strips; that few of all columns of a strip stay in the L1 cache."""
    depth = strips.shape[1]
    for block in prange((depth + 15) // 16):
        k0, k1 = block * 16, min(block * 16 + 16, depth)
        if transposed:
            fill_strips_transposed(b, 0, k0, k1, strips)
        else:
            fill_strips(b, 0, b.shape[1], k0, k1, strips)


# ----------------------------------------------------------------------------------------------------------- product


def _product(a, strips, bias, plus, c):
    """c = a @ b + bias + plus. bias and plus may be None, and plus may be c itself. Returns c."""
    _check(a, strips.shape[1], strips.dtype, bias, plus, c)
    if _on_unit(c):
        none = c.reshape(-1)[:0]
        bias, plus = none if bias is None else bias, none if plus is None else plus.reshape(-1, order="A")
        matmul_amx.multiply(_one_piece(a), strips, bias, plus, c)
        return c
    return by_multiply_adds(a, strips, bias, plus, c)


def _on_unit(c):
    """Whether products that go to c are the matrix unit's."""
    return amx.ALLOWED and c.dtype == np.float32


def by_multiply_adds(a, strips, bias, plus, c):
    """The same as `_product` without a matrix unit."""
    if len(a) < HALF and c.size > 0:  # a batch of one short text: with rows of zeros it fills a tile
        few, c_few = zeros((HALF, len(a.T)), a.dtype), zeros((HALF, c.shape[1]), a.dtype)
        few[: len(a)] = a
        if plus is not None:
            c_few[: len(a)] = plus
        c[...] = by_multiply_adds(few, strips, bias, c_few, c_few)[: len(a)]
        return c
    none = c.reshape(-1)[:0]
    bias, plus = none if bias is None else bias, none if plus is None else plus.reshape(-1)
    _multiply(_one_piece(a), strips, bias, plus, get_num_threads(), c)
    return c


def _one_piece(a):
    return a if a.flags.c_contiguous or a.flags.f_contiguous else np.ascontiguousarray(a)


def _in_rows(plus):
    return None if plus is None else np.ascontiguousarray(plus)


def _check(a, depth, dtype, bias, plus, c):
    """Kernels do not check bounds: a shape that does not fit would be whatever memory lies there."""
    added = {x.shape: fits for x, fits in ((bias, c.shape[1:]), (plus, c.shape)) if x is not None}
    if a.shape[1] != depth or any(shape != fits for shape, fits in added.items()):
        and_added = "".join(f", to which {shape} is added" for shape in added)
        raise ValueError(f"a product of {a.shape} and ({depth}, {c.shape[1]}){and_added}: the shapes do not fit")
    if any(x is not None and x.dtype != dtype for x in (a, bias, plus, c)):
        raise ValueError(f"a product of {a.dtype} and {dtype}: all arrays must have one dtype")


@parallel_kernel
def _multiply(a, strips, bias, plus, n_threads, c):
    """c = a @ b + bias + plus; both may have no numbers at all. Each thread owns a band of rows of c."""
    (n_rows, depth), n_columns = a.shape, c.shape[1]
    n_strips, _, width = strips.shape
    so_far, all_strips = c.reshape(-1), strips.reshape(-1)
    start, nothing = _filled_up(bias, n_strips * width), _filled_up(bias[:0], n_strips * width)
    step = n_columns if plus.size > 0 else 0
    if plus.size == 0:
        plus, start = start, nothing
    rows = max((n_rows + n_threads * HALF - 1) // (n_threads * HALF), 1) * HALF  # of a band: whole tiles
    for band in prange((n_rows + rows - 1) // rows):
        scratch, packed = _scratch(width, c), _panels(a)
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
            tile(ROWS, _part(ROWS, a, i, k0, k1, panel, copies), strip, bias, before, c, i, left, ahead)
        elif i == row and wanted == width:
            tile(HALF, _part(HALF, a, i, k0, k1, panel, copies), strip, bias, before, c, i, left, ahead)
        else:
            part = _part(HALF, a, i, k0, k1, panel, copies)
            _edge(part, strip, bias, before, c, i, left, row - i, wanted, ahead, scratch)
        row += height


@kernel
def _edge(part, strip, bias, plus, c, i, left, skip, wanted, ahead, scratch):
    """A small tile that hangs over c: it goes to a scratch, and from there what is wanted of it.

    skip: rows that another tile has computed. They may have been added to c already.
    """
    for r in range(HALF):
        for j in range(wanted):
            scratch[r, j] = plus.memory[plus.first + r * plus.step + j]
    tile(HALF, part, strip, bias, Places(scratch.reshape(-1), 0, scratch.shape[1]), scratch, 0, 0, ahead)
    for r in range(skip, HALF):
        for j in range(wanted):
            c[i + r, left + j] = scratch[r, j]


@kernel
def _part(rows, a, i, k0, k1, panel, first):
    """a[i:i+rows, k0:k1], with neighbours in memory close to each other; `rows` written as a number.

    Where a's rows do not lie in a piece (a is x.T, and each step of k another row of x, a page of memory further) it is
    copied to `panel` when the first strip asks.
    """
    return _part_of_layout(rows, a, i, k0, k1, panel, first)


@kernel
def _filled_up(numbers, size):
    """A copy with zeros behind it. (In the parallel kernel itself Numba would share so little work out to threads.)"""
    copy = np.zeros(size, numbers.dtype)
    copy[: numbers.size] = numbers
    return copy


@kernel
def _scratch(width, like):
    return np.zeros((HALF, width), like.dtype)  # what is left over in memory can be slow to add


def _panels(a):
    raise TypeError("compiled code only")


@overload(_panels)
def _panels_of_layout(a):
    """Memory for the parts of a block that are copied."""
    n, size = BLOCK // HALF if a.layout == "F" else 0, PANEL * DEPTH
    return lambda a: np.empty((n, size), a.dtype)


def _part_of_layout(rows, a, i, k0, k1, panel, first):
    raise TypeError("compiled code only")


@overload(_part_of_layout, inline="always")
def _choose_part(rows, a, i, k0, k1, panel, first):
    if a.layout == "F":
        return _copied_part
    return lambda rows, a, i, k0, k1, panel, first: a[i : i + rows, k0:k1]


def _copied_part(rows, a, i, k0, k1, panel, first):
    part, columns = panel[: PANEL * (k1 - k0)].reshape(k1 - k0, PANEL), a.T
    if first and i + PANEL <= len(a):
        for k in range(k1 - k0):
            for r in range(0, PANEL, lanes(part)):
                store(part, (k, r), load(columns, (k0 + k, i + r)))
    elif first:
        for k in range(k1 - k0):
            for r in range(rows):
                part[k, r] = columns[k0 + k, i + r]
    return part.T[:rows]


# ------------------------------------------------------------------------------------------------------ sum of rows


@parallel_kernel
def _sum_rows(dy, db):
    """Each thread owns columns and walks down all rows, so the order of the sum is fixed."""
    n_columns = db.size
    for block in prange((n_columns + 63) // 64):
        j0, j1 = block * 64, min(block * 64 + 64, n_columns)
        total = db[j0:j1]
        for i in range(dy.shape[0]):
            row = dy[i, j0:j1]
            for j in range(row.size):
                total[j] += row[j]
