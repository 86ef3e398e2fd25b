"""The paper's figures, drawn by matplotlib (extra: plots) from the rows of the CSV files that `reproduce` writes.

Methods differ by colour, marker and line, so that a print in grey says the same. Colours and bands are the paper's:
adapters orange, fine-tuned layers blue, LayerNorms alone green. Points are called by the adapter size M, or by k, the
number of top layers that are trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from minibert.errors import InputError, counted, require

MOST_ACROSS = 3  # subplots in a row: more are too small to read on a page
MARKERS = "osD^vP*X"
WORDS = {  # a reader of the paper knows these
    **{"cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "stsb": "STS-B", "qqp": "QQP", "mnli": "MNLI", "qnli": "QNLI"},
    **{"rte": "RTE", "squad": "SQuAD", "trec": "TREC", "sms_spam": "SMS spam", "cf_airline": "Crowdflower airline"},
    **{"f1": "F1", "matthews": "Matthews correlation", "spearman": "Spearman correlation"},
}


class Style(NamedTuple):
    """How a method is drawn, and how its points are called."""

    name: str
    colour: str
    marker: str
    line: str = "-"
    point: str = ""
    places: tuple = ("right", "bottom", (-4, 2))  # where the name stands: alignment, and points from the marker
    hatch: str = ""


STYLES = {
    "adapter": Style("adapters of size M", "tab:orange", "o", "-", "{}", hatch="///"),
    "top_k": Style("the top k layers fine-tuned", "tab:blue", "s", "--", "k={}", ("left", "top", (5, -2)), "\\\\\\"),
    "full": Style("full fine-tuning", "tab:blue", "s"),
    "layernorm": Style("LayerNorms only", "tab:green", "D", ":"),
    "head": Style("head only", "tab:grey", "v"),
}


def check_installed() -> None:
    """Raise InputError if matplotlib is not installed: to be called before hours of work."""
    require("a picture", "matplotlib", "plots")


def subplots(count: int, width: float = 4.4, height: float = 3.6) -> tuple:
    """A figure that belongs to no window, and its axes: at most three in a row, and as many in each, if possible."""
    check_installed()
    from matplotlib.figure import Figure

    down = -(-count // MOST_ACROSS)
    across = -(-count // down)
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).reshape(-1)
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def save(figure, path: str | Path) -> None:
    """Write the picture; the name's ending chooses the format. Raises InputError if it cannot be written."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the picture cannot be written ({error})") from None


