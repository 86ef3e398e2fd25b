"""The paper's adapter: forward and backward by hand; its initialization, near the identity."""

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model

from minibert import AdapterConfig
from minibert.adapter import adapter_backward, adapter_forward, adapter_init
from minibert.config import PRESETS
from minibert.params import flatten, unflatten

# ------------------------------------------------------------------- by hand: docs/adapter_by_hand.md, the same numbers

X, DY = [[2.0, 1.0], [3.0, 1.0]], [[1.0, 2.0], [1.0, -1.0]]
GELU_1, GELU_GRAD_1 = 0.8413, 1.0833  # cdf(1), and cdf(1) + pdf(1), to four decimals
ROUNDING = 2e-4


def by_hand():
    """D = 2, M = 1, in float64: the parameters, and a place for each gradient."""
    p = {
        "down": {"W": np.array([[1.0], [-1.0]]), "b": np.array([-1.0])},
        "up": {"W": np.array([[2.0, 1.0]]), "b": np.array([1.0, -1.0])},
    }
    return p, {name: {leaf: np.zeros_like(a) for leaf, a in linear.items()} for name, linear in p.items()}


def assert_by_hand(ours, numbers, tolerance=ROUNDING):
    assert np.shape(ours) == np.shape(numbers)
    np.testing.assert_allclose(ours, numbers, rtol=0, atol=tolerance)


def test_forward_by_hand():
    p, grads = by_hand()
    y, (x, h, act_grad) = adapter_forward(np.array(X), p, grads)
    assert_by_hand(h, [[0], [GELU_1]])
    assert_by_hand(act_grad, [[0.5], [GELU_GRAD_1]])
    assert_by_hand(y, [[3, 0], [5.6826, 0.8413]])
    assert_by_hand(x, X, 0)


def test_backward_by_hand():
    p, grads = by_hand()
    _, cache = adapter_forward(np.array(X), p, grads)
    dx = adapter_backward(np.array(DY), p, cache, grads)
    assert_by_hand(grads["up"]["W"], [[0.8413, -0.8413]])
    assert_by_hand(grads["up"]["b"], [2, 1])
    assert_by_hand(grads["down"]["W"], [[7.2499], [3.0833]])
    assert_by_hand(grads["down"]["b"], [3.0833])
    assert_by_hand(dx, [[3, 0], [2.0833, -2.0833]])


def test_the_first_token_by_hand_is_exact():
    """Where u is 0 nothing is rounded."""
    p, grads = by_hand()
    y, cache = adapter_forward(np.array(X[:1]), p, grads)
    dx = adapter_backward(np.array(DY[:1]), p, cache, grads)
    assert_by_hand(y, [[3, 0]], 1e-15)
    assert_by_hand(grads["up"]["W"], [[0, 0]], 1e-15)
    assert_by_hand(grads["up"]["b"], [1, 2], 1e-15)
    assert_by_hand(grads["down"]["W"], [[4], [2]], 1e-15)
    assert_by_hand(grads["down"]["b"], [2], 1e-15)
    assert_by_hand(dx, [[3, 0]], 1e-15)


def test_gradients_are_added_to_what_is_there():
    p, grads = by_hand()
    once = by_hand()[1]
    for places, times in ((once, 1), (grads, 2)):
        for _ in range(times):
            adapter_backward(np.array(DY), p, adapter_forward(np.array(X), p, places)[1], places)
    for name, linear in grads.items():
        for leaf, grad in linear.items():
            np.testing.assert_allclose(grad, 2 * once[name][leaf], rtol=1e-14, err_msg=f"{name}/{leaf}")


@pytest.mark.parametrize("trained", ["up/b", "down/W", "none"])
def test_what_is_not_trained_gets_no_gradient_and_passes_dx_on(trained):
    p, everything = by_hand()
    _, cache = adapter_forward(np.array(X), p, everything)
    exact = adapter_backward(np.array(DY), p, cache, everything)
    grads = unflatten({name: np.zeros_like(a) for name, a in flatten(p).items() if name == trained})
    dx = adapter_backward(np.array(DY), p, adapter_forward(np.array(X), p, grads)[1], grads)
    np.testing.assert_array_equal(dx, exact)
    assert set(flatten(grads)) == {trained} - {"none"}
    for name, grad in flatten(grads).items():
        np.testing.assert_array_equal(grad, flatten(everything)[name])


def test_without_gradients_nothing_is_kept():
    assert adapter_forward(np.array(X), by_hand()[0], None)[1] is None


def test_with_zeros_in_w_up_it_is_the_identity_and_so_is_its_gradient():
    p, grads = by_hand()
    p["up"]["W"][...], p["up"]["b"][...] = 0, 0
    y, cache = adapter_forward(np.array(X), p, grads)
    assert_by_hand(y, X, 0)
    assert_by_hand(adapter_backward(np.array(DY), p, cache, grads), DY, 0)
    assert (grads["down"]["W"] == 0).all() and (grads["up"]["W"] != 0).all()


# ------------------------------------------------------------------------------------------------------ initialization


def test_adapters_begin_near_the_identity(backbone):
    batch = encode(backbone, TEXTS)
    first = backbone.forward(batch)[batch.first_rows]
    distances = []
    for std in (1e-2, 1e-3):
        model = make_model(backbone, adapter=AdapterConfig(size=64, init_std=std))
        plain = first @ model.parameters()["head/W"]
        distances.append(np.abs(model.forward(batch) - plain).max() / np.abs(plain).max())
    assert 0 < distances[0] < 0.05
    assert distances[1] < 0.05 * distances[0]  # two weights deep, so a hundredth but for rounding


def test_adapter_weights_are_a_gaussian_cut_off_at_two_deviations():
    initial = adapter_init(AdapterConfig(size=64), PRESETS["minilm-l6"], seed=0)
    weights = np.concatenate([a.reshape(-1) for name, a in initial.items() if name.endswith("/W")])
    assert np.abs(weights).max() <= 2e-2
    assert weights.std() == pytest.approx(0.8796e-2, rel=0.01)  # of a Gaussian cut at two of its deviations of 1e-2
    assert abs(weights.mean()) < 1e-4
    assert all((a == 0).all() for name, a in initial.items() if name.endswith("/b"))


def test_the_initialization_is_a_function_of_seed_and_name(backbone):
    small, large = (make_model(backbone, adapter=AdapterConfig(size)).parameters() for size in (4, 8))
    for name in small:
        assert np.array_equal(small[name], large[name]) == ("/adapter/" not in name or name.endswith("up/b"))
