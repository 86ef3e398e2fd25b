"""How the heads of attention are shared out over threads: by cost, not by number.

A batch has n_heads heads for each sequence, numbered consecutively. A thread owns the heads between two bounds.
"""

from __future__ import annotations

import numpy as np

from ..runtime.compiling import allocating_kernel, kernel

# Measured: a head of a sequence takes as long as if both sides had this many tokens more and nothing else cost time.
OVERHEAD = 24


def work_of_heads(q, k, offsets_q) -> float:
    """About the nanoseconds that one thread takes for the forward pass, if all sequences have one length: for each pair
    of a query and a key 4 D operations of the two products, and one exponential per head."""
    n_sequences, n_rows, n_keys = max(len(offsets_q) - 1, 1), len(q), len(k)
    return 0.025 * q.shape[1] * (n_rows * n_keys / n_sequences + OVERHEAD * (n_rows + n_keys))


@allocating_kernel
def bounds_of_heads(offsets_q, offsets_kv, n_heads, n_parts):
    """The bounds of each part's heads; heads of all sequences are numbered consecutively.   -> (n_parts + 1,)"""
    work = (offsets_q[1:] - offsets_q[:-1] + OVERHEAD) * (offsets_kv[1:] - offsets_kv[:-1] + OVERHEAD)
    bounds, done, all_work, part = np.zeros(n_parts + 1, np.int64), 0, n_heads * work.sum(), 1
    for head in range(n_heads * work.size):
        done += work[head // n_heads]
        while part <= n_parts and done * n_parts >= part * all_work:  # with few heads some parts have none
            bounds[part] = head + 1
            part += 1
    return bounds


@kernel
def share_of_heads(part, b, bounds, n_heads, offsets_q, offsets_kv):
    """The heads of sequence b that belong to a part, and the sequence's rows of q and of k and v."""
    first, last = max(bounds[part] - b * n_heads, 0), min(bounds[part + 1] - b * n_heads, n_heads)
    return (first, last), slice(offsets_q[b], offsets_q[b + 1]), slice(offsets_kv[b], offsets_kv[b + 1])
