"""The pictures of lessons 10 and 11: what is drawn is what was given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib").use("Agg")

from minibert.lessons.plots import evidence, training  # noqa: E402  (only where matplotlib is)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_learning_curves_are_means_over_a_window():
    losses = [1.0, 0.0, 1.0, 0.0, 1.0]
    (ax,) = training.learning_curves({"one": losses, "other": losses[:1]}, 0.69, window=2).axes
    steps, means = ax.lines[0].get_data()
    assert list(steps) == [1, 2, 3, 4] and list(means) == [0.5] * 4
    assert list(ax.lines[1].get_ydata()) == [1.0]  # fewer steps than the window
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "other"] and texts(ax) == ["guessing"]


def test_schedules_and_update_sizes():
    (ax,) = training.schedules({"a": [0.1, 0.2]}).axes
    assert list(ax.lines[0].get_ydata()) == [0.1, 0.2] and ax.get_ylabel() == "learning rate"
    (ax,) = training.update_sizes({"a": [0.1, 0.01], "b": [0.2, 0.3]}).axes
    assert ax.get_yscale() == "log" and len(ax.lines) == 2


def test_accuracy_by_size():
    left, right = evidence.accuracy_by_size(
        ["0", "4", "16"], [0.7, 0.8, 0.8], [0.05] * 3, [(0.0, 0.2), (0.05, 0.15)]
    ).axes
    np.testing.assert_allclose(left.containers[0].lines[0].get_ydata(), [70, 80, 80])
    assert left.get_ylabel() == "accuracy on dev, percent" and right.get_ylabel() == "points more than M = 0"
    np.testing.assert_allclose(right.containers[0].lines[0].get_ydata(), [10, 10])
    assert [label.get_text() for label in right.get_xticklabels()] == ["4", "16"]


def test_an_ablation_heatmap_has_a_number_in_each_span_and_frames_the_diagonal():
    change = np.array([[-1.0, -20.0], [np.nan, 2.5]])
    ax = evidence.ablation_heatmap(change).axes[0]
    assert texts(ax) == ["-1.0", "-20.0", "+2.5"]
    assert [patch.get_hatch() for patch in ax.patches] == ["////", None, None]
