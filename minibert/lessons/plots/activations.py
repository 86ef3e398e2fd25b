"""Pictures of lesson 5: GELU with its derivative, and what LayerNorm's backward pass takes out of a gradient."""

from __future__ import annotations

import numpy as np


def function_and_derivative(x, y, dy, name: str):
    """y and its derivative over x, all (n,).   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    ax.plot(x, y, color="black", label=f"{name}(x)")
    ax.plot(x, dy, color="tab:blue", linestyle="--", label=f"its derivative {name}'(x)")
    ax.axhline(0, color="grey", linewidth=0.6)
    ax.axhline(1, color="grey", linewidth=0.6, linestyle=":")
    ax.set_xlabel("x")
    ax.legend(frameon=False)
    return fig


def rows_before_and_after(x, y):
    """The elements of each row of x and y (T, D) as points on a line.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained", sharey=True)
    for ax, values, title in zip(axes, (x, y), ("before", "after LayerNorm"), strict=True):
        for t, row in enumerate(values):
            ax.plot(row, np.full(len(row), t), "o", color="black", markersize=5, fillstyle="none")
            ax.plot(row.mean(), t, "|", color="tab:red", markersize=18, markeredgewidth=2)
        ax.set(title=title, xlabel="elements, and their mean (line)", yticks=range(len(values)))
    axes[0].set(ylabel="row", ylim=(-0.5, len(x) - 0.5))
    return fig


def share_along(dx, directions: dict[str, np.ndarray]):
    """How much of each row of dx (T, D) lies along directions, {name: (D,) or (T, D)}: |cosine| of the two.
    -> a figure"""
    import matplotlib.pyplot as plt

    shares = {name: np.abs(cosines(dx, np.broadcast_to(v, dx.shape))) for name, v in directions.items()}
    fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
    width = 0.8 / len(shares)
    for i, (name, values) in enumerate(shares.items()):
        places = np.arange(len(dx)) + (i - (len(shares) - 1) / 2) * width
        ax.bar(places, values, width, color=plt.get_cmap("cividis")(i / max(1, len(shares) - 1)), label=name)
    ax.set(xlabel="row", ylabel="|cosine| with the gradient", ylim=(0, 1), xticks=range(len(dx)))
    ax.legend(frameon=False)
    return fig


def cosines(a, b):
    """The cosine of each row of a with the same row of b, both (T, D).   -> (T,)"""
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
