"""The fast products: how they are shared out over threads."""

import itertools
import sys

import numpy as np
import pytest

import kernels


@pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threads")
def test_every_number_of_a_product_is_one_threads():
    """Also where there are more threads than tiles or strips; and bands begin with whole ones."""
    band_of = sys.modules["kernels.engine.gemm_amx"]._band
    for n_rows, n_columns, n_threads, by_columns in itertools.product(
        (1, 16, 200, 385), (1, 32, 64, 450), (1, 2, 3, 8, 40), (False, True)
    ):
        owned = np.zeros((n_rows, n_columns), int)
        for part in range(n_threads):
            rows, columns = band_of(n_rows, n_columns, part, n_threads, by_columns)
            owned[slice(*rows), slice(*columns)] += 1
            assert columns[0] % 32 == 0 and (rows[0] % 16 == 0 or rows[0] == n_rows)
        assert (owned == 1).all()
