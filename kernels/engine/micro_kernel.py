"""The tile: a few rows of a product, two vectors wide, summed in registers. Products and attention are made of it.

A processor can begin two vector multiply-adds in a cycle, but also only two loads. So what was loaded must be used more
than once: a *tile* of c = a @ b, ROWS rows of two vectors, is summed in registers, and each step of k loads two vectors
of b and a number of a for each row. The taller the tile, the more multiply-adds a load feeds. AVX-512 has 32 registers:
14 rows take 28, and b's two vectors and a number of a in every lane three more. AVX2 has 16, enough for 6 rows.

b is copied into *strips*, in which the two vectors of a row follow directly upon those of the row before. The last
strip is filled up with zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..runtime.compiling import allocating_kernel, inlined_kernel, kernel
from ..runtime.pool import LINE
from ..runtime.threads import n_threads
from .vector_rows import add_outer, start_rows, store_rows
from .vectors import VECTOR_BITS, lanes, load, prefetch, store, transpose_square

ROWS = 14 if VECTOR_BITS == 512 else 6
HALF = ROWS // 2  # rows of the smaller tile, for what is left


class Places(NamedTuple):
    """Numbers in 1-D memory that lie a step apart: memory[first], memory[first + step], ..."""

    memory: np.ndarray
    first: int
    step: int


def rows_of_band(n_rows: int, height: int) -> int:
    """How many rows of a product each thread owns: tiles of this height, as many for one thread as for the other."""
    return max(-(-n_rows // (height * n_threads())), 1) * height


@inlined_kernel
def tile(rows, a, strip, bias, plus, c, i, j, ahead):
    """Rows i:i+rows and columns j:j+width of c = a @ strip + bias + plus.

    (rows, K) @ (K, width) + (width,) + (rows, width) -> (rows, width)

    rows: written as a number where this is called, so that Numba compiles a tile for each.
    plus: the Places of its rows; with a step of 0 they are all the same row.
    ahead: Places of which one is fetched into the L2 cache in each step of k.
    """
    half = lanes(strip)
    sums = start_rows(rows, plus.memory, plus.first, plus.step, (load(bias, 0), load(bias, half)))
    for k in range(len(strip)):
        prefetch(ahead.memory, ahead.first + k * ahead.step)
        sums = add_outer(sums, a, (0, k), (load(strip, (k, 0)), load(strip, (k, half))))
    store_rows(sums, c, (i, j))


@allocating_kernel
def on_a_line(size, dtype):
    """Memory that begins on a cache line, so that no vector lies on two; it holds anything."""
    memory = np.empty(size + LINE, dtype)
    first = (-memory.ctypes.data // memory.itemsize) % (LINE // memory.itemsize)
    return memory[first : first + size]


@allocating_kernel
def filled_up(numbers, size):
    """A copy with zeros behind it. (A loop: in place of `copy[:n] = numbers` Numba compiles NumPy's messages, too.)"""
    copy = np.zeros(size, numbers.dtype)
    for n in range(numbers.size):
        copy[n] = numbers[n]
    return copy


@kernel
def fill_strips(b, first, n_columns, k0, k1, strips):
    """Rows k0:k1 of the strips of b[:, first : first + n_columns].   (K, C) -> (strips, K, width)

    What is behind the last column is left as it is.
    """
    n_strips, _, width = strips.shape
    for s in range(n_strips):
        left = first + s * width
        right = min(left + width, first + n_columns)
        if right - left == width:
            for k in range(k0, k1):
                store(strips, (s, k, 0), load(b, (k, left)))
                store(strips, (s, k, lanes(b)), load(b, (k, left + lanes(b))))
        else:
            for k in range(k0, k1):
                row, to = b[k, left:right], strips[s, k]
                for j in range(row.size):
                    to[j] = row[j]


@allocating_kernel
def square_of_zeros(like):
    """As many rows as a vector has lanes."""
    return np.zeros((lanes(like), lanes(like)), like.dtype)


@kernel
def fill_strips_transposed(b, first, k0, k1, strips, spare):
    """Rows k0:k1 of the strips of b.T, b's column `first` being row 0 of them.   (C, K) -> (strips, K, width)

    Behind the last column there will be zeros up to the next whole vector, if those of spare that are behind it are.
    """
    n_strips, _, width = strips.shape
    side = lanes(b)
    for s in range(n_strips):
        for j in range(0, width, side):
            row, rows = s * width + j, min(side, b.shape[0] - s * width - j)
            for k in range(k0, k1, side):
                if rows == side and k + side <= k1:
                    transpose_square(b, (row, first + k), strips[s], (k, j))
                elif rows > 0 and k + side <= k1:
                    for r in range(rows):
                        store(spare, (r, 0), load(b, (row + r, first + k)))
                    transpose_square(spare, (0, 0), strips[s], (k, j))
                else:
                    for r in range(rows):
                        for step in range(k, min(k + side, k1)):
                            strips[s, step, j + r] = b[row + r, first + step]
