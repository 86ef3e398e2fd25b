"""Pictures: what is drawn is what the rows say, points are named, and curves can be told apart in grey."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.patches import Rectangle

from minibert import plots
from minibert.errors import InputError
from minibert.lab.ablate import ablation_rows, format_heatmap

CURVE = (
    ("adapter", 64, 100, 80, 2),
    ("adapter", 8, 10, 70, 1),
    ("top_k", 1, 1000, 85, 0.5),
    ("top_k", 2, 9000, 90, 0.5),
    ("layernorm", "", 5, 60, np.nan),
)
BANDS = (("adapter", 64, 100, -2, -1, 0.5), ("adapter", 8, 10, -4, -3, -1), ("top_k", 1, 50, -9, -8, -7))
SCORES = np.array([[0.9, 0.6, 0.3], [np.nan, 0.81, 0.7], [np.nan, np.nan, 0.45]])


def trade_off_rows(tasks=("one", "two"), seeds=3):
    return [
        {"task": task, "method": method, "size_or_k": value, "params": params, "mean": mean, "sem": sem}
        | {"metric": "f1", "seeds": seeds}
        for task in tasks
        for method, value, params, mean, sem in CURVE
    ]


def band_rows(suites=("GLUE",), tasks=4):
    return [
        {"suite": suite, "method": method, "size_or_k": value, "params": params, "p20": low, "p50": middle, "p80": high}
        | {"tasks": tasks, "seeds": 3}
        for suite in suites
        for method, value, params, low, middle, high in BANDS
    ]


def init_rows(*tasks):
    same = {"metric": "accuracy", "mean": 70, "sem": 1, "seeds": 3}
    return [{"task": task, "std": std, **same} for task in tasks for std in (1e-7, 1e-2, 1)]


def span_rows(*tasks):
    found = [row for task in tasks for row in ablation_rows(task, "score", 0.9, SCORES)]
    return [{**row, "metric": "accuracy", "seeds": 3} for row in found]


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plots.trade_off(trade_off_rows(), path),
        lambda path: plots.percentile_bands(band_rows(), path),
        lambda path: plots.heatmap(span_rows("one"), path),
        lambda path: plots.figure6(span_rows("one"), init_rows("one"), path),
    ],
    ids=["trade_off", "percentile_bands", "heatmap", "figure6"],
)
def test_pictures_are_written(draw, tmp_path):
    path = tmp_path / "new" / "figure.png"
    draw(path)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000
    with pytest.raises(InputError, match="cannot be written"):
        draw(tmp_path / "figure.unknown")


@pytest.fixture
def drawn(monkeypatch):
    """The picture that was drawn last."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    return lambda: figures[-1]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_trade_off_shows_means_with_one_standard_error(drawn):
    plots.trade_off(trade_off_rows(), "x.png")
    one, two = drawn().axes
    assert (one.get_title(), two.get_title(), one.get_xscale()) == ("one", "two", "log")
    assert one.get_ylabel() == "F1 on dev (× 100)"
    adapters = one.containers[0]
    assert adapters.lines[0].get_xydata().tolist() == [[10, 70], [100, 80]]
    bars = [segment[:, 1].tolist() for segment in adapters.lines[2][0].get_segments()]
    assert bars == [[69, 71], [78, 82]]
    forms = {(container.lines[0].get_marker(), container.lines[0].get_linestyle()) for container in one.containers}
    assert len(forms) == len(one.containers) == 3, "told apart in grey, too"
    labels = [text.get_text() for text in drawn().legends[0].get_texts()]
    assert labels == ["adapters of size M", "the top k layers fine-tuned", "LayerNorms only"]
    assert texts(one) == ["8", "64", "k=1", "k=2"], "every point is called by its size, or its number of layers"
    assert drawn()._supxlabel.get_text() == "mean of 3 seeds; bars: ±1 standard error"


@pytest.mark.parametrize("seeds, told", [(1, "1 seed;"), (2, "2 seeds;")])
def test_the_number_of_seeds_is_told(drawn, seeds, told):
    plots.trade_off(trade_off_rows(seeds=seeds), "x.png")
    assert told in drawn()._supxlabel.get_text()
    rows = trade_off_rows(seeds=seeds)
    rows[0]["seeds"] = 3
    plots.trade_off(rows, "x.png")
    assert f"mean of {seeds} to 3 seeds" in drawn()._supxlabel.get_text()


