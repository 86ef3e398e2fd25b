"""Fast attention: how it is shared out over threads."""

import itertools

import numpy as np
import pytest

import kernels
from kernels.engine import attention_shares

pytestmark = pytest.mark.skipif(
    kernels.BACKEND in ("numpy", "plain"), reason=f"MINIBERT_KERNELS={kernels.BACKEND} does without the engine"
)


def test_every_head_is_one_threads():
    """Also where there are more threads than heads: what two of them write at the same time would be wrong."""
    bounds_of = attention_shares.bounds_of_heads
    for lengths, n_heads, n_threads in itertools.product(
        ((5,), (1, 90), (7, 30, 2, 2, 64)), (1, 2, 12), (1, 2, 3, 8, 40)
    ):
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        for offsets_q in (offsets, np.arange(len(offsets))):
            bounds = bounds_of(offsets_q, offsets, n_heads, n_threads)
            assert bounds[0] == 0 and bounds[-1] == n_heads * len(lengths) and (np.diff(bounds) >= 0).all()