def grouped(rows: Iterable[dict], key: str) -> dict[Any, list[dict]]:
    """The rows by what they have at a key, in the order in which each value comes first."""
    groups: dict[Any, list[dict]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def _columns(rows: list[dict], *keys: str) -> Iterable[np.ndarray]:
    return (np.array([row[key] for row in rows], float) for key in keys)


def in_words(name: str) -> str:
    """What the paper calls a task or metric; others are called by their own names."""
    return WORDS.get(name, name)


def _seeds(rows: list[dict]) -> str:
    counts = [int(row["seeds"]) for row in rows]
    fewest, most = min(counts), max(counts)
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _name_points(ax, rows: list[dict], style: Style, x, y) -> None:
    """Write M or k beside each point, legible also upon a line."""
    from matplotlib.patheffects import withStroke

    ha, va, offset = style.places
    side = {"ha": ha, "va": va, "xytext": offset, "path_effects": [withStroke(linewidth=2, foreground="white")]}
    for row, place in zip(rows, zip(x, y, strict=True), strict=True):
        if style.point and np.isfinite(place[1]):
            text = style.point.format(row["size_or_k"])
            ax.annotate(text, place, textcoords="offset points", fontsize=7, color="0.25", **side)


def _explain(figure, axes: list, told: str) -> None:
    """The legend, which is that of each subplot, above all of them; below them what is shown."""
    handles, labels = axes[0].get_legend_handles_labels()
    across = 1 if len(axes) == 1 else len(labels)
    figure.legend(handles, labels, loc="outside upper center", ncols=across, frameon=False, fontsize=9)
    letters = int(15 * figure.get_figwidth())  # that fit on a line
    figure.supxlabel(fill(told, letters), fontsize=9)


# ----------------------------------------------------------------------------------------- score against parameters


def trade_off(rows: list[dict], path: str | Path, split: str = "dev") -> None:
    """Figures 4 and 5: the score against trained parameters, a subplot a task, error bars of one standard error.

    rows: task, method, size_or_k, params, metric, mean, sem (both in points), seeds. split: that the scores are of.
    """
    tasks = grouped(rows, "task")
    figure, axes = subplots(len(tasks))
    for ax, (task, members) in zip(axes, tasks.items(), strict=True):
        for method, line in grouped(members, "method").items():
            line = sorted(line, key=lambda row: row["params"])
            x, mean, sem = _columns(line, "params", "mean", "sem")
            style = STYLES[method]
            form = {"color": style.colour, "marker": style.marker, "linestyle": style.line, "label": style.name}
            ax.errorbar(x, mean, yerr=sem, capsize=2, linewidth=1.2, markersize=5, **form)
            _name_points(ax, line, style, x, mean)
        ax.set(xscale="log", title=in_words(task), xlabel="trained parameters")
        ax.set_ylabel(f"{in_words(members[0]['metric'])} on {split} (× 100)")
        ax.margins(x=0.1, y=0.1)
    _explain(figure, axes, f"mean of {_seeds(rows)}; bars: ±1 standard error")
    save(figure, path)


def percentile_bands(rows: list[dict], path: str | Path) -> None:
    """Figures 1 and 3: for each suite the 20th, 50th and 80th percentile over tasks.

    rows: suite, method, size_or_k, params, tasks, seeds, p20, p50, p80, the last three in points relative to full
    fine-tuning.
    """
    suites = grouped(rows, "suite")
    figure, axes = subplots(len(suites), width=5.2)
    for ax, (suite, members) in zip(axes, suites.items(), strict=True):
        for method, line in grouped(members, "method").items():
            line = sorted(line, key=lambda row: row["params"])
            x, low, middle, high = _columns(line, "params", "p20", "p50", "p80")
            style = STYLES[method]
            form = {"color": style.colour, "marker": style.marker, "linestyle": style.line, "label": style.name}
            ax.plot(x, middle, markersize=5, **form)
            band = {"alpha": 0.25, "linewidth": 0, "hatch": style.hatch, "edgecolor": style.colour}
            ax.fill_between(x, low, high, facecolor=style.colour, **band)
            _name_points(ax, line, style, x, middle)
        ax.axhline(0, color="black", linewidth=0.8, linestyle=(0, (1, 2)))
        most = max(int(row["tasks"]) for row in members)
        ax.set(xscale="log", title=f"{suite} ({most} tasks)" if most > 1 else f"{suite} (1 task)")
        ax.set_xlabel("trained parameters for each task")
    axes[0].set_ylabel("score minus that of full fine-tuning (points)")
    told = f"line: median over tasks; band: 20th to 80th percentile; each task: mean of {_seeds(rows)}"
    _explain(figure, axes, told)
    save(figure, path)


# --------------------------------------------------------------------------------------------------------- figure 6


def spans_matrix(rows: list[dict], value: str) -> np.ndarray:
    """(L, L): what the rows call `value` in row `first` and column `last`; NaN where there is no such span."""
    n_layers = 1 + max(int(row["last"]) for row in rows)
    grid = np.full((n_layers, n_layers), np.nan)
    for row in rows:
        grid[int(row["first"]), int(row["last"])] = row[value]
    return grid


def draw_heatmap(ax, change: np.ndarray, title: str, label: str) -> None:
    """change[i, j] of a score without the adapters of layers i to j, both counted in; NaN where there is no such span,
    or no such change.

    Each cell has its number, and those without one are hatched. Single layers, the diagonal, are framed if they have
    one.
    """
    from matplotlib.patches import Rectangle

    change = np.asarray(change, float)
    n_layers, largest = len(change), np.nanmax(np.abs(change), initial=1e-9)
    ax.add_patch(Rectangle((-0.5, -0.5), n_layers, n_layers, fill=False, hatch="////", edgecolor="lightgrey", zorder=0))
    image = ax.imshow(change, cmap="viridis", vmin=-largest, vmax=0, zorder=1)
    small = {"ha": "center", "va": "center", "fontsize": 9 if n_layers <= 6 else 6}
    for i, j in np.argwhere(np.isfinite(change)):
        ax.text(j, i, f"{change[i, j]:+.1f}", color="white" if change[i, j] < -largest / 2 else "black", **small)
        if i == j:
            ax.add_patch(Rectangle((i - 0.47, i - 0.47), 0.94, 0.94, fill=False, edgecolor="black", linewidth=2))
    ax.set(title=title, xlabel="last ablated layer", ylabel="first ablated layer")
    ax.set(xticks=range(n_layers), yticks=range(n_layers))
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)


def heatmap(rows: list[dict], path: str | Path, label: str = "change, times 100") -> None:
    """The ablation of one or more tasks, in points or percent, as it is printed. rows: task, first, last, change."""
    tasks = grouped(rows, "task")
    figure, axes = subplots(len(tasks), 5.0, 4.2)
    for ax, (task, members) in zip(axes, tasks.items(), strict=True):
        draw_heatmap(ax, spans_matrix(members, "change"), in_words(task), label)
    save(figure, path)


def figure6(ablation: list[dict], init: list[dict], path: str | Path) -> None:
    """Heatmaps, and beside them the score against the standard deviation of the adapters' initial weights.

    ablation: task, first, last, relative, metric, seeds. init: task, std, metric, mean, sem (both in points), seeds.
    """
    tasks = grouped(ablation, "task")
    figure, axes = subplots(len(tasks) + 1, 4.8, 4.0)
    for ax, (task, members) in zip(axes, tasks.items(), strict=False):
        title = f"{in_words(task)}: adapters removed ({_seeds(members)})"
        draw_heatmap(ax, spans_matrix(members, "relative"), title, f"change of {in_words(members[0]['metric'])} (%)")
    last = axes[-1]
    for i, (task, line) in enumerate(grouped(init, "task").items()):
        line = sorted(line, key=lambda row: row["std"])
        x, mean, sem = _columns(line, "std", "mean", "sem")
        form = {"marker": MARKERS[i % len(MARKERS)], "linestyle": ("-", "--", ":", "-.")[i % 4]}
        label = f"{in_words(task)} ({in_words(line[0]['metric'])})"
        last.errorbar(x, mean, yerr=sem, markersize=5, capsize=2, label=label, **form)
    last.set(xscale="log", xlabel="standard deviation of the initial weights", ylabel="score on dev (× 100)")
    last.set_title(f"initialization (mean of {_seeds(init)}, ±1 standard error)", fontsize=10)
    last.legend(frameon=False, fontsize=8)
    save(figure, path)
