"""Pictures of lesson 4: a backward pass as a graph, the error of finite differences, and what a check does not see."""

from __future__ import annotations

import numpy as np

STYLES = (("o-", "black"), ("s--", "tab:blue"), ("^:", "tab:orange"))  # markers and lines tell them apart in grey, too


def backward_graph(values: list[str], functions: list[tuple[str, str, str]]):
    """A chain of functions with the gradients that flow back.

    values: what goes into the first function, between them, and out of the last; one with a "\\n" has the name of its
    gradient in the second line. functions: (name, its parameters, their gradients); either may be "".   -> a figure
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(9, 2.9), layout="constrained")
    for i, (name, parameters, gradients) in enumerate(functions):
        at = 2 * i + 1
        ax.text(at, 0, name, ha="center", va="center", bbox={"boxstyle": "round,pad=0.6", "fc": "0.9", "ec": "black"})
        if parameters:
            _arrow(ax, (at, 1.15), (at, 0.35))
            ax.text(at, 1.2, parameters, ha="center", va="bottom")
        if gradients:
            _arrow(ax, (at, -0.35), (at, -1.15), back=True)
            ax.text(at, -1.2, gradients, ha="center", va="top", color="tab:blue", style="italic")
    for i, value in enumerate(values):
        above, _, below = value.partition("\n")
        left, right = max(2 * i - 0.55, -0.4), min(2 * i + 0.55, 2 * len(functions) + 0.4)
        _arrow(ax, (left, 0.15), (right, 0.15))
        ax.text(2 * i, 0.25, above, ha="center", va="bottom")
        if below:
            _arrow(ax, (right, -0.15), (left, -0.15), back=True)
            ax.text(2 * i, -0.25, below, ha="center", va="top", color="tab:blue", style="italic")
    ax.set(xlim=(-0.6, 2 * len(functions) + 0.6), ylim=(-1.7, 1.7))
    ax.axis("off")
    return fig


def _arrow(ax, start, end, back: bool = False) -> None:
    style = {"arrowstyle": "-|>", "linestyle": "--" if back else "-", "color": "tab:blue" if back else "black"}
    ax.annotate("", end, start, arrowprops=style, zorder=0)


def difference_error(epsilons, errors: dict[str, np.ndarray]):
    """The error of the central difference over epsilon, {what computed it: errors}, on log-log axes.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for (style, color), (name, values) in zip(STYLES, errors.items(), strict=False):
        ax.loglog(epsilons, values, style, color=color, label=name, markersize=5)
    above = np.asarray(epsilons) >= 1e-3
    first = next(iter(errors.values()))
    guide = first[0] * (np.asarray(epsilons) / epsilons[0]) ** 2
    ax.loglog(np.asarray(epsilons)[above], guide[above] / 4, color="grey", linewidth=1, label="slope 2")
    ax.set(xlabel="epsilon", ylabel="relative error of the gradient")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return fig


def verdicts(caught: dict[str, dict[str, bool]]):
    """{mistake: {where it was looked for: whether it was caught}} as a grid.   -> a figure"""
    import matplotlib.pyplot as plt

    rows, columns = list(caught), list(next(iter(caught.values())))
    seen = np.array([[caught[row][column] for column in columns] for row in rows], float)
    fig, ax = plt.subplots(figsize=(3.6 + 1.1 * len(columns), 1.1 + 0.4 * len(rows)), layout="constrained")
    ax.imshow(seen, cmap="cividis", vmin=-0.4, vmax=1.2, aspect="auto")
    for (i, j), value in np.ndenumerate(seen):
        ax.text(j, i, "caught" if value else "UNSEEN", ha="center", va="center", color="black" if value else "white")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2)
    ax.tick_params(which="both", length=0)
    ax.xaxis.tick_top()
    return fig
