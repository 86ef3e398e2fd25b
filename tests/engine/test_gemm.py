"""The fast products: sizes that fill panels or leave a rest, frozen weights, how work is shared out over threads."""

import itertools
import sys

import numpy as np
import pytest
from back_ends import PANELS, assert_products_agree, each_dtype

import kernels

pytestmark = pytest.mark.skipif(
    kernels.BACKEND in ("numpy", "plain"), reason=f"MINIBERT_KERNELS={kernels.BACKEND} does without the engine"
)


@each_dtype
def test_products_of_whole_panels_and_of_rests(dtype):
    assert_products_agree(kernels, dtype, PANELS)


@each_dtype
def test_a_frozen_weight_stands_where_the_array_stands(dtype):
    """The same bits; and what a layer may ask of an array."""
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((40, 96), (96, 80), 80, (40, 80)))
    frozen = kernels.freeze(W)
    for _ in range(2):  # packed by the first product, used by the second
        np.testing.assert_array_equal(kernels.matmul(x, frozen, b), kernels.matmul(x, W, b))
        np.testing.assert_array_equal(kernels.matmul_gelu(x, frozen, b), kernels.matmul_gelu(x, W, b))
        np.testing.assert_array_equal(kernels.matmul_dx(dy, frozen), kernels.matmul_dx(dy, W))
        np.testing.assert_array_equal(kernels.matmul_backward(dy, None, frozen), kernels.matmul_backward(dy, None, W))
    assert (frozen.shape, frozen.dtype, frozen.size, frozen.nbytes) == (W.shape, W.dtype, W.size, W.nbytes)
    assert len(frozen) == len(W) and np.shares_memory(frozen.T, W)
    assert np.shares_memory(np.asarray(frozen), W) and not np.shares_memory(np.array(frozen), W)
    np.testing.assert_array_equal(x @ frozen, x @ W)


def test_every_element_of_a_product_is_one_threads():
    """Also where there are more threads than micro-tiles or panels; and bands begin with whole ones."""
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
