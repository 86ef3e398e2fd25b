"""The paper's adapter: its initialization, near the identity."""

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model

from minibert import AdapterConfig
from minibert.adapter import adapter_init, truncated_normal
from minibert.config import PRESETS


def test_adapters_start_near_the_identity(backbone):
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
    start = adapter_init(AdapterConfig(size=64), PRESETS["minilm-l6"], seed=0)
    weights = np.concatenate([a.reshape(-1) for name, a in start.items() if name.endswith("/W")])
    assert np.abs(weights).max() <= 2e-2
    assert weights.std() == pytest.approx(0.8796e-2, rel=0.01)  # of a Gaussian cut at two of its deviations of 1e-2
    assert abs(weights.mean()) < 1e-4
    assert all((a == 0).all() for name, a in start.items() if name.endswith("/b"))


def test_the_start_is_a_function_of_seed_and_name(backbone):
    np.testing.assert_array_equal(truncated_normal("a", (3, 4), 1, 0), truncated_normal("a", (3, 4), 1, 0))
    for name, seed in (("b", 0), ("a", 1)):
        assert not np.array_equal(truncated_normal("a", (3, 4), 1, 0), truncated_normal(name, (3, 4), 1, seed))
    small, large = (make_model(backbone, adapter=AdapterConfig(size)).parameters() for size in (4, 8))
    for name in small:
        assert np.array_equal(small[name], large[name]) == ("/adapter/" not in name or name.endswith("up/b"))
