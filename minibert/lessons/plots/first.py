"""Pictures of lesson 1: what is trained, and how often two models are right."""

from __future__ import annotations

import numpy as np

from minibert.lessons.plain import share_interval


def share_trained(rows: list[tuple[str, int, int]]):
    """rows: (group, parameters, of which trained), the last one the total, as methods.parameter_table gives them.
    -> a figure"""
    import matplotlib.pyplot as plt

    *groups, (_, total, trained) = rows
    names = [group for group, _, _ in groups]
    sizes, used = (np.array([row[i] for row in groups]) / 1e6 for i in (1, 2))
    fig, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
    ax.barh(names, sizes, color="lightgrey", edgecolor="grey", label=f"frozen: {(total - trained) / 1e6:.2f} million")
    ax.barh(names, used, color="black", label=f"trained: {trained / 1e6:.2f} million ({trained / total:.1%})")
    ax.invert_yaxis()
    ax.set_xlabel("million parameters")
    ax.legend(frameon=False, loc="lower right")
    return fig


def accuracy_by_kind(right: dict[str, np.ndarray], kinds: list[str], order):
    """right: {name of a model: (N,) bool, whether its answer is right}; kinds (N,): of each sentence; order: of the
    kinds. A line is the 95 % interval of a share of so few.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    ax.axhline(0.5, color="grey", linestyle=":", linewidth=1)
    ax.text(0.5, 0.44, "guessing", ha="center", color="grey")
    kinds, colours = np.asarray(kinds), plt.get_cmap("cividis")(np.linspace(0, 0.75, len(right)))
    for i, ((name, answers), colour) in enumerate(zip(right.items(), colours, strict=True)):
        places = np.arange(len(order)) + 0.2 * (i - (len(right) - 1) / 2)
        p = np.array([answers[kinds == kind].mean() for kind in order])
        low, high = np.transpose([share_interval(answers[kinds == kind]) for kind in order])
        ax.vlines(places, low, high, color=colour, linewidth=1.5)
        ax.plot(places, p, "os^D"[i % 4], color=colour, markersize=8, label=name)
    ax.set_xticks(range(len(order)), [f"{kind}\n(N = {(kinds == kind).sum()})" for kind in order])
    ax.set(ylabel="share that is right", ylim=(0, 1.05))
    ax.legend(frameon=False, ncols=len(right), loc="lower left")
    return fig
