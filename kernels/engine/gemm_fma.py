"""c = a @ b with vector multiply-adds, on any processor: the loops around the micro-kernel of micro_kernel.py.

They are the five loops of GotoBLAS and BLIS (Goto & van de Geijn, 2008, Anatomy of High-Performance Matrix
Multiplication; Smith et al., 2014, Anatomy of High-Performance Many-Threaded Matrix Multiplication, for the choice of
the loop that threads share). The sizes are for AVX-512; AVX2 has MC = 24 and half the bytes:

    for each thread's band of c, some of its rows or some of its columns
        for each KC = 384 rows of b, a part of the k loop
            for each MC = 56 rows of the band: a block of a, 86 KB, which stays in the L2 cache
                for each packed panel of b, NR columns: 48 KB, read from the L2 cache
                    for each MR rows: the micro-kernel

Two things would have to wait for memory, and are prefetched instead. The next panel is fetched into the L2 cache while
this one is used, one cache line in each iteration of the k loop: b is usually a weight that was last used a training
step ago. And the cache lines of c that the next micro-tile writes are fetched before this micro-tile begins.

b is packed into panels. A frozen weight is packed once (`pack_panels`), and then each MC rows go through all of k
before the next ones. Any other b is packed by each thread for itself, KC rows at a time, because panels that another
thread has packed would have to come from that core's caches, which takes longer. If there are enough panels for all
threads, each thread owns some columns of c, and no panel is packed twice. a is read where it lies, without packing.
Only if a = x.T, where adjacent elements of a row are far apart in memory, micro-panels of MR rows and KC columns are
packed.

Every element of c is accumulated by one thread, in an order that depends on the shapes alone: not on the number of
threads, not on other elements, not on where arrays lie.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numba.extending import overload

from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.pool import empty, zeros
from ..runtime.threads import n_threads
from .micro_kernel import (
    MR,
    MR_HALF,
    Strided,
    micro_kernel,
    pack_b,
    pack_b_transposed,
    rows_per_band,
    square_of_zeros,
    zero_padded,
)
from .sums import add_transposed
from .vectors import lanes, load, prefetch_rows, store

MC, KC = 4 * MR, 384  # rows of a block of A, and its columns; KC is also the length of a panel of B
MR_PACKED = 16  # rows of a packed micro-panel of A: at least MR, and whole vectors
KP = 16  # rows of B that are packed at a time for all columns: they stay in the L1 cache


def pack_panels(b, transposed):
    """b, or b.T, in packed panels.   (K, C) -> (panels, K, NR)"""
    depth, n_columns = b.shape[::-1] if transposed else b.shape
    nr = 2 * lanes(b)
    b = np.ascontiguousarray(b)
    panels = empty((-(-n_columns // nr), depth, nr), b.dtype)
    panels[n_columns // nr :] = 0
    _pack(b, transposed, panels)
    return panels


def multiply(a, b, transposed, panels, bias, residual, c):
    """c = a @ b + bias + residual, or a @ b.T;  c is in C order.

    panels, those of b or of b.T, bias (C,) and residual may be None, and residual may be c itself.
    """
    if len(a) < MR_HALF and c.size > 0:  # a batch of one short text: rows of zeros make it a micro-tile
        a_padded, c_padded = zeros((MR_HALF, len(a.T)), a.dtype), zeros((MR_HALF, c.shape[1]), a.dtype)
        a_padded[: len(a)] = a
        if residual is not None:
            c_padded[: len(a)] = residual
        multiply(a_padded, b, transposed, panels, bias, c_padded, c_padded)
        c[...] = c_padded[: len(a)]
        return
    none, nr = c.reshape(-1)[:0], 2 * lanes(c)
    bias, residual = none if bias is None else bias, none if residual is None else residual.reshape(-1)
    n_panels, threads, is_packed = -(-c.shape[1] // nr), n_threads(), panels is not None
    even = n_panels % threads == 0 or n_panels >= 4 * threads  # each thread has about as many panels
    # A micro-panel of a is packed by each thread that reads it, so columns are shared out only if they are many.
    by_columns = not is_packed and even and (a.flags.c_contiguous or c.shape[1] > len(a))
    rows = max(len(a), 1) if by_columns else rows_per_band(len(a), MR_HALF)
    n_bands, n_own = (threads, -(-n_panels // threads)) if by_columns else (-(-len(a) // rows), n_panels)
    if is_packed:
        b, packed_b = c, np.empty((n_bands, 0, 0, nr), c.dtype)  # b is not read: any matrix will do
    else:
        b, panels = np.ascontiguousarray(b), np.empty((0, 0, nr), c.dtype)
        packed_b = empty((n_bands, n_own, min(a.shape[1], KC), nr), c.dtype)
    packed_a = empty((n_bands, 0 if a.flags.c_contiguous else MC // MR_HALF, MR_PACKED * KC), a.dtype)
    _multiply(a, b, transposed, panels, bias, residual, rows, by_columns, packed_b, packed_a, c)


def multiply_dw(x, dy, dW):
    """dW += x.T @ dy, all in C order."""
    if dW.shape[1] < 2 * lanes(dW) <= len(dW):  # one panel, half empty; of dW.T = dy.T @ x panels are full
        dW_t = empty(dW.shape[::-1], dW.dtype)
        multiply(dy.T, x, False, None, None, None, dW_t)
        add_transposed(dW_t, dW)
    else:
        multiply(x.T, dy, False, None, None, dW, dW)


@parallel_kernel
def _pack(b, transposed, panels):
    """Each thread packs some rows of all panels."""
    depth, n_columns = panels.shape[1], b.shape[0 if transposed else 1]
    for block in prange((depth + KP - 1) // KP):
        k0, k1 = block * KP, min(block * KP + KP, depth)
        _pack_rows(b, transposed, 0, n_columns, k0, k1, panels[:, k0:k1], square_of_zeros(b))


@parallel_kernel
def _multiply(a, b, transposed, panels, bias, residual, rows, by_columns, packed_b, packed_a, c):
    """c = a @ b + bias + residual, both of which may be empty. Each thread owns a band of c: some rows, or panels."""
    n_rows, n_columns, nr = len(a), c.shape[1], panels.shape[2]
    n_panels = (n_columns + nr - 1) // nr
    biases, no_bias = zero_padded(bias, n_panels * nr), zero_padded(bias[:0], n_panels * nr)
    stride = n_columns if residual.size > 0 else 0
    if residual.size == 0:  # micro-tiles then start from the bias as if it were a residual of equal rows
        residual, biases = biases, no_bias
    for part in prange(len(packed_a)):
        band = part * rows, min(part * rows + rows, n_rows)
        own = 0, n_panels
        if by_columns:
            band, own = (0, n_rows), (part * n_panels // len(packed_a), (part + 1) * n_panels // len(packed_a))
        start, workspace = (biases, no_bias, residual, stride), (packed_b[part], packed_a[part], _scratch(nr, c))
        _multiply_band(a, b, transposed, panels, start, band, own, workspace, c)


@allocating_kernel
def _multiply_band(a, b, transposed, panels, start, band, own, workspace, c):
    """The rows `band` and the panels `own` of c. If b is not packed, the panels are packed here, KC rows at a time."""
    (biases, no_bias, residual, stride), (packed_b, packed_a, scratch), flat_c = start, workspace, c.reshape(-1)
    depth, n_columns, nr, flat_panels = a.shape[1], c.shape[1], panels.shape[2], panels.reshape(-1)
    pack_here, square = packed_b.size > 0, square_of_zeros(c)
    if pack_here and n_columns < own[1] * nr:
        packed_b[own[1] - own[0] - 1] = 0
    mc_outer = max(band[1] - band[0], 1) if pack_here else MC  # all rows of the band, so that each panel is packed once
    for top in range(band[0], band[1], mc_outer):
        for k0 in range(0, max(depth, 1), KC):
            k1 = min(k0 + KC, depth)
            if pack_here:
                _pack_rows(b, transposed, own[0] * nr, min(own[1] * nr, n_columns), k0, k1, packed_b, square)
            for i0 in range(top, min(top + mc_outer, band[1]), MC):
                i1 = min(i0 + MC, band[1])
                for p in range(own[0], own[1]):
                    j = p * nr
                    if k0 == 0:
                        c_from, bias = Strided(residual, j, stride), biases[j : j + nr]
                    else:
                        c_from, bias = Strided(flat_c, j, n_columns), no_bias[:nr]
                    # One cache line of the next panel is prefetched in each iteration of the k loop.
                    next_panel = Strided(flat_panels, ((p + 1) * depth + k0) * nr, 64 // c.itemsize)
                    if pack_here or p == own[1] - 1:
                        next_panel = Strided(flat_panels, 0, 0)
                    panel = packed_b[p - own[0], : k1 - k0] if pack_here else panels[p, k0:k1]
                    pack_a = p == own[0]
                    _macro_kernel(c, i0, i1, j, a, k0, k1, panel, bias, c_from, pack_a, next_panel, scratch, packed_a)


@kernel
def _pack_rows(b, transposed, first, last, k0, k1, panels, square):
    """Rows k0:k1 and columns first:last of b, or of b.T, into panels; KP rows of all columns stay in the L1 cache."""
    for k in range(0, k1 - k0, KP):
        end = min(k + KP, k1 - k0)
        if transposed:
            pack_b_transposed(b[first:last], k0, k, end, panels, square)
        else:
            pack_b(b[k0:k1], first, last - first, k, end, panels)


@kernel
def _macro_kernel(c, i0, i1, j, a, k0, k1, panel, bias, c_from, pack_a, next_panel, scratch, packed_a):
    """Rows i0:i1 and NR columns of c, from j on: a[i0:i1, k0:k1] @ panel + bias + c_from, one micro-tile at a time.

    The last micro-tile of the whole product is moved up until it fits, and the last panel may be wider than c.
    """
    n_rows, nr, columns = len(a), panel.shape[1], min(panel.shape[1], c.shape[1] - j)
    pack_a = pack_a or columns < nr  # micro-tiles of the last panel have another height
    row = i0
    while row < i1:
        height = MR if row + MR <= i1 and columns == nr else MR_HALF
        i, micro_panel = min(row, n_rows - height), packed_a[(row - i0) // MR_HALF]
        start = Strided(c_from.memory, c_from.first + i * c_from.stride, c_from.stride)
        # Two micro-tiles prefetch the whole next panel, if vectors are as long as cache lines; others prefetch nothing.
        done = (row - i0) // MR * (k1 - k0)
        stride = next_panel.stride if done < 2 * (k1 - k0) else 0
        ahead = Strided(next_panel.memory, next_panel.first + done * next_panel.stride, stride)
        if height == MR:
            prefetch_rows(MR, c, (row + MR, j))
            _micro_tile(MR, a, i, (k0, k1, micro_panel, pack_a), panel, bias, start, c, i, j, ahead)
        elif i == row and columns == nr:
            _micro_tile(MR_HALF, a, i, (k0, k1, micro_panel, pack_a), panel, bias, start, c, i, j, ahead)
        else:
            _load_edge(start, columns, scratch)
            start = Strided(scratch.reshape(-1), 0, nr)
            _micro_tile(MR_HALF, a, i, (k0, k1, micro_panel, pack_a), panel, bias, start, scratch, 0, 0, ahead)
            _store_edge(scratch, c, i, j, row - i, columns)
        row += height


@kernel
def _load_edge(c_from, columns, scratch):
    """What a micro-tile at the edge of c starts from, copied to scratch, where the result goes, too."""
    for r in range(MR_HALF):
        for j in range(columns):
            scratch[r, j] = c_from.memory[c_from.first + r * c_from.stride + j]


@kernel
def _store_edge(scratch, c, i, j, skip, columns):
    """The part of scratch that lies inside of c. Its first `skip` rows belong to another micro-tile, which has stored
    them already."""
    for r in range(skip, MR_HALF):
        for n in range(columns):
            c[i + r, j + n] = scratch[r, n]


@allocating_kernel
def _scratch(nr, like):
    return np.zeros((MR_HALF, nr), like.dtype)  # zeros: adding the denormal numbers of old memory can be slow


def _micro_tile(rows, a, i, part, panel, bias, c_from, c, row, column, next_panel):
    """The micro-kernel for a[i:i+rows, k0:k1]; rows is a literal, part = (k0, k1, packed micro-panel, pack it now?).

    If rows of a are not contiguous (a is x.T, so that each iteration of the k loop would read another page of memory),
    they are packed when the first panel of b needs them.
    """
    raise TypeError("compiled code only")


@overload(_micro_tile, jit_options={"_nrt": False}, prefer_literal=True)
def _micro_tile_of_layout(rows, a, i, part, panel, bias, c_from, c, row, column, next_panel):
    if a.layout == "F":
        return _micro_tile_of_packed_a
    return _micro_tile_of_a


def _micro_tile_of_a(rows, a, i, part, panel, bias, c_from, c, row, column, next_panel):
    micro_kernel(rows, a[i : i + rows, part[0] : part[1]], panel, bias, c_from, c, row, column, next_panel)


def _micro_tile_of_packed_a(rows, a, i, part, panel, bias, c_from, c, row, column, next_panel):
    k0, k1, micro_panel, pack_now = part
    packed = micro_panel[: MR_PACKED * (k1 - k0)].reshape(k1 - k0, MR_PACKED)
    if pack_now:
        _pack_a(rows, a.T, i, k0, packed)
    micro_kernel(rows, packed.T[:rows], panel, bias, c_from, c, row, column, next_panel)


@kernel
def _pack_a(rows, x, i, k0, packed):
    """packed[k, r] = x[k0 + k, i + r] for at least `rows` values of r, and for MR_PACKED if x has so many columns."""
    for k in range(len(packed)):
        if i + MR_PACKED <= x.shape[1]:
            for r in range(0, MR_PACKED, lanes(packed)):
                store(packed, (k, r), load(x, (k0 + k, i + r)))
        else:
            for r in range(rows):
                packed[k, r] = x[k0 + k, i + r]
