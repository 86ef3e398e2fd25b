"""What goes with the products of the backward pass: the sum of all rows (a bias's gradient), the sum of a matrix and a
transposed one, and the product of two matrices element by element (with the derivative of an activation)."""

from __future__ import annotations

import numpy as np
from numba import prange

from ..runtime.compiling import allocating_kernel, kernel, parallel_kernel
from ..runtime.threads import share
from .micro_kernel import square_of_zeros
from .vectors import add, lanes, load, store, transpose_square

BLOCK = 4096  # elements that are one task of the thread pool


def bias_db(dy, db):
    """db += the sum of dy over its rows.   (T, O) -> (O,)

    Raises ValueError if they do not fit, or if db is not contiguous.
    """
    check_db(dy, db)
    share(ns=0.06 * dy.size)
    add_to_db(dy, db)


def add_to_db(dy, db):
    """The same on the threads that are chosen already, unchecked."""
    _sum_rows(np.ascontiguousarray(dy), db)


def check_db(dy, db):
    """Raise ValueError if db cannot take the sum of dy over its rows."""
    if db.shape != dy.shape[1:] or db.dtype != dy.dtype or not db.flags.c_contiguous:
        raise ValueError(
            f"db {db.dtype}{db.shape} in C order cannot take the sum of {dy.dtype}{dy.shape} over its rows"
        )


@parallel_kernel
def _sum_rows(dy, db):
    n_parts = (db.size + 63) // 64
    for part in prange(n_parts):
        add_rows(dy, db, part, n_parts)


@kernel
def add_rows(dy, db, part, n_parts):
    """A part of db's columns += all rows of dy, from the first to the last, so that the order of each sum is fixed."""
    width = 2 * lanes(dy)
    n_blocks = (db.size + width - 1) // width
    for block in range(part * n_blocks // n_parts, (part + 1) * n_blocks // n_parts):
        j = block * width
        if j + width <= db.size:
            first, second = load(db, j), load(db, j + lanes(dy))
            for i in range(dy.shape[0]):
                first, second = add(first, load(dy, (i, j))), add(second, load(dy, (i, j + lanes(dy))))
            store(db, j, first)
            store(db, j + lanes(dy), second)
        else:
            for n in range(j, db.size):
                for i in range(dy.shape[0]):
                    db[n] += dy[i, n]


def add_transposed(x, out):
    """out += x.T.   (R, C) -> (C, R), both in C order"""
    _add_all_transposed(x, out)


@parallel_kernel
def _add_all_transposed(x, out):
    side = lanes(x)
    for block in prange((len(x) + side - 1) // side):
        add_rows_transposed(x, block * side, min(block * side + side, len(x)), out)


@allocating_kernel
def add_rows_transposed(x, i0, i1, out):
    """out[:, i0:i1] += x[i0:i1].T, one square of a vector's lanes at a time."""
    side, square = lanes(x), square_of_zeros(x)
    for i in range(i0, i1, side):
        for j in range(0, x.shape[1], side):
            if i + side <= i1 and j + side <= x.shape[1]:
                transpose_square(x, (i, j), square, (0, 0))
                for r in range(side):
                    store(out, (j + r, i), add(load(out, (j + r, i)), load(square, (r, 0))))
            else:
                for r in range(i, min(i + side, i1)):
                    for c in range(j, min(j + side, x.shape[1])):
                        out[c, r] += x[r, c]


def multiply_elements(c, factors):
    """c *= factors, element by element; both in C order. Returns c."""
    _multiply_elements(c.reshape(-1), factors.reshape(-1))
    return c


@parallel_kernel
def _multiply_elements(c, factors):
    for block in prange((c.size + BLOCK - 1) // BLOCK):
        here, by = c[block * BLOCK : (block + 1) * BLOCK], factors[block * BLOCK : (block + 1) * BLOCK]
        for i in range(here.size):
            here[i] *= by[i]
