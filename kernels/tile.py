"""The tile: six rows of a product, two vectors wide, summed in registers. Matrix products and attention are made of it.

A processor can begin two vector multiply-adds in a cycle, but also only two loads. So what was loaded must be used more
than once: a *tile* of c = a @ b, 6 rows of two vectors, is summed in 12 registers, and each step of k loads 2 vectors
of b and 6 numbers of a for 12 multiply-adds. With b's two vectors and a number of a in every lane that makes 15
registers, and AVX2 has 16.

b is copied into *strips*, in which the two vectors of a row follow directly upon those of the row before. The last
strip is filled up with zeros.
"""

from __future__ import annotations

from ._compile import kernel
from .simd import fma, lanes, load, splat, spread, store

ROWS = 6


@kernel
def tile(a, i, k0, strip, start, adds, plus, c, r, j):
    """Rows r:r+6 and columns j:j+width of c = a's rows i:i+6, from column k0 on, times strip, plus start.

    If adds, the same places of `plus` are added, too.   (6, K) @ (K, width) + (width,) + (6, width) -> (6, width)

    adds is written True or False where this is called: then Numba compiles two tiles, and neither counts references to
    its arrays, which it would do where it has to choose, and which takes as long as a quarter of the tile.
    """
    half = lanes(strip)
    s0 = s1 = s2 = s3 = s4 = s5 = load(start, 0), load(start, half)
    for k in range(len(strip)):
        b = load(strip, (k, 0)), load(strip, (k, half))
        s0 = _step(spread(a, (i, k0 + k)), b, s0)
        s1 = _step(spread(a, (i + 1, k0 + k)), b, s1)
        s2 = _step(spread(a, (i + 2, k0 + k)), b, s2)
        s3 = _step(spread(a, (i + 3, k0 + k)), b, s3)
        s4 = _step(spread(a, (i + 4, k0 + k)), b, s4)
        s5 = _step(spread(a, (i + 5, k0 + k)), b, s5)
    _finish(s0, adds, plus, c, r, j)
    _finish(s1, adds, plus, c, r + 1, j)
    _finish(s2, adds, plus, c, r + 2, j)
    _finish(s3, adds, plus, c, r + 3, j)
    _finish(s4, adds, plus, c, r + 4, j)
    _finish(s5, adds, plus, c, r + 5, j)


@kernel
def _step(x, b, sums):
    """One step of k for a row of the tile: its two vectors of sums, plus a number of a times two vectors of b."""
    return fma(x, b[0], sums[0]), fma(x, b[1], sums[1])


@kernel
def _finish(sums, adds, plus, c, r, j):
    half, one = lanes(c), splat(c.dtype.type(1))
    if adds:
        sums = fma(one, load(plus, (r, j)), sums[0]), fma(one, load(plus, (r, j + half)), sums[1])
    store(c, (r, j), sums[0])
    store(c, (r, j + half), sums[1])


@kernel
def fill_strips(b, first, n_columns, k0, k1, strips):
    """Rows k0:k1 of the strips of b[:, first : first + n_columns].   (K, C) -> (strips, K, width)

    What is behind the last column is left as it is.
    """
    n_strips, _, width = strips.shape
    for s in range(n_strips):
        left = first + s * width
        right = min(left + width, first + n_columns)
        for k in range(k0, k1):
            row, to = b[k, left:right], strips[s, k]
            for j in range(row.size):
                to[j] = row[j]


@kernel
def fill_strips_transposed(b, first, k0, k1, strips):
    """Rows k0:k1 of the strips of b.T, b's column `first` being row 0 of them.   (C, K) -> (strips, K, width)"""
    n_strips, _, width = strips.shape
    for s in range(n_strips):
        left = s * width
        for j in range(min(width, b.shape[0] - left)):
            row = b[left + j, first + k0 : first + k1]
            for k in range(row.size):
                strips[s, k0 + k, j] = row[k]
