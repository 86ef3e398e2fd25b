"""Taking trained adapters out again, and the pictures of what that does."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import CONFIG

from minibert.config import AdapterConfig, InputError
from minibert.gradcheck import away_from_identity, tiny_batch
from minibert.lab import plots
from minibert.lab.ablate import ablated_scores, ablation_rows, format_heatmap
from minibert.model import Model, random_backbone
from minibert.scoring import Split, evaluate

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


def test_without_adapters_trains_what_is_left(model, batch):
    left = model.without_adapters(range(3))
    _, grads = left.loss_and_grads(batch, [0, 1, 2])
    assert set(grads) == set(left.trained()) == {name for name in model.trained() if "/adapter/" not in name}
    assert left.trained()["head/W"] is model.trained()["head/W"]
    np.testing.assert_array_equal(model.without_adapters([]).forward(batch), model.forward(batch))


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


def test_a_task_without_adapters_is_refused(batch):
    head = Model(random_backbone(CONFIG), method="head")
    with pytest.raises(InputError, match="method head: it has no adapters"):
        ablated_scores(head, Split(batch, np.zeros(3, int), 24), "accuracy")


TRADE_OFF = [
    {"task": task, "method": method, "params": params, "mean": 80 + i, "sem": 0.5}
    for task in ("cola", "mrpc")
    for i, (method, params) in enumerate([("adapter", 1e4), ("adapter", 1e5), ("top_k", 1e6), ("layernorm", 1e4)])
]
BANDS = [
    {"suite": "GLUE", "method": method, "params": params, "p20": -2, "p50": -1, "p80": 0}
    for method in ("adapter", "top_k")
    for params in (1e4, 1e6)
]
SPANS = ablation_rows("made up", "accuracy", 0.9, np.array([[0.9, 0.5], [np.nan, 0.7]]))
INIT = [{"task": "made up", "std": std, "mean": 70, "sem": 1} for std in (1e-7, 1e-2, 1)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.trade_off(TRADE_OFF, path),
        lambda path: plots.percentile_bands(BANDS, path),
        lambda path: plots.heatmap(SPANS, path),
        lambda path: plots.figure6(SPANS, INIT, path),
    ],
    ids=["trade_off", "percentile_bands", "heatmap", "figure6"],
)
def test_pictures_are_drawn(draw, tmp_path):
    path = tmp_path / "new" / "figure.png"
    draw(path)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000
    with pytest.raises(InputError, match="cannot be written"):
        draw(tmp_path / "figure.unknown")
