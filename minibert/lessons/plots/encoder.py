"""Pictures of lesson 7: where an encoder begins to be wrong, and which of its vectors are alike."""

from __future__ import annotations

import numpy as np


def error_by_layer(errors: dict[str, dict[str, float]], tolerance: float):
    """errors: {name of an encoder: {hidden state: relative error}}, the right one first.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, max(1, len(errors) - 1)))
    for i, (name, by_state) in enumerate(errors.items()):
        style = {"color": "black", "linewidth": 2.5} if i == 0 else {"color": colours[i - 1], "linewidth": 1.2}
        values = np.array(list(by_state.values()))
        ax.plot(np.where(values > 0, values, np.nan), marker="o^vsDP*X"[i % 8], label=name, **style)
    ax.axhline(tolerance, color="grey", linestyle=":", linewidth=1)
    ax.text(0, tolerance * 1.5, f"{tolerance:.0e}", color="grey")
    states = list(next(iter(errors.values())))
    ax.set_xticks(range(len(states)), states, rotation=20)
    ax.set(yscale="log", ylabel="relative error")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def cosines(groups: dict[str, np.ndarray], labels: list[str]):
    """groups: {title: (N, D)}; labels (N,): of the rows. For each group the cosine of every two rows.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        1, len(groups), figsize=(1.6 + 3.2 * len(groups), 3.4), layout="constrained", squeeze=False
    )
    numbers = range(len(labels))
    for ax, (title, vectors) in zip(axes[0], groups.items(), strict=True):
        values = cosine_matrix(vectors)
        picture = ax.imshow(values, cmap="cividis", vmin=0, vmax=1)
        for i in numbers:
            for j in numbers:
                colour = "black" if values[i, j] > 0.6 else "white"
                ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
        ax.set_title(title, fontsize=10)
        ax.set_xticks(numbers, [i + 1 for i in numbers])
        ax.set_yticks(numbers, [f"{text}  {i + 1}" for i, text in enumerate(labels)] if ax is axes[0, 0] else [])
    fig.colorbar(picture, ax=axes[0].tolist(), label="cosine", shrink=0.8)
    return fig


def cosine_matrix(vectors):
    """The cosine of every two rows.   (N, D) -> (N, N)"""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T
