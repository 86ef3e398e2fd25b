"""The micro-kernel: a micro-tile of C, MR rows of two vectors, accumulated in registers. Products and attention use it.

The idea and the names are those of GotoBLAS and BLIS (Goto & van de Geijn, 2008, Anatomy of High-Performance Matrix
Multiplication; Van Zee & van de Geijn, 2015, BLIS: A Framework for Rapidly Instantiating BLAS Functionality). A
processor can start two vector multiply-adds in a cycle, but also only two loads, so each loaded value must be used more
than once. A micro-tile of C = A B stays in registers for the whole k loop. Each iteration loads two vectors of B and
broadcasts an element of A for each row. The taller the micro-tile, the more multiply-adds per load. AVX-512 has 32
registers: 14 rows take 28 of them, the two vectors of B and the broadcast element three more. AVX2 has 16, enough for 6
rows.

B is packed into *panels* of NR columns, NR being two vectors: the NR elements of one row of B are contiguous, and those
of the next row follow them. The last panel is padded with zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..runtime.compiling import allocating_kernel, inlined_kernel, kernel
from ..runtime.pool import LINE
from ..runtime.threads import n_threads
from .vector_rows import add_outer, load_rows, store_rows
from .vectors import VECTOR_BITS, lanes, load, prefetch, store, transpose_square

MR = 14 if VECTOR_BITS == 512 else 6
MR_HALF = MR // 2  # rows of the smaller micro-tile, for the remaining rows


class Strided(NamedTuple):
    """Positions in 1-D memory at a constant stride: memory[first], memory[first + stride], ..."""

    memory: np.ndarray
    first: int
    stride: int


def rows_per_band(n_rows: int, height: int) -> int:
    """How many rows of a product each thread owns: whole micro-tiles of this height, about as many for each thread."""
    return max(-(-n_rows // (height * n_threads())), 1) * height


@inlined_kernel
def micro_kernel(rows, a, panel, bias, c_from, c, i, j, next_panel):
    """Rows i:i+rows and columns j:j+NR of c = a @ panel + bias + c_from.

    (rows, K) @ (K, NR) + (NR,) + (rows, NR) -> (rows, NR)

    rows: a literal where this is called, so that Numba compiles one micro-kernel for each height.
    c_from: the Strided starts of its rows; with a stride of 0 all rows are the same one.
    next_panel: Strided positions; in each iteration of the k loop one of them is prefetched into the L2 cache.
    """
    half = lanes(panel)
    sums = load_rows(rows, c_from.memory, c_from.first, c_from.stride, (load(bias, 0), load(bias, half)))
    for k in range(len(panel)):
        prefetch(next_panel.memory, next_panel.first + k * next_panel.stride)
        sums = add_outer(sums, a, (0, k), (load(panel, (k, 0)), load(panel, (k, half))))
    store_rows(sums, c, (i, j))


@allocating_kernel
def aligned_empty(size, dtype):
    """Uninitialized memory that begins on a cache line, so that no vector crosses two."""
    memory = np.empty(size + LINE, dtype)
    first = (-memory.ctypes.data // memory.itemsize) % (LINE // memory.itemsize)
    return memory[first : first + size]


@allocating_kernel
def zero_padded(elements, size):
    """A copy, padded with zeros to `size`. (A loop: for `copy[:n] = elements` Numba also compiles NumPy's messages.)"""
    copy = np.zeros(size, elements.dtype)
    for n in range(elements.size):
        copy[n] = elements[n]
    return copy


@kernel
def pack_b(b, first, n_columns, k0, k1, panels):
    """Pack rows k0:k1 of b[:, first : first + n_columns].   (K, C) -> (panels, K, NR)

    The padding after the last column is left as it is.
    """
    n_panels, _, nr = panels.shape
    for p in range(n_panels):
        left = first + p * nr
        right = min(left + nr, first + n_columns)
        if right - left == nr:
            for k in range(k0, k1):
                store(panels, (p, k, 0), load(b, (k, left)))
                store(panels, (p, k, lanes(b)), load(b, (k, left + lanes(b))))
        else:
            for k in range(k0, k1):
                row, to = b[k, left:right], panels[p, k]
                for j in range(row.size):
                    to[j] = row[j]


@allocating_kernel
def square_of_zeros(like):
    """A square of zeros, as many rows and columns as a vector has lanes."""
    return np.zeros((lanes(like), lanes(like)), like.dtype)


@kernel
def pack_b_transposed(b, first, k0, k1, panels, scratch):
    """Pack rows k0:k1 of b.T; row 0 of the panels is column `first` of b.   (C, K) -> (panels, K, NR)

    After the last column zeros are written up to the next whole vector, provided that scratch, a square, holds zeros in
    the rows that are not filled here.
    """
    n_panels, _, nr = panels.shape
    side = lanes(b)
    for p in range(n_panels):
        for j in range(0, nr, side):
            row, rows = p * nr + j, min(side, b.shape[0] - p * nr - j)
            for k in range(k0, k1, side):
                if rows == side and k + side <= k1:
                    transpose_square(b, (row, first + k), panels[p], (k, j))
                elif rows > 0 and k + side <= k1:
                    for r in range(rows):
                        store(scratch, (r, 0), load(b, (row + r, first + k)))
                    transpose_square(scratch, (0, 0), panels[p], (k, j))
                else:
                    for r in range(rows):
                        for step in range(k, min(k + side, k1)):
                            panels[p, step, j + r] = b[row + r, first + step]
