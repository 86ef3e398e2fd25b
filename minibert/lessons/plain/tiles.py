"""A product in tiles, and what bounds its speed."""

from __future__ import annotations

import math

import numpy as np


def tiled_matmul(x, W, tile):
    """y = x W in tiles of at most (rows of x, columns of W, steps of k), the sums kept in the type of x.

    (T, K), (K, N), (3,) -> (T, N). Tiles at the edges are smaller.
    """
    rows, columns, depth = tile
    y = np.zeros((x.shape[0], W.shape[1]), x.dtype)
    for i in range(0, x.shape[0], rows):
        for j in range(0, W.shape[1], columns):
            for k in range(0, x.shape[1], depth):
                left = x[i : i + rows, k : k + depth]
                right = W[k : k + depth, j : j + columns]
                y[i : i + rows, j : j + columns] += left @ right
    return y


def fetched(T, K, N, tile):
    """Elements that `tiled_matmul` moves between memory and a cache that holds one tile of each array.

    For a tile of y: its rows of x and its columns of W are read, tile by tile; then it is written, once.
    """
    rows, columns, _ = tile
    beside, above = math.ceil(N / columns), math.ceil(T / rows)
    return T * K * beside + K * N * above + T * N


def intensity(T, K, N, itemsize=4):
    """Operations per byte of (T, K) @ (K, N), if each array goes once to or from memory; a multiply-add is two."""
    operations = 2 * T * K * N
    elements = T * K + K * N + T * N
    return operations / (itemsize * elements)


def roof(ops_per_byte, peak, bandwidth):
    """The most operations a second that a machine allows (Williams, Waterman & Patterson, 2009), element by element.

    peak: operations a second of its cores; bandwidth: bytes a second of its memory.
    """
    return np.minimum(peak, ops_per_byte * bandwidth)
