"""The pictures of lessons 4 and 8 show what they are given."""

import matplotlib as mpl
import numpy as np
import pytest

from minibert.lessons.plots import adapter, gradients

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts if text.get_text()]


def drawn(figure) -> None:
    figure.canvas.draw()


def test_a_backward_graph_names_every_value_and_gradient():
    figure = gradients.backward_graph(["x (T,)\ndx", "loss\n1"], [("linear", "W", "dW")])
    drawn(figure)
    assert sorted(texts(figure)) == sorted(["x (T,)", "dx", "loss", "1", "linear", "W", "dW"])


def test_errors_are_on_two_log_axes_and_differ_in_line_and_marker():
    epsilons = 10.0 ** -np.arange(1, 6)
    figure = gradients.difference_error(epsilons, {"float64": epsilons**2, "float32": epsilons})
    drawn(figure)
    (ax,) = figure.axes
    assert ax.get_xscale() == ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), epsilons**2)
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == len(ax.lines)


def test_verdicts_stand_in_their_row_and_column():
    figure = gradients.verdicts({"a": {"here": True, "there": False}, "b": {"here": False, "there": False}})
    drawn(figure)
    assert texts(figure) == ["caught", "UNSEEN", "UNSEEN", "UNSEEN"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["here", "there"]


def test_a_layer_has_two_adapters():
    figure = adapter.placement()
    drawn(figure)
    assert texts(figure).count("adapter") == 2 and "trained" in texts(figure)


def test_initializations_are_drawn_over_their_standard_deviation():
    stds = np.array([1e-3, 1e-2, 1e-1])
    figure = adapter.initializations(stds, stds**2, stds, {1e-3: 93.0, 1e-1: 50.0})
    drawn(figure)
    above, below = figure.axes
    np.testing.assert_array_equal(above.lines[0].get_ydata(), stds**2)
    assert list(below.lines[0].get_ydata()) == [93.0, 50.0]
