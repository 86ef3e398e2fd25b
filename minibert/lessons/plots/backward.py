"""Pictures of the lessons 6 and 9: the softmax's mixing, P and its gradient, where gradients reach, what is kept."""

from __future__ import annotations

import numpy as np

MARKERS, LINES, HATCHES = "os^", ("-", "--", ":"), ("", "//", "..", "xx", "++")


def row_before_and_after(before, after, raised: int):
    """The weights (n,) of one row of a softmax, before and after one of its scores was raised.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    place = np.arange(len(before))
    ax.bar(place - 0.2, before, 0.4, color="lightgrey", edgecolor="black", label="before")
    ax.bar(place + 0.2, after, 0.4, color="white", edgecolor="black", hatch="//", label="after")
    for i, change in enumerate(np.asarray(after) - before):
        ax.text(i, max(before[i], after[i]) + 0.02, f"{change:+.2f}".replace("-", "−"), ha="center", va="bottom")
    ax.set(xlabel=f"element of the row (the score of element {raised} was raised)", ylabel="weight", xticks=place)
    ax.set_ylim(0, 1.15 * max(np.max(before), np.max(after)))
    ax.legend(frameon=False)
    return fig


def weights_and_gradient(P, dS):
    """P and dS (n, n) of one head beside each other. In dS dark is negative and bright positive.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
    largest = np.abs(dS).max()
    titles = "P, the weights", "dS, gradient of the scores (dark: < 0)"
    limits = (("viridis", 0, 1), ("cividis", -largest, largest))
    for ax, values, title, (colors, low, high) in zip(axes, (P, dS), titles, limits, strict=True):
        image = ax.imshow(values, cmap=colors, vmin=low, vmax=high)
        fig.colorbar(image, ax=ax, shrink=0.8)
        ax.set(title=title, xlabel="key j", ylabel="query i", xticks=range(len(P)), yticks=range(len(P)))
    return fig


def memory_by_length(lengths, megabytes: dict[str, np.ndarray]):
    """Megabytes over the length of a sequence, a line for each name, both axes logarithmic.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.7, len(megabytes)))
    for i, (name, values) in enumerate(megabytes.items()):
        ax.loglog(lengths, values, marker=MARKERS[i], linestyle=LINES[i], color=colors[i], label=name)
    ax.set(xlabel="tokens in the sequence", ylabel="MB a layer", xticks=lengths)
    ax.set_xticklabels([str(n) for n in lengths])
    ax.minorticks_off()
    ax.legend(frameon=False)
    return fig


def gradient_by_layer(norms: dict[str, dict[int, float]], label: str = "norm of the gradient"):
    """{name: {layer: norm}}, the layers from the highest to the lowest, as backward meets them.   -> a figure

    A line that ends early ends in a bar: there the backward pass stopped.
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.7, len(norms)))
    layers = sorted(set().union(*norms.values()), reverse=True)
    for i, (name, by_layer) in enumerate(norms.items()):
        reached = sorted(by_layer, reverse=True)
        values = [by_layer[layer] for layer in reached]
        ax.plot(reached, values, marker=MARKERS[i], linestyle=LINES[i], color=colors[i], label=name)
        if reached[-1] != layers[-1]:
            ax.plot(reached[-1], values[-1], "|", color=colors[i], markersize=28, markeredgewidth=3)
    ax.set(xlabel="below layer (backward goes from left to right)", ylabel=label, yscale="log", xticks=layers)
    ax.invert_xaxis()
    ax.legend(frameon=False)
    return fig


PARTS = {  # of what is kept: the tensors of plain.cache_sizes, a layer's, and the "embeddings norm" below them all
    "inputs of products": ("attention input", "attended", "feed-forward input", "h"),
    "q, k, v, lse": ("q, k, v", "lse"),
    "derivative of GELU": ("derivative of gelu",),
    "LayerNorms": ("attention norm", "feed-forward norm", "embeddings norm"),
    "adapters": ("attention adapter", "feed-forward adapter"),
}


def memory_by_method(kilobytes: dict[str, dict[str, float]]):
    """{method: {tensor: kB a token}}, a bar for each method, its PARTS beside each other.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
    colors = plt.get_cmap("cividis")(np.linspace(0.25, 1, len(PARTS)))
    left = np.zeros(len(kilobytes))
    for (part, tensors), color, hatch in zip(PARTS.items(), colors, HATCHES, strict=True):
        values = np.array([sum(sizes.get(tensor, 0.0) for tensor in tensors) for sizes in kilobytes.values()])
        ax.barh(list(kilobytes), values, left=left, color=color, edgecolor="black", hatch=hatch, label=part)
        left += values
    for i, total in enumerate(left):
        ax.text(total, i, f" {total:.0f}", va="center")
    ax.set(xlabel="kB a token, kept for backward", xlim=(0, 1.1 * left.max()))
    ax.invert_yaxis()
    fig.legend(frameon=False, ncols=3, loc="outside lower center")
    return fig
