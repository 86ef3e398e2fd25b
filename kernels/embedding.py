"""Embedding: gather a row for each token, and scatter gradients back to the rows they came from."""

from __future__ import annotations

from numba import prange

from .runtime.checks import check_rows, check_shapes
from .runtime.compiling import kernel, parallel_kernel
from .runtime.pool import empty
from .runtime.threads import share


def embedding(ids, segments, positions, word, segment, position):
    """x[t] = word[ids[t]] + segment[segments[t]] + position[positions[t]].   int32 (T,) three times -> (T, D)

    Raises IndexError if an index is not that of a row in its table, ValueError if shapes or dtypes do not fit.
    """
    T, D = ids.size, word.shape[1]
    check_shapes("embedding", word.dtype, (segment, position), ((len(segment), D), (len(position), D)))
    check_shapes("embedding", ids.dtype, (segments, positions), ((T,), (T,)))
    x = empty((T, D), word.dtype)
    share(ns=0.2 * x.size)
    if not _gather(ids, segments, positions, word, segment, position, x):
        raise IndexError("an index is not that of a row in its table")
    return x


def embedding_backward(dx, index, dW):
    """dW[index[t]] += dx[t] for every t.   (T, D), int32 (T,) -> added into dW (V, D)

    Raises ValueError if shapes do not fit, IndexError if an index is not that of a row.
    """
    check_shapes("embedding_backward", dx.dtype, (dx, dW), ((index.size, dW.shape[1]), dW.shape))
    check_rows("embedding_backward", "indices", index, len(dW))
    share(ns=0.2 * dx.size)
    _scatter_add(dx, index, dW)


@parallel_kernel
def _gather(ids, segments, positions, word, segment, position, x):
    """Fill x and return True; or False, and x is left as it is, if an index is not that of a row."""
    there = _has_rows(word, ids) & _has_rows(segment, segments) & _has_rows(position, positions)
    for t in prange(ids.size * there):
        w, s, p, out = word[ids[t]], segment[segments[t]], position[positions[t]], x[t]
        for d in range(out.size):
            out[d] = w[d] + s[d] + p[d]
    return there


@kernel
def _has_rows(table, numbers):
    outside = 0
    for t in range(numbers.size):
        outside += numbers[t] < 0 or numbers[t] >= len(table)
    return outside == 0


@parallel_kernel
def _scatter_add(dx, index, dW):
    """Two tokens may share a row, so a task owns columns, not tokens, and adds in the tokens' order."""
    n_columns = dW.shape[1]
    for block in prange((n_columns + 63) // 64):
        d0, d1 = block * 64, min(block * 64 + 64, n_columns)
        for t in range(index.size):
            row, grad = dW[index[t], d0:d1], dx[t, d0:d1]
            for d in range(grad.size):
                row[d] += grad[d]
