"""Taking trained adapters out again, and the pictures of what that does."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import CONFIG

from minibert.config import AdapterConfig
from minibert.errors import InputError
from minibert.evaluate import Split, evaluate
from minibert.gradcheck import away_from_identity, tiny_batch
from minibert.lab import plots
from minibert.lab.ablate import ablated_scores, ablation_rows, format_heatmap
from minibert.model import Model, random_backbone
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


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the picture that was drawn last."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    return lambda: figures[-1].axes


def test_trade_off_shows_means_with_one_standard_error(drawn):
    rows = [
        {"task": task, "method": method, "params": params, "mean": mean, "sem": sem}
        for task in ("one", "two")
        for method, params, mean, sem in (
            ("adapter", 100, 80, 2),
            ("adapter", 10, 70, 1),
            ("top_k", 1000, 85, 0.5),
            ("top_k", 9000, 90, 0.5),
            ("layernorm", 5, 60, np.nan),
        )
    ]
    plots.trade_off(rows, "x.png")
    panels = drawn()
    assert [ax.get_title() for ax in panels] == ["one", "two"] and all(ax.get_xscale() == "log" for ax in panels)
    adapters, top, norms = panels[0].containers
    assert [c.lines[0].get_color() for c in (adapters, top, norms)] == ["tab:orange", "tab:blue", "tab:green"]
    assert adapters.lines[0].get_xydata().tolist() == [[10, 70], [100, 80]]
    bars = [segment[:, 1].tolist() for segment in adapters.lines[2][0].get_segments()]
    assert bars == [[69, 71], [78, 82]]
    labels = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert labels == ["adapters", "fine-tune top layers", "LayerNorms only"]


def test_percentile_bands_reach_from_the_20th_to_the_80th(drawn):
    rows = [
        {"suite": "GLUE", "method": method, "params": params, "p20": low, "p50": middle, "p80": high}
        for method, params, low, middle, high in (
            ("adapter", 100, -2, -1, 0.5),
            ("adapter", 10, -4, -3, -1),
            ("top_k", 50, -9, -8, -7),
        )
    ]
    plots.percentile_bands(rows, "x.png")
    (ax,) = drawn()
    adapters, top = ax.get_lines()[:2]
    assert (adapters.get_color(), top.get_color(), ax.get_xscale()) == ("tab:orange", "tab:blue", "log")
    assert adapters.get_xydata().tolist() == [[10, -3], [100, -1]]
    corners = {tuple(corner) for corner in ax.collections[0].get_paths()[0].vertices.tolist()}
    assert corners == {(10, -4), (10, -1), (100, -2), (100, 0.5)}


def test_heatmap_has_the_first_layer_down_and_the_last_across(drawn):
    scores = np.array([[0.9, 0.6, 0.3], [np.nan, 0.81, 0.7], [np.nan, np.nan, 0.45]])
    rows = ablation_rows("one", "accuracy", 0.9, scores)
    plots.heatmap(rows, "x.png", "change of accuracy, times 100")
    ax, bar = drawn()
    np.testing.assert_allclose(ax.images[0].get_array(), 100 * np.nan_to_num(scores - 0.9), atol=1e-9)
    assert bar.get_ylabel() == "change of accuracy, times 100"
    printed = format_heatmap(0.9, scores).splitlines()[1].split()[1:]
    assert printed == ["+0.0", "-30.0", "-60.0"]  # what is printed is what is drawn
    plots.figure6(rows, INIT, "x.png")
    np.testing.assert_allclose(drawn()[0].images[0].get_array(), 100 * np.nan_to_num(scores - 0.9) / 0.9, atol=1e-9)
    frames = [patch.get_xy() for patch in ax.patches]
    assert frames == [(i - 0.5, i - 0.5) for i in range(3)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("last ablated layer", "first ablated layer")
