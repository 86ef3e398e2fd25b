"""Taking trained adapters out again."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import CONFIG

from minibert.backbone import random_backbone
from minibert.config import AdapterConfig
from minibert.errors import InputError
from minibert.evaluate import Split, evaluate
from minibert.gradcheck import away_from_identity, tiny_batch
from minibert.lab.ablate import ablated_scores, ablation_rows, format_heatmap
from minibert.model import Model
from minibert.optim import Adam

THREE_LAYERS = replace(CONFIG, n_layers=3)


@pytest.fixture(scope="module")
def model():
    model = Model(random_backbone(THREE_LAYERS, seed=3, std=0.15), n_out=3, adapter=AdapterConfig(4))
    away_from_identity(model, std=1.0)
    return model


@pytest.fixture(scope="module")
def batch():
    return tiny_batch(THREE_LAYERS, "classify")[0]


def test_without_adapters_is_the_model_whose_adapters_add_nothing(model, batch):
    before = model.forward(batch)
    left = model.without_adapters([0, 2])
    silent = Model(model.backbone, n_out=3, adapter=AdapterConfig(4))
    silent.load_trained(model.trained())
    for name, array in silent.trained().items():
        if "/adapter/up/" in name and "/layers/1/" not in name:
            array[...] = 0
    np.testing.assert_array_equal(left.forward(batch), silent.forward(batch))
    assert not np.allclose(left.forward(batch), before)
    np.testing.assert_array_equal(model.forward(batch), before)  # the model itself is as it was


def test_without_adapters_is_for_scoring_only(model, batch):
    """A bank would hold it as a model of the whole adapter, which it is not."""
    left = model.without_adapters(range(3))
    for use in (
        lambda: left.loss_and_grads(batch, [0, 1, 2]),
        lambda: left.caches(batch),
        lambda: left.trained(),
        lambda: left.load_trained(dict(model.trained())),
        lambda: left.to_record("spans", ["a", "b", "c"]),
        lambda: Adam(left.trained()),
    ):
        with pytest.raises(RuntimeError, match="for scoring only: adapters were taken out"):
            use()
    assert left.loss(batch, [0, 1, 2]) > 0
    assert set(left.parameters()) == {name for name in model.parameters() if "/adapter/" not in name}
    np.testing.assert_array_equal(model.without_adapters([]).forward(batch), model.forward(batch))
    one, other = left.without_adapters([]), model.without_adapters([0]).without_adapters([1, 2])
    np.testing.assert_array_equal(one.forward(batch), other.forward(batch))


def test_every_span_is_scored_without_its_adapters(model, batch):
    labels = model.predict(batch).argmax(axis=1)
    labels[1] = (labels[1] + 1) % 3
    split = Split(batch, labels, 24)
    full, scores = ablated_scores(model, split, "accuracy")
    assert full == pytest.approx(2 / 3)
    assert np.isnan(scores[np.tril_indices(3, -1)]).all() and np.isfinite(scores[np.triu_indices(3)]).all()
    for i, j in ((0, 0), (1, 2), (0, 2)):
        removed = model.without_adapters(range(i, j + 1))
        assert scores[i, j] == evaluate(removed, split, ("accuracy",))["accuracy"]
    rows = ablation_rows("made up", "accuracy", full, scores)
    assert [(row["first"], row["last"]) for row in rows] == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert all(row["relative"] == pytest.approx(100 * (row["accuracy"] / full - 1)) for row in rows)
    assert len(format_heatmap(full, scores).splitlines()) == 4
    of_nothing = ablation_rows("made up", "matthews", 0.0, scores)
    assert all(np.isnan(row["relative"]) and row["change"] == 100 * row["matthews"] for row in of_nothing)


def test_a_task_without_adapters_is_refused(batch):
    head = Model(random_backbone(CONFIG), method="head")
    with pytest.raises(InputError, match="method head: it has no adapters"):
        ablated_scores(head, Split(batch, np.zeros(3, int), 24), "accuracy")
