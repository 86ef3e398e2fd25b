"""Adam beside recorded steps of PyTorch's AdamW, the learning rate's rise and fall, clipping."""

import math

import numpy as np
import pytest

from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.params import FlatParams

GRADIENTS = ([0.1, -0.2, 0.0], [0.3, 0.1, -1.0], [-0.5, 0.0, 2.0])
# torch.optim.AdamW([1, -2, 0.5], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01) after each of them, float64
STEPS_OF_TORCH = (
    [0.8990000099999991, -1.8980000049999997, 0.4995],
    [0.80632290219559, -1.8694683027136758, 0.573414181304593],
    [0.8216080091835878, -1.8470109056478077, 0.5414121504172414],
)


flat = FlatParams.copy_of


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_adam_steps_as_torch_does(dtype, tolerance):
    params = flat({"head/W": np.array([1, -2, 0.5], dtype)})
    adam = Adam(params, weight_decay=0.01)
    for gradient, expected in zip(GRADIENTS, STEPS_OF_TORCH, strict=True):
        adam.step(flat({"head/W": np.array(gradient, dtype)}), lr=0.1)
        np.testing.assert_allclose(params["head/W"], expected, rtol=tolerance)


def test_first_step_is_the_learning_rate_whatever_the_gradient():
    """m / sqrt(v) is the sign of the gradient at step 1, when both averages are corrected for their start at zero."""
    params = flat({"head/b": np.zeros(4)})
    Adam(params).step(flat({"head/b": np.array([1e-3, -1e-3, 1e3, -1e3])}), lr=0.01)
    np.testing.assert_allclose(params["head/b"], [-0.01, 0.01, -0.01, 0.01], rtol=1e-4)


def test_only_weights_decay():
    names = ("head/W", "head/b", "embeddings/norm/gamma", "embeddings/norm/beta")
    params = flat({name: np.ones(2) for name in names})
    adam = Adam(params, weight_decay=0.5)
    adam.step(FlatParams.zeros_like(params), lr=0.1)
    assert [params[name][0] for name in names] == [0.95, 1.0, 1.0, 1.0]


def test_a_loaded_state_goes_on_with_the_same_bits():
    rng = np.random.default_rng(0)
    gradients = [flat({"head/W": rng.standard_normal((5, 3)).astype(np.float32)}) for _ in range(6)]
    params = flat({"head/W": np.ones((5, 3), np.float32)})
    adam = Adam(params, 0.01)
    for i, gradient in enumerate(gradients):
        if i == 3:
            state = {name: array.copy() for name, array in adam.state().items()}
        adam.step(gradient, 1e-2)
    resumed = Adam(FlatParams.zeros_like(params), 0.01)
    resumed.load_state(state, steps=3)
    for gradient in gradients[3:]:
        resumed.step(gradient, 1e-2)
    np.testing.assert_array_equal(resumed.params["head/W"], params["head/W"])


def test_learning_rate_rises_for_a_tenth_then_falls_to_zero():
    rates = [learning_rate(step, 100, peak=2.0) for step in range(101)]
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:], 2.0 * np.arange(90, -1, -1) / 90)
    assert rates[9] == rates[10] == 2.0 and rates[100] == 0.0
    assert sum(rates) == pytest.approx(2.0 * (5.5 + 45.5))


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.25, 1.0])
def test_learning_rate_of_runs_of_any_length(warmup):
    for steps in range(1, 60):
        rates = [learning_rate(step, steps, 1.0, warmup) for step in range(steps)]
        assert max(rates) == 1.0 and min(rates) > 0, steps
        top = rates.index(1.0)
        assert abs(top + 1 - warmup * steps) <= 1 or top == 0, steps
        assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)


def gradients_of_norm_13(dtype=np.float32):
    return flat({"a": np.array([3, 4], dtype), "b": np.array([[12]], dtype)})


def test_clipping_scales_all_gradients_together():
    grads = gradients_of_norm_13()
    assert clip_by_global_norm(grads, 6.5) == pytest.approx(13)
    np.testing.assert_allclose(grads["a"], [1.5, 2])
    np.testing.assert_allclose(grads["b"], [[6]])
    assert grads["a"].dtype == np.float32


@pytest.mark.parametrize("largest", [0, 13, 100])
def test_clipping_leaves_what_is_small_enough(largest):
    grads = gradients_of_norm_13()
    assert clip_by_global_norm(grads, largest) == pytest.approx(13)
    for name, grad in gradients_of_norm_13().items():
        np.testing.assert_array_equal(grads[name], grad)


def test_the_norm_tells_of_nan_and_infinity_and_does_not_overflow():
    assert math.isnan(clip_by_global_norm(flat({"a": np.array([1, np.nan], np.float32)}), 1.0))
    assert math.isinf(clip_by_global_norm(flat({"a": np.array([1, -np.inf], np.float32)}), 0))
    assert clip_by_global_norm(flat({"a": np.full(4, 1e30, np.float32)}), 0) == pytest.approx(2e30)


def test_a_plain_dict_is_told_what_is_wanted():
    grads = {"x/W": np.ones(3, np.float32)}
    for use in (lambda: clip_by_global_norm(grads, 1.0), lambda: Adam(flat(grads)).step(grads, 0.1)):
        with pytest.raises(TypeError, match="must be FlatParams"):
            use()


@pytest.mark.parametrize("names", [("x/W",), ("x/W", "z/b", "y/W"), ("z/b", "x/W")])
def test_gradients_of_other_parameters_are_refused(names):
    adam = Adam(flat({name: np.zeros(3, np.float32) for name in ("x/W", "z/b")}))
    with pytest.raises(ValueError, match="the parameters' names, in their order"):
        adam.step(flat({name: np.ones(3, np.float32) for name in names}), lr=0.1)
    assert adam.steps == 0 and not adam.params.all.any()
