"""Pictures of lesson 3: attention weights as heatmaps, and what one token attends to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def heatmaps(weights, words: list[str], titles: list[str], offsets=()):
    """The weights (n, T, T) of n heads: row i is what token i attends to.   -> a figure

    offsets: of a packed batch; what is outside its blocks, which nobody computes, is hatched.
    """
    import matplotlib.pyplot as plt

    n, size = len(weights), 1.1 + 0.19 * len(words)
    fig, axes = plt.subplots(1, n, figsize=(size * n + 0.6, size + 0.3), layout="constrained", squeeze=False)
    for ax, P, title in zip(axes[0], weights, titles, strict=True):
        image = ax.imshow(P, vmin=0, vmax=1, cmap="cividis")
        ax.set_title(title, fontsize=9)
        ax.set_xticks(range(len(words)), words, rotation=90, fontsize=7.5)
        ax.set_yticks(range(len(words)), words, fontsize=7.5)
        ax.set_xlabel("key: the token that is asked", fontsize=8)
        _hatch_outside(ax, offsets)
    axes[0, 0].set_ylabel("query: the token that asks", fontsize=8)
    fig.colorbar(image, ax=list(axes[0]), label="attention weight", shrink=0.8)
    return fig


def _hatch_outside(ax, offsets) -> None:
    from matplotlib.patches import Rectangle

    blocks = list(pairwise(offsets))
    for i, (top, bottom) in enumerate(blocks):
        for j, (left, right) in enumerate(blocks):
            corner, width, height = (left - 0.5, top - 0.5), right - left, bottom - top
            if i == j:
                ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=1.5))
            else:
                style = {"facecolor": "none", "edgecolor": "lightgrey", "hatch": "//", "linewidth": 0}
                ax.add_patch(Rectangle(corner, width, height, **style))


def attended(rows: dict[str, tuple[list[str], np.ndarray]]):
    """What one token attends to: {title: (words, its weights (n,))}, a panel for each.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(rows), figsize=(4 * len(rows), 2.8), layout="constrained", sharey=True)
    for ax, (title, (words, weights)) in zip(np.atleast_1d(axes), rows.items(), strict=True):
        ax.bar(range(len(words)), weights, color=plt.get_cmap("cividis")(0.2))
        for i, weight in enumerate(weights):
            if weight >= 0.1:
                ax.text(i, weight, f"{weight:.2f}", ha="center", va="bottom", fontsize=8)
        ax.set_title(title, fontsize=10)
        ax.set_xticks(range(len(words)), words, rotation=90, fontsize=8)
        ax.set(ylim=(0, 1), xlabel="key")
    np.atleast_1d(axes)[0].set_ylabel("attention weight")
    return fig
