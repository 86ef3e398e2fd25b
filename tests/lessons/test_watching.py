"""lessons.watch: what it shows is what the model computes, and the model stays as it was."""

import numpy as np
import pytest
from tiny import CONFIG

from minibert import lessons
from minibert.backbone import random_backbone
from minibert.config import AdapterConfig
from minibert.errors import InputError
from minibert.gradcheck import away_from_identity, tiny_batch
from minibert.lessons import watching
from minibert.lessons.special import normal_cdf
from minibert.model import Model

SIZES = {"adapter": AdapterConfig(size=3), "n_out": 3, "seed": 1}


@pytest.fixture(scope="module")
def backbone():
    return random_backbone(CONFIG)


@pytest.fixture(scope="module")
def batch():
    return tiny_batch(CONFIG, "classify")[0]


def test_the_last_state_is_what_the_backbone_gives(backbone, batch):
    watched = lessons.watch(backbone, batch)
    assert list(watched.states) == ["embeddings", *(f"layer {i}" for i in range(CONFIG.n_layers))]
    last = watched.states[f"layer {CONFIG.n_layers - 1}"]
    np.testing.assert_allclose(last, backbone.forward(batch), rtol=1e-5, atol=1e-6)
    assert not watched.adapters and not watched.changes()


def test_what_an_adapter_adds_is_what_is_lost_without_it(backbone, batch):
    model = Model(backbone, method="adapter", **SIZES)
    near = lessons.watch(model, batch)
    assert list(near.adapters) == [f"layer {i} {p}" for i in range(CONFIG.n_layers) for p in watching.PLACES]
    assert max(near.changes().values()) < 1e-2, "near the identity"
    away_from_identity(model)
    before = {name: np.array(a) for name, a in model.parameters().items()}
    far, logits = lessons.watch(model, batch), model.forward(batch)
    assert min(far.changes().values()) > 1e-2
    shown = repr(far).splitlines()
    assert shown[0].startswith(f"{1 + CONFIG.n_layers} hidden states (12, {CONFIG.hidden_size}): embeddings, layer 0")
    first = next(iter(far.changes().values()))
    assert shown[1] == f"layer 0 attention: |y - x| / |x| = {first:.3f}" and len(shown) == 1 + len(far.adapters)
    for name, (x, y) in far.adapters.items():
        p = model.parameters()
        place = f"encoder/layers/{name.split()[1]}/{name.split()[2]}/adapter"
        u = x @ p[f"{place}/down/W"] + p[f"{place}/down/b"]
        added = y - x - p[f"{place}/up/b"]
        np.testing.assert_allclose(added, (u * normal_cdf(u)) @ p[f"{place}/up/W"], atol=1e-5)
    bare = lessons.watch(model.without_adapters(range(CONFIG.n_layers)), batch)
    assert not bare.adapters
    np.testing.assert_array_equal(bare.states["embeddings"], far.states["embeddings"])
    assert np.abs(bare.states["layer 0"] - far.states["layer 0"]).max() > 1e-3
    assert all(np.array_equal(model.parameters()[name], a) for name, a in before.items())
    np.testing.assert_array_equal(model.forward(batch), logits)


@pytest.mark.parametrize("texts", [["a good film"], "a good film", None])
def test_texts_are_no_batch(backbone, texts):
    with pytest.raises(InputError, match=r"needs a batch, got .*: give backbone\.encode\(texts\)"):
        lessons.watch(backbone, texts)


def test_a_variant_is_refused(backbone, batch):
    model = Model(backbone, method="adapter", **SIZES | {"adapter": AdapterConfig(size=3, parallel=True)})
    with pytest.raises(InputError, match="paper's form"):
        lessons.watch(model, batch)


def test_each_adapter_reads_what_comes_before_it(backbone, batch):
    model = Model(backbone, method="adapter", **SIZES)
    before = lessons.watch(model, batch).adapters
    model.trained()["encoder/layers/0/attention/adapter/up/b"][0] += 1  # one element: LayerNorm removes a shift of all
    after = lessons.watch(model, batch).adapters
    np.testing.assert_array_equal(before["layer 0 attention"][0], after["layer 0 attention"][0])
    for name in ("layer 0 feed_forward", "layer 1 attention"):
        assert np.abs(before[name][0] - after[name][0]).max() > 1e-3
