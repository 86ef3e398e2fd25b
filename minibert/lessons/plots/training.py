"""Pictures of lesson 10: the learning rate, the loss over the steps, and how far a step moves the parameters."""

from __future__ import annotations

import numpy as np

STYLES = ("-", "--", ":", "-.")


def schedules(rates: dict[str, list[float]]):
    """The learning rate of every step, {name: rates}.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    for (name, values), style in zip(rates.items(), STYLES, strict=False):
        ax.plot(values, style, color="black", label=name)
    ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    ax.legend(frameon=False)
    return fig


def learning_curves(losses: dict[str, list[float]], chance: float, window: int = 10):
    """The loss of every step, {name: losses}, each as the mean over the last `window` steps. chance: the loss of
    guessing.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for i, ((name, values), style) in enumerate(zip(losses.items(), STYLES, strict=False)):
        mean = running_mean(values, window)
        color = plt.get_cmap("viridis")(i / max(1, len(losses)))
        places = np.arange(len(values) - len(mean), len(values))
        marker = {"marker": "os^D"[i], "markevery": max(1, len(mean) // 8), "markersize": 5}
        ax.plot(places, mean, style, color=color, label=name, **marker)
    ax.axhline(chance, color="grey", linewidth=1, linestyle=(0, (1, 3)))
    ax.text(1.01, chance, "guessing", color="dimgrey", va="center", fontsize=8, transform=ax.get_yaxis_transform())
    ax.set(xlabel="step", ylabel="loss" if window == 1 else f"loss, mean of {window} steps")
    ax.legend(frameon=False)
    return fig


def update_sizes(ratios: dict[str, list[float]]):
    """|change| / |parameters| of every step, {group: ratios}, on a logarithmic axis.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for i, ((name, values), style) in enumerate(zip(ratios.items(), STYLES, strict=False)):
        color = plt.get_cmap("viridis")(i / max(1, len(ratios)))
        marker = {"marker": "os^D"[i], "markevery": max(1, len(values) // 8), "markersize": 5}
        ax.plot(values, style, color=color, label=name, **marker)
    ax.set(xlabel="step", ylabel="|change| / |parameters|", yscale="log")
    ax.legend(frameon=False, ncols=2)
    return fig


def running_mean(values, window: int) -> np.ndarray:
    """The mean of each element and the ones before it, `window` together; fewer values: of all.   (n,) -> (m,)"""
    window = min(window, len(values))
    return np.convolve(values, np.ones(window) / window, "valid")
