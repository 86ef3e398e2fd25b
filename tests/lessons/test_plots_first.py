"""Pictures of lessons 1 and 7."""

import numpy as np
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")

from minibert.lessons.plots import encoder, first  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_share_trained():
    fig = first.share_trained(
        [("attention", 3_000_000, 0), ("adapters", 1_000_000, 1_000_000), ("total", 4_000_000, 1_000_000)]
    )
    texts = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    assert texts == ["frozen: 3.00 million", "trained: 1.00 million (25.0%)"]
    assert [bar.get_width() for bar in fig.axes[0].patches] == [3, 1, 0, 1]


def test_accuracy_by_kind():
    right = {"head": np.array([1, 0, 1, 1], bool), "adapters": np.array([1, 1, 1, 0], bool)}
    fig = first.accuracy_by_kind(right, ["plain", "irony", "plain", "irony"], ("plain", "irony"))
    points = [list(line.get_ydata()) for line in fig.axes[0].lines if line.get_marker() != "None"]
    assert points == [[1.0, 0.5], [1.0, 0.5]]
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == ["plain\n(N = 2)", "irony\n(N = 2)"]


def test_error_by_layer():
    errors = {"right": {"embeddings": 0.0, "layer 0": 1e-16}, "wrong": {"embeddings": 1e-3, "layer 0": 1e-2}}
    ax = encoder.error_by_layer(errors, 1e-5).axes[0]
    right, wrong, tolerance = ax.lines
    assert ax.get_yscale() == "log" and np.isnan(right.get_ydata()[0])
    assert list(wrong.get_ydata()) == [1e-3, 1e-2] and list(tolerance.get_ydata()) == [1e-5, 1e-5]


def test_cosines():
    vectors = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    assert np.array_equal(encoder.cosine_matrix(vectors), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    fig = encoder.cosines({"before": vectors, "after": vectors + 1}, ["a", "b", "c"])
    assert [ax.get_title() for ax in fig.axes[:2]] == ["before", "after"] and len(fig.axes[0].texts) == 9
