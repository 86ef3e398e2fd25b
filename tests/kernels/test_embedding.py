"""Embedding: rows of tables, and gradients back to the rows they came from."""

import numpy as np
import pytest
from back_ends import each_dtype

import kernels

TABLES = [np.arange(12.0).reshape(4, 3), 100 * np.ones((2, 3)), 1000 * np.arange(6.0).reshape(2, 3)]


def rows(*numbers):
    return np.array(numbers, np.int32)


@each_dtype
def test_a_token_is_the_sum_of_three_rows(dtype):
    x = kernels.embedding(rows(3, 0), rows(0, 1), rows(1, 0), *(table.astype(dtype) for table in TABLES))
    assert x.dtype == dtype
    np.testing.assert_array_equal(x, [[3109, 4110, 5111], [100, 1101, 2102]])


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("number", [-1, 4])
def test_a_row_that_is_not_there_is_an_error(which, number):
    """NumPy would count -1 from the end, and a kernel would read foreign memory."""
    index = [rows(0, 0), rows(0, 0), rows(0, 0)]
    index[which][1] = number
    with pytest.raises(IndexError):
        kernels.embedding(*index, *TABLES)


@each_dtype
def test_tokens_that_share_a_row_add_their_gradients(dtype):
    dx, dW = np.arange(9, dtype=dtype).reshape(3, 3), np.ones((4, 3), dtype)
    kernels.embedding_backward(dx, rows(2, 0, 2), dW)
    np.testing.assert_array_equal(dW, [[4, 5, 6], [1, 1, 1], [7, 9, 11], [1, 1, 1]])
