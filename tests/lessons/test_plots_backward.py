"""The pictures of the lessons 6 and 9 draw what they are given."""

import numpy as np
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")

from minibert.lessons import plain  # noqa: E402
from minibert.lessons.plots import backward as plots  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_row_before_and_after():
    (ax,) = plots.row_before_and_after(np.array([0.7, 0.3]), np.array([0.9, 0.1]), 0).axes
    assert [bar.get_height() for bar in ax.patches] == [0.7, 0.3, 0.9, 0.1]
    assert [text.get_text() for text in ax.texts] == ["+0.20", "−0.20"]


def test_weights_and_gradient():
    P, dS = np.full((3, 3), 1 / 3), np.diag([1.0, -2.0, 1.0])
    images = [ax.images[0] for ax in plots.weights_and_gradient(P, dS).axes[:2]]
    assert images[0].get_clim() == (0, 1) and images[1].get_clim() == (-2, 2)
    np.testing.assert_array_equal(images[1].get_array(), dS)


def test_memory_by_length():
    (ax,) = plots.memory_by_length(np.array([16, 32]), {"P": np.array([1, 4]), "q, k, v": np.array([1, 2])}).axes
    assert labels(ax) == ["P", "q, k, v"] and ax.get_xscale() == ax.get_yscale() == "log"


def test_gradient_by_layer_marks_where_backward_ends():
    (ax,) = plots.gradient_by_layer({"all": {2: 1.0, 1: 0.5, 0: 0.1}, "top": {2: 1.0}}).axes
    assert labels(ax) == ["all", "top"]
    assert [line.get_marker() for line in ax.lines].count("|") == 1 and ax.xaxis_inverted()


def test_memory_by_method_counts_each_tensor_once():
    sizes = plain.cache_sizes({"attention/query/W", "attention/adapter/up/b"}, 5, 7, 2, 3)
    (ax,) = plots.memory_by_method({"one": sizes, "none": {}}).axes
    assert sum(bar.get_width() for bar in ax.patches) == sum(sizes.values())