@pytest.mark.parametrize(
    "count, places",
    [
        (1, [(0, 0)]),
        (3, [(0, 0), (0, 1), (0, 2)]),
        (4, [(0, 0), (0, 1), (1, 0), (1, 1)]),
        (7, [(1, 2), (2, 0)]),
    ],
)
def test_at_most_three_panels_stand_side_by_side(drawn, count, places):
    plots.trade_off(trade_off_rows([f"task {i}" for i in range(count)]), "x.png")
    found = [(ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start) for ax in drawn().axes]
    assert len(found) == count and found[-len(places) :] == places


def test_percentile_bands_reach_from_the_20th_to_the_80th(drawn):
    plots.percentile_bands(band_rows(), "x.png")
    (ax,) = drawn().axes
    adapters, top = ax.get_lines()[:2]
    assert (adapters.get_color(), top.get_color(), ax.get_xscale()) == ("tab:orange", "tab:blue", "log")
    assert adapters.get_xydata().tolist() == [[10, -3], [100, -1]]
    corners = {tuple(corner) for corner in ax.collections[0].get_paths()[0].vertices.tolist()}
    assert corners == {(10, -4), (10, -1), (100, -2), (100, 0.5)}
    assert ax.get_title() == "GLUE (4 tasks)" and texts(ax) == ["8", "64", "k=1"]
    assert adapters.get_marker() != top.get_marker() and adapters.get_linestyle() != top.get_linestyle()
    assert ax.collections[0].get_hatch() != ax.collections[1].get_hatch()


def test_what_is_shown_stands_below_even_a_single_panel_whole(drawn):
    plots.percentile_bands(band_rows(), "x.png")
    drawn().draw_without_rendering()
    box = drawn()._supxlabel.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= drawn().bbox.width


def test_tasks_and_metrics_have_the_papers_names(drawn):
    plots.trade_off(trade_off_rows(["cola", "my own task"]), "x.png")
    assert [ax.get_title() for ax in drawn().axes] == ["CoLA", "my own task"]


def test_heatmap_has_the_first_layer_down_and_the_last_across(drawn):
    rows = span_rows("one")
    plots.heatmap(rows, "x.png", "change of accuracy, times 100")
    ax, bar = drawn().axes
    np.testing.assert_allclose(ax.images[0].get_array().filled(np.nan), 100 * (SCORES - 0.9), atol=1e-9)
    assert bar.get_ylabel() == "change of accuracy, times 100"
    printed = format_heatmap(0.9, SCORES).splitlines()[1].split()[1:]
    assert printed == ["+0.0", "-30.0", "-60.0"] == texts(ax)[:3], "what is printed is what is drawn"
    assert len(texts(ax)) == 6, "no number where there is no span"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("last ablated layer", "first ablated layer")
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert [patch.get_hatch() for patch in patches] == ["////", None, None, None]
    assert [round(patch.get_xy()[0]) for patch in patches[1:]] == [0, 1, 2], "single layers are framed"


def test_figure6_has_relative_changes_and_the_initialization(drawn):
    plots.figure6(span_rows("one", "two"), init_rows("one", "two"), "x.png")
    first, second, last = (ax for ax in drawn().axes if ax.get_title())
    relative = 100 * (SCORES - 0.9) / 0.9
    np.testing.assert_allclose(first.images[0].get_array().filled(np.nan), relative, atol=1e-9)
    assert second.get_title() == "two: adapters removed (3 seeds)" and last.get_xscale() == "log"
    assert len({container.lines[0].get_marker() for container in last.containers}) == 2
    assert [text.get_text() for text in last.get_legend().get_texts()] == ["one (accuracy)", "two (accuracy)"]


@pytest.mark.filterwarnings("error")
def test_figure6_has_no_numbers_where_the_score_with_all_adapters_is_0(drawn):
    rows = [{**row, "metric": "matthews", "seeds": 3} for row in ablation_rows("one", "score", 0.0, 0 * SCORES)]
    plots.figure6(rows, init_rows("one"), "x.png")
    ax = drawn().axes[0]
    assert texts(ax) == [] and [patch.get_hatch() for patch in ax.patches] == ["////"]
