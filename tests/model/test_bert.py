"""The encoder: what forward keeps, what backward uses up, sequences that do not see each other."""

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model
from tiny import CONFIG

from minibert import AdapterConfig
from minibert.bert import context_of, encoder_backward, encoder_forward
from minibert.config import METHODS
from minibert.params import unflatten


def forward_with_caches(model, batch):
    grads = unflatten({name: np.zeros_like(a) for name, a in model.trained().items()})
    context = context_of(batch, model.config, model.adapter)
    params = unflatten({name: array.copy() for name, array in model.parameters().items()})
    hidden, caches = encoder_forward(batch, params, grads, context)
    return hidden, caches, lambda: encoder_backward(np.ones_like(hidden), batch, params, caches, grads, context)


@pytest.mark.parametrize(
    "method, options, nothing_kept",
    [
        ("adapter", {}, [False, False, False]),
        ("adapter", {"train_layernorm": False}, [True, False, False]),
        ("top_k", {"top_k": 1}, [True, True, False]),
        ("top_k", {"top_k": 2}, [False, False, False]),
        ("full", {}, [False, False, False]),
        ("head", {}, [True, True, True]),
    ],
)
def test_nothing_is_kept_below_the_lowest_trained_layer(backbone, method, options, nothing_kept):
    """The caches are those of the embeddings and of the two layers."""
    _, caches, _ = forward_with_caches(make_model(backbone, method, **options), encode(backbone, TEXTS))
    assert [cache is None for cache in caches] == nothing_kept


def kept_numbers(cache):
    """Elements of all arrays in nested tuples, each array counted once."""
    if isinstance(cache, np.ndarray):
        return {id(cache): cache.size}
    return {k: n for part in cache or () for k, n in kept_numbers(part).items()}


def test_adapter_tuning_keeps_only_what_its_backward_needs(backbone):
    """A token and a layer: q, k, v and lse; twice what LayerNorm and the adapter need; the GELU's input."""
    batch, model = encode(backbone, TEXTS), make_model(backbone)
    _, caches, _ = forward_with_caches(model, batch)
    D, H, F, M = CONFIG.hidden_size, CONFIG.n_heads, CONFIG.feed_forward_size, 4
    expected = [D + 1] + [3 * D + H + 2 * (D + 1 + D + M + M) + F] * CONFIG.n_layers
    assert [sum(kept_numbers(cache).values()) for cache in caches] == [batch.n_tokens * n for n in expected]


@pytest.mark.parametrize("method", METHODS)
def test_backward_twice_is_an_error(backbone, method):
    _, caches, backward = forward_with_caches(make_model(backbone, method), encode(backbone, TEXTS))
    backward()
    assert caches == []
    with pytest.raises(RuntimeError, match="used by a backward pass"):
        backward()


def test_scores_do_not_depend_on_companions_or_order(backbone):
    model = make_model(backbone, adapter=AdapterConfig(4, init_std=0.3))
    texts = [*TEXTS, "", "good " * 30, "tea"]
    together = model.forward(backbone.encode(texts, max_length=24))
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = model.forward(backbone.encode([texts[i] for i in order], max_length=24))
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    alone = np.concatenate([model.forward(backbone.encode([text], max_length=24)) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert together.std(axis=0).min() > 1e-3
