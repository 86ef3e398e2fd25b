"""The paper's figures, drawn by matplotlib (extra: plots) from the rows of the CSV files that `reproduce` writes.

Axes, bands and colours are the paper's: adapters orange, fine-tuned layers blue, LayerNorms alone green.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minibert.errors import InputError, require

COLOURS = {"adapter": "tab:orange", "top_k": "tab:blue", "full": "tab:blue", "layernorm": "tab:green"}
NAMES = {
    "adapter": "adapters",
    "top_k": "fine-tune top layers",
    "full": "full fine-tuning",
    "layernorm": "LayerNorms only",
    "head": "head only",
}


def pyplot():
    """matplotlib.pyplot, drawing to files. Raises InputError if matplotlib is not installed."""
    require("a picture", "matplotlib", "plots").use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _panels(count: int, width: float = 4.6, height: float = 3.6):
    figure, axes = pyplot().subplots(1, count, figsize=(width * count, height), squeeze=False, layout="constrained")
    return figure, axes[0]


def save(figure, path: str | Path) -> None:
    """Write the picture; the name's ending chooses the format. Raises InputError if it cannot be written."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the picture cannot be written ({error})") from None
    finally:
        pyplot().close(figure)


def _groups(rows: Iterable[dict], key: str) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def percentile_bands(rows: list[dict], path: str | Path) -> None:
    """Figures 1 and 3: for each suite the 20th, 50th and 80th percentile over tasks.

    rows: suite, method, params, p20, p50, p80, the last three in points relative to full fine-tuning.
    """
    suites = _groups(rows, "suite")
    figure, axes = _panels(len(suites))
    for ax, (suite, members) in zip(axes, suites.items(), strict=True):
        for method, line in _groups(members, "method").items():
            line = sorted(line, key=lambda row: row["params"])
            x, low, middle, high = (np.array([row[key] for row in line]) for key in ("params", "p20", "p50", "p80"))
            colour = COLOURS.get(method, "tab:grey")
            ax.plot(x, middle, "o-", color=colour, markersize=3, label=NAMES.get(method, method))
            ax.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.axhline(0, color="black", linewidth=0.6, linestyle=":")
        ax.set(xscale="log", title=suite, xlabel="trained parameters / task")
    axes[0].set_ylabel("score, difference to full fine-tuning (points)")
    axes[0].legend(loc="best", frameon=False)
    save(figure, path)


def trade_off(rows: list[dict], path: str | Path, ylabel: str = "dev score (%)") -> None:
    """Figures 4 and 5: the score against trained parameters, a panel a task, error bars of one standard error.

    rows: task, method, params, mean, sem (both in points).
    """
    tasks = _groups(rows, "task")
    figure, axes = _panels(len(tasks))
    for ax, (task, members) in zip(axes, tasks.items(), strict=True):
        for method, line in _groups(members, "method").items():
            line = sorted(line, key=lambda row: row["params"])
            x, mean, sem = (np.array([row[key] for row in line]) for key in ("params", "mean", "sem"))
            style = {"color": COLOURS.get(method, "tab:grey"), "label": NAMES.get(method, method), "markersize": 4}
            ax.errorbar(x, mean, yerr=sem, fmt="o-" if len(line) > 1 else "D", capsize=2, linewidth=1.2, **style)
        ax.set(xscale="log", title=task, xlabel="trained parameters / task")
    axes[0].set_ylabel(ylabel)
    axes[0].legend(loc="best", frameon=False)
    save(figure, path)


def draw_heatmap(ax, rows: list[dict], title: str, value: str = "relative", label: str = "relative change (%)") -> None:
    """One panel of figure 6: what the rows call `value`; the diagonal, single layers, framed in green."""
    n_layers = 1 + max(row["last"] for row in rows)
    grid = np.zeros((n_layers, n_layers))  # below the diagonal 0, as in the paper
    for row in rows:
        grid[row["first"], row["last"]] = row[value]
    image = ax.imshow(grid, cmap="viridis", vmin=min(grid.min(), -1e-9), vmax=max(0.0, grid.max()))
    for i in range(n_layers):
        ax.add_patch(pyplot().Rectangle((i - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="limegreen", linewidth=1.5))
    ax.set(title=title, xlabel="last ablated layer", ylabel="first ablated layer")
    ax.set_xticks(range(n_layers))
    ax.set_yticks(range(n_layers))
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)


def heatmap(rows: list[dict], path: str | Path, label: str = "change, times 100") -> None:
    """The ablation of one or more tasks, in the unit in which it is printed. rows: task, first, last, change."""
    tasks = _groups(rows, "task")
    figure, axes = _panels(len(tasks))
    for ax, (task, members) in zip(axes, tasks.items(), strict=True):
        draw_heatmap(ax, members, task, "change", label)
    save(figure, path)


def figure6(ablation: list[dict], init: list[dict], path: str | Path) -> None:
    """Heatmaps, and beside them the score against the standard deviation of the adapters' start.

    init: task, std, mean, sem (both in points).
    """
    tasks = _groups(ablation, "task")
    figure, axes = _panels(len(tasks) + 1)
    for ax, (task, members) in zip(axes, tasks.items(), strict=False):
        draw_heatmap(ax, members, task)
    for task, line in _groups(init, "task").items():
        line = sorted(line, key=lambda row: row["std"])
        x, mean, sem = (np.array([row[key] for row in line]) for key in ("std", "mean", "sem"))
        axes[-1].errorbar(x, mean, yerr=sem, fmt="o-", markersize=4, capsize=2, label=task)
    axes[-1].set(xscale="log", xlabel="standard deviation of the start", ylabel="dev score (%)", title="initialisation")
    axes[-1].legend(frameon=False)
    save(figure, path)
