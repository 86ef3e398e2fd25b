"""The innermost loops of plain products and attention: sums of rows, and inner products of rows.

Each is one loop over elements that lie next to each other, which LLVM makes vector instructions of.
"""

from __future__ import annotations

from .runtime.compiling import kernel


@kernel
def add_row(out, a, b):
    """out += a b, for rows out and b and a number a."""
    for j in range(out.size):
        out[j] += a * b[j]


@kernel
def add_four_rows(out, a, b0, b1, b2, b3):
    """out += a[0] b0 + a[1] b1 + a[2] b2 + a[3] b3: out is loaded and stored once for four rows."""
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    for j in range(out.size):
        out[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]


@kernel
def dot(a, b):
    """The inner product of two rows."""
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@kernel
def four_dots(a, b0, b1, b2, b3, out):
    """The inner products of a with four rows, into four places: a is loaded once for all."""
    sum0 = sum1 = sum2 = sum3 = a.dtype.type(0)
    for k in range(a.size):
        sum0, sum1, sum2, sum3 = sum0 + a[k] * b0[k], sum1 + a[k] * b1[k], sum2 + a[k] * b2[k], sum3 + a[k] * b3[k]
    out[0], out[1], out[2], out[3] = sum0, sum1, sum2, sum3
