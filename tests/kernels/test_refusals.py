"""What does not fit is refused: kernels do not check bounds, and would read or write whatever memory lies there."""

import numpy as np
import pytest

import kernels

pytestmark = pytest.mark.skipif(kernels.BACKEND == "numpy", reason="NumPy refuses in its own words")

T, D, V = 5, 4, 7
x, row, offsets = np.ones((T, D), np.float32), np.ones(D, np.float32), np.array([0, 2, T])
ids = np.zeros(T, np.int32)
table, lse = np.ones((V, D), np.float32), np.ones((T, 2), np.float32)

REFUSED = {
    "a label that is no class": (IndexError, "softmax_cross_entropy", (x, np.array([0, 1, 2, 3, 4]))),
    "a negative label": (IndexError, "softmax_cross_entropy", (x, np.array([0, 1, 2, 3, -1]))),
    "too few labels": (ValueError, "softmax_cross_entropy", (x, np.array([0, 1]))),
    "an index beyond the table": (IndexError, "embedding_backward", (x, ids + V, table)),
    "gradients for fewer tokens": (ValueError, "embedding_backward", (x[:3], ids, table)),
    "a token beyond the table": (IndexError, "embedding", (ids + V, ids, ids, table, table, table)),
    "fewer segments than tokens": (ValueError, "embedding", (ids, ids[:2], ids, table, table, table)),
    "a narrow table": (ValueError, "embedding", (ids, ids, ids, table, table[:, :2], table)),
    "a residual of fewer rows": (ValueError, "layernorm", (x, x[:2], row, row, 1e-12)),
    "a short gamma": (ValueError, "layernorm", (x, None, row[:3], row, 1e-12)),
    "a beta of another dtype": (ValueError, "layernorm", (x, None, row, row.astype(float), 1e-12)),
    "a short dgamma": (ValueError, "layernorm_backward", (x, x, x[:, 0], row, row[:3].copy(), row.copy())),
    "fewer standard deviations": (ValueError, "layernorm_backward", (x, x, x[:2, 0], row)),
    "fewer values than keys": (ValueError, "attention", (x, x, x[:3], offsets, offsets, 2)),
    "offsets that end too late": (ValueError, "attention", (x, x, x, offsets, np.array([0, 2, T + 1]), 2)),
    "offsets that go down": (ValueError, "attention", (x, x, x, np.array([0, 7, T]), offsets, 2)),
    "offsets of fewer sequences": (ValueError, "attention", (x, x, x, offsets, np.array([0, T]), 2)),
    "an lse of fewer rows": (ValueError, "attention_backward", (x, x, x, x, lse[:2], offsets, offsets)),
    "a gradient of fewer rows": (ValueError, "attention_backward", (x[:2], x, x, x, lse, offsets, offsets)),
}


@pytest.mark.parametrize("error, name, arguments", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(error, name, arguments):
    with pytest.raises(error):
        getattr(kernels, name)(*arguments)


def test_biases_and_weights_of_one_product_must_fit():
    Ws = kernels.freeze_each([np.ones((D, 32), np.float32) for _ in range(3)])
    for biases in ([np.ones(32, np.float32)] * 2, [np.ones(31, np.float32)] * 3):
        with pytest.raises(ValueError):
            kernels.matmul_each(x, Ws, biases)


def test_one_of_two_gradients_of_layernorm():
    """Whichever of gamma and beta is trained: the other needs no place."""
    both = np.zeros(D, np.float32), np.zeros(D, np.float32)
    n, inverse_std = np.arange(T * D, dtype=np.float32).reshape(T, D), np.ones(T, np.float32)
    kernels.layernorm_backward(x, n, inverse_std, row, *both)
    for i in range(2):
        one = [None, None]
        one[i] = np.zeros(D, np.float32)
        kernels.layernorm_backward(x, n, inverse_std, row, *one)
        np.testing.assert_array_equal(one[i], both[i])
    np.testing.assert_array_equal(inverse_std, np.ones(T, np.float32))
