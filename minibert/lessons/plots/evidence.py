"""Pictures of lesson 11: accuracy against the size of the adapters, and what is lost without some of them."""

from __future__ import annotations

import numpy as np

from minibert.plots import draw_heatmap


def accuracy_by_size(sizes, accuracies, errors, differences):
    """Left the accuracy of each setting with its interval, right its difference to the first one.

    sizes: names of the settings, from small to large. accuracies: of each; errors: half the width of its interval.
    differences: (low, high) of each setting minus the first, without the first. All are given from 0 to 1, and drawn
    in percent, or in points.   -> a figure
    """
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    places = np.arange(len(sizes))
    left.errorbar(places, 100 * np.array(accuracies), yerr=100 * np.array(errors), fmt="o", color="black", capsize=4)
    left.set(xlabel="adapter size M (0: none)", ylabel="accuracy on dev, percent", xticks=places, xticklabels=sizes)
    low, high = 100 * np.array(differences).T
    middle = (low + high) / 2
    right.errorbar(places[1:], middle, yerr=(high - low) / 2, fmt="s", color="black", capsize=4)
    right.axhline(0, color="grey", linewidth=1, linestyle="--")
    right.set(
        xlabel="adapter size M", ylabel=f"points more than M = {sizes[0]}", xticks=places[1:], xticklabels=sizes[1:]
    )
    right.set_xlim(left.get_xlim())
    return fig


def ablation_heatmap(change, title: str = "change of the accuracy, in points"):
    """change[i, j] (L, L): of the score without the adapters of layers i to j, both counted in; NaN where there is no
    such span.   -> a figure"""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
    draw_heatmap(ax, change, title, "points")
    return fig
