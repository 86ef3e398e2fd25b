"""The tile: six rows of a product, two vectors wide, summed in registers. Matrix products and attention are made of it.

A processor can begin two vector multiply-adds in a cycle, but also only two loads. So what was loaded must be used more
than once: a *tile* of c = a @ b, 6 rows of two vectors, is summed in 12 registers, and each step of k loads 2 vectors
of b and 6 numbers of a for 12 multiply-adds. With b's two vectors and a number of a in every lane that makes 15
registers, and AVX2 has 16.

b is copied into *strips*, in which the two vectors of a row follow directly upon those of the row before. The last strip
is filled up with zeros.
"""

from __future__ import annotations

from ._compile import kernel
from .simd import fma, lanes, load, splat, store

ROWS = 6


@kernel
def tile(a, strip, start, adds, c):
    """c (6, width) = a (6, K) @ strip (K, width) + start; or c += if adds.   strip and start: (K width,) and (width,)"""
    a0, a1, a2, a3, a4, a5 = a[0], a[1], a[2], a[3], a[4], a[5]
    half = lanes(strip)
    r0 = r1 = r2 = r3 = r4 = r5 = load(start, 0), load(start, half)
    for k in range(a0.size):
        b = load(strip, 2 * half * k), load(strip, 2 * half * k + half)
        r0, r1, r2 = _step(a0[k], b, r0), _step(a1[k], b, r1), _step(a2[k], b, r2)
        r3, r4, r5 = _step(a3[k], b, r3), _step(a4[k], b, r4), _step(a5[k], b, r5)
    _finish(r0, adds, c[0])
    _finish(r1, adds, c[1])
    _finish(r2, adds, c[2])
    _finish(r3, adds, c[3])
    _finish(r4, adds, c[4])
    _finish(r5, adds, c[5])


@kernel
def _step(x, b, sums):
    """One step of k for a row of the tile: its two vectors of sums, plus a number of a times two vectors of b."""
    x = splat(x)
    return fma(x, b[0], sums[0]), fma(x, b[1], sums[1])


@kernel
def _finish(sums, adds, c):
    half, one = lanes(c), splat(c.dtype.type(1))
    if adds:
        sums = fma(one, load(c, 0), sums[0]), fma(one, load(c, half), sums[1])
    store(c, 0, sums[0])
    store(c, half, sums[1])


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
