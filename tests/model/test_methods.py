"""What each method trains, and what it leaves frozen."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import LABELS, TEXTS, encode, make_model, options_of
from tiny import CONFIG

from minibert import AdapterConfig, Model
from minibert.backbone import random_backbone
from minibert.bert import context_of, encoder_forward
from minibert.config import METHODS, PRESETS
from minibert.gradcheck import true_gradient_is_zero
from minibert.methods import parameter_table, percent, trained_names
from minibert.optim import Adam
from minibert.params import flatten, unflatten
from minibert.storage import fingerprint
from minibert.text import pack

EXPECTED = {
    "adapter": lambda name: "/adapter/" in name or "/norm/" in name,
    "full": lambda name: True,
    "top_k": lambda name: name.startswith("encoder/layers/1/"),
    "layernorm": lambda name: "/norm/" in name,
    "head": lambda name: False,
}


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_there_for_what_is_trained_and_nothing_else(backbone, method):
    model = make_model(backbone, method)
    names = {name for name in model.parameters() if name.startswith("head/") or EXPECTED[method](name)}
    _, grads = model.loss_and_grads(encode(backbone, TEXTS), LABELS)
    assert set(grads) == set(model.trained()) == names
    zero = {name for name in grads if true_gradient_is_zero(name, model)}  # what is there is rounding
    assert all(np.abs(grad).max() > 0 for name, grad in grads.items() if name not in zero)


@pytest.mark.parametrize("method", METHODS)
def test_the_frozen_stays_and_the_trained_moves(backbone, method):
    model, batch = make_model(backbone, method), encode(backbone, TEXTS)
    before = {name: array.copy() for name, array in model.parameters().items()}
    frozen = set(before) - set(model.trained())
    for name in frozen:
        array = model.parameters()[name]
        assert np.shares_memory(array, flatten(backbone.params)[name])
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    adam = Adam(model.trained(), weight_decay=0.01)
    for step in range(20):
        adam.step(model.loss_and_grads(batch, LABELS, dropout_step=step)[1], 1e-3)
    same = {name for name, array in model.parameters().items() if np.array_equal(array, before[name])}
    assert same == frozen
    assert fingerprint(flatten(backbone.params)) == backbone.fingerprint


@pytest.mark.parametrize("method", METHODS)
def test_what_is_frozen_is_never_out_of_date(method):
    """After training the model computes what one does that has frozen nothing."""
    config = replace(CONFIG, hidden_size=96, n_heads=2, feed_forward_size=192)
    backbone = random_backbone(config, std=0.15)
    model = Model(backbone, method=method, **options_of(method, size=64))
    batch = pack([[2, 5, 6, 3], [2, 7, 3]], [[0] * 4, [0] * 3])
    adam = Adam(model.trained())
    for _ in range(3):
        adam.step(model.loss_and_grads(batch, np.array([0, 1]))[1], 1e-2)
    tree = unflatten({name: a.copy() for name, a in model.parameters().items()})  # with nothing frozen
    fresh, _ = encoder_forward(batch, tree, None, context_of(batch, config, model.adapter))
    np.testing.assert_allclose(model.hidden(batch), fresh, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "preset, backbone_size, size, adapters, layernorms, head",
    [
        ("bert-base", 109_482_240, 8, 313_536, 38_400, 1_538),
        ("bert-base", 109_482_240, 64, 2_379_264, 38_400, 1_538),
        ("bert-base", 109_482_240, 256, 9_461_760, 38_400, 1_538),
        ("bert-large", 335_141_888, 8, 835_968, 100_352, 2_050),
        ("bert-large", 335_141_888, 64, 6_343_680, 100_352, 2_050),
        ("bert-large", 335_141_888, 256, 25_227_264, 100_352, 2_050),
    ],
)
def test_parameter_counts_of_the_paper(preset, backbone_size, size, adapters, layernorms, head):
    bert, config = PRESETS[preset], AdapterConfig(size)
    D, L, M = bert.hidden_size, bert.n_layers, size
    assert adapters == 2 * L * (2 * M * D + D + M) and layernorms == (2 * L + 1) * 2 * D and head == 2 * D + 2
    shapes = bert.shapes() | config.shapes(bert) | {"head/W": (D, 2), "head/b": (2,)}
    trained = {g: n for g, _, n in parameter_table(shapes, trained_names(shapes, "adapter", L)) if n}
    total = adapters + layernorms + head
    assert trained == {"adapters": adapters, "LayerNorms": layernorms, "head": head, "total": total}
    assert parameter_table(bert.shapes(), set())[-1] == ("total", backbone_size, 0)


def test_a_small_share_is_not_shown_as_none():
    shares = {
        (0, 7): "0.00",
        (770, 22_713_986): "0.003",
        (9_984, 22_713_986): "0.04",
        (2_271, 22_710_000): "0.01",
        (612_000, 22_713_986): "2.69",
    }
    assert {place: percent(*place) for place in shares} == shares
    assert percent(1, 1) == "100.00"
