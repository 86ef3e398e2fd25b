"""The pictures of lessons 12 and 13 show what they are given."""

from itertools import pairwise

import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")

from minibert.lessons.plots import kernels, tasks  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_tiles_cover_each_array_and_one_of_each_is_dark():
    figure = kernels.tiles(5, 7, 8, (2, 3, 4), at=(1, 2, 0))
    for axes, (height, width) in zip(figure.axes, ((5, 7), (7, 8), (5, 8)), strict=True):
        patches = axes.patches
        assert sum(patch.get_width() * patch.get_height() for patch in patches) == height * width
        assert len({patch.get_facecolor() for patch in patches}) == 2
    assert [len(axes.patches) for axes in figure.axes] == [3 * 2, 2 * 3, 3 * 3]


def test_lines_and_bars():
    axes = kernels.fetches([1, 2, 4], [100, 50, 25], 20).axes[0]
    assert list(axes.lines[0].get_ydata()) == [100, 50, 25] and axes.lines[1].get_ydata()[0] == 20
    bars = kernels.ladder({"slow": 1.5, "fast": 300.0}).axes[0].patches
    assert [bar.get_width() for bar in bars] == [1.5, 300.0]
    copies, shared = tasks.memory(4, 90.0, 2.5).axes[0].lines
    assert list(copies.get_ydata()) == [90, 180, 270, 360] and list(shared.get_ydata()) == [92.5, 95, 97.5, 100]


def test_roofline_has_its_corner_and_its_points():
    roof, *points = kernels.roofline({"a": (0.5, 4.0), "b": (100.0, 300.0)}, 400.0, 20.0).axes[0].lines
    assert list(roof.get_xdata())[1] == 20 and max(roof.get_ydata()) == 400
    assert [(point.get_xdata()[0], point.get_ydata()[0]) for point in points] == [(0.5, 4.0), (100.0, 300.0)]


def test_no_label_of_the_roofline_lies_on_the_roof_or_on_another_label():
    points = {"amx": (70.0, 410.0), "near": (70.0, 395.0), "below": (70.0, 370.0), "far": (70.0, 1.0)}
    texts = kernels.roofline(points, 400.0, 20.0).axes[0].texts[2:]
    heights = {text.get_text(): text.xyann[1] for text in texts}
    assert heights["amx"] > 1.2 * 400 and heights["near"] < 400 / 1.2 and heights["far"] == 1
    ordered = sorted(heights.values())
    assert all(high > 1.4 * low for low, high in pairwise(ordered))


def test_task_matrix_has_a_number_in_each_cell_and_a_frame_on_the_best_of_a_column():
    axes = tasks.task_matrix([[0.5, 0.9], [0.75, 0.6]], ["a", "b"], ["a", "b"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.50", "0.90", "0.75", "0.60"]
    assert [round(patch.get_y() + 0.42) for patch in axes.patches] == [1, 0]
