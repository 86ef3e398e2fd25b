"""Pictures of lesson 8: where the adapters sit in a layer, and how near to the identity they begin."""

from __future__ import annotations

import numpy as np

FROZEN, TRAINED = "0.9", "#ffb366"  # in grey, too, what is trained has the thick edge


def placement():
    """A layer of BERT with its two adapters (section 2.1), and one adapter beside it.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.5, 6.6), layout="constrained")
    ax.text(0, -1.15, "x  (T, D)", ha="center", va="top")
    for low, first, second in ((0, "attention", "output projection"), (5.4, "D → F, GELU", "F → D")):
        for i, name in enumerate((first, second, "adapter", "+", "LayerNorm")):
            _box(ax, 0, low + i, name, trained=name in ("adapter", "LayerNorm"), width=0.6 if name == "+" else 3.2)
            _arrow(ax, (0, low + i - (1.1 if i == 0 else 0.7)), (0, low + i - 0.3))
        _arrow(ax, (0, low - 0.6), (-2.1, low - 0.6), (-2.1, low + 3), (-0.3, low + 3))
        ax.text(-2.5, low + 1.5, "skip connection\nof the layer", ha="center", va="center", rotation=90, fontsize=8)
    _arrow(ax, (0, 9.7), (0, 10.3))
    ax.text(0, 10.4, "y  (T, D)", ha="center")
    _one_adapter(ax)
    ax.add_patch(plt.Rectangle((2.5, 8.9), 0.5, 0.4, fc=TRAINED, ec="black", lw=2))
    ax.add_patch(plt.Rectangle((2.5, 8.2), 0.5, 0.4, fc=FROZEN, ec="black", lw=0.8))
    ax.text(3.15, 9.1, "trained", va="center")
    ax.text(3.15, 8.4, "frozen", va="center")
    ax.set(xlim=(-2.9, 7.2), ylim=(-1.6, 10.9))
    ax.axis("off")
    return fig


def _one_adapter(ax) -> None:
    import matplotlib.pyplot as plt

    ax.add_patch(plt.Rectangle((2.5, 1.6), 4.6, 6.1, fc="none", ec="black", lw=0.8, ls=":"))
    for low, high in ((1.7, 1.6), (2.3, 7.7)):  # from the adapter of the layer to the one that is drawn large
        ax.plot([1.6, 2.5], [low, high], color="black", lw=0.8, ls=":")
    _arrow(ax, (4.4, 1.9), (4.4, 2.9))
    for y, name in ((3.2, "W_down, b_down: D → M"), (4.3, "GELU"), (5.4, "W_up, b_up: M → D"), (6.5, "+")):
        _box(ax, 4.4, y, name, trained="W_" in name, width=0.6 if name == "+" else 3.3)
        _arrow(ax, (4.4, y + 0.3), (4.4, y + (0.9 if name == "+" else 0.8)))
    _arrow(ax, (4.4, 2.4), (6.5, 2.4), (6.5, 6.5), (4.7, 6.5))
    ax.text(6.75, 4.5, "its own skip connection", ha="center", va="center", rotation=90, fontsize=8)


def _box(ax, x, y, text, trained, width) -> None:
    import matplotlib.pyplot as plt

    color = TRAINED if trained else "white" if text == "+" else FROZEN
    corner = (x - width / 2, y - 0.3)
    ax.add_patch(plt.Rectangle(corner, width, 0.6, fc=color, ec="black", lw=2 if trained else 0.8, zorder=2))
    ax.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3)


def _arrow(ax, *points) -> None:
    ax.plot(*zip(*points[:-1], strict=True), color="black", lw=0.8, zorder=1)
    ax.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "lw": 0.8, "color": "black"}, zorder=1)


def initializations(stds, distances, gradients, measured: dict[float, float]):
    """Over the standard deviation of the initialization: the distance from the identity, |y - x| / |x|, and the size of
    the gradient of W_down, |dW_down| / |dy|; below them the accuracy after training, {std: percent}.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, (above, below) = plt.subplots(
        2, 1, figsize=(6, 5.6), layout="constrained", sharex=True, gridspec_kw={"height_ratios": (3, 2)}
    )
    above.loglog(stds, distances, "o-", color="black", markersize=4, label="distance from the identity")
    above.loglog(stds, gradients, "s--", color="tab:blue", markersize=4, label="gradient of W_down")
    above.axhline(1, color="grey", linewidth=0.8)
    above.text(stds[0], 1.5, "distance 1: changed by as much as x itself", color="0.3", fontsize=8)
    above.set_ylabel("relative size before training")
    above.legend(frameon=False, loc="lower right")
    below.semilogx(list(measured), list(measured.values()), "^-", color="black", markersize=5)
    below.set(xlabel="standard deviation of the initialization", ylabel="accuracy after training, %")
    for ax in (above, below):
        ax.axvline(1e-2, color="tab:orange", linestyle="-.")
        ax.grid(alpha=0.3)
    below.text(0.8e-2, np.mean(list(measured.values())[-2:]) + 3, "the paper's", ha="right", color="0.2")
    return fig
