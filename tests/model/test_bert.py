"""The encoder: what forward keeps, what backward uses up, sequences that do not see each other."""

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model
from tiny import CONFIG

from minibert import AdapterConfig
from minibert.attention import PROJECTIONS, attention_backward, attention_forward
from minibert.bert import context_of, encoder_backward, encoder_forward
from minibert.config import METHODS
from minibert.gradcheck import tiny_batch, tiny_model
from minibert.layers import Context
from minibert.params import flatten, unflatten


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


@pytest.mark.parametrize("method", ["adapter", "full"])
@pytest.mark.parametrize("all_rows", [True, False])
def test_copies_of_offsets_change_nothing(method, all_rows):
    """Whether queries come from all rows is one decision of forward and backward: it was two, by identity of two
    different things."""
    model = tiny_model(method, "classify")
    batch = tiny_batch(model.config, "classify")[0]
    found = []
    for copied in (False, True):
        context = context_of(batch, model.config, model.adapter, all_rows=all_rows)
        context = context._replace(offsets_q=context.offsets_q.copy()) if copied else context
        grads, params = (
            unflatten({n: f(a) for n, a in arrays.items()})
            for f, arrays in ((np.zeros_like, model.trained()), (np.copy, model.parameters()))
        )
        hidden, caches = encoder_forward(batch, params, grads, context)
        encoder_backward(np.arange(hidden.size).reshape(hidden.shape) / 10, batch, params, caches, grads, context)
        found.append({"hidden": hidden} | flatten(grads))
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, err_msg=name, rtol=1e-12)


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
def test_attention_of_a_copy_gives_its_gradient_in_two_parts(trained):
    """x_q and x_kv equal, and one array or two: dx_q + dx_kv is the same. The offsets are one array or two as well."""
    rng, D = np.random.default_rng(0), CONFIG.hidden_size
    p = {name: {"W": rng.standard_normal((D, D)) / 6, "b": rng.standard_normal(D)} for name in (*PROJECTIONS, "output")}
    x, dy, offsets = rng.standard_normal((9, D)), rng.standard_normal((9, D)), np.array([0, 4, 9])
    found = []
    for x_q in (x, x.copy()):
        for offsets_q in (offsets, offsets.copy()):
            grads = (
                {name: {k: np.zeros_like(a) for k, a in layer.items()} for name, layer in p.items()} if trained else {}
            )
            context = Context(CONFIG, offsets_q, offsets)
            y, cache = attention_forward(x_q, x, p, grads, context)
            dx_q, dx_kv = attention_backward(dy, p, cache, grads, context, dx_accum=dy)
            assert (dx_kv is None) == (x_q is x)
            found.append({"y": y, "dx": dx_q if dx_kv is None else dx_q + dx_kv} | flatten(grads))
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_allclose(other[name], array, err_msg=name, rtol=1e-9, atol=1e-12)


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
