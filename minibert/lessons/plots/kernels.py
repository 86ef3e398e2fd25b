"""Pictures of lesson 12: a product in tiles, what tiles fetch, the ladder, the roofline. Each returns a figure."""

from __future__ import annotations

import numpy as np


def tiles(T, K, N, tile, at=(0, 0, 0)):
    """x, W and y cut into tiles. Dark are the three that one step of the loops uses, that with the numbers `at`."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    rows, columns, depth = tile
    i, j, k = at
    figure = plt.figure(figsize=(8, 3), layout="constrained")
    arrays = (
        ("x", (T, K), (rows, depth), (i, k), "T", "K"),
        ("W", (K, N), (depth, columns), (k, j), "K", "N"),
        ("y", (T, N), (rows, columns), (i, j), "T", "N"),
    )
    panels = figure.subplots(1, 3, width_ratios=(K, N, N))
    for axes, (name, shape, cut, place, down, right) in zip(panels, arrays, strict=True):
        for top in range(0, shape[0], cut[0]):
            for left in range(0, shape[1], cut[1]):
                height, width = min(cut[0], shape[0] - top), min(cut[1], shape[1] - left)
                used = (top // cut[0], left // cut[1]) == place
                ragged = (height, width) != tuple(cut)
                color, hatch = "tab:blue" if used else "white", "///" if ragged else None
                axes.add_patch(Rectangle((left, top), width, height, facecolor=color, edgecolor="black", hatch=hatch))
        axes.set(xlim=(0, shape[1]), ylim=(shape[0], 0), aspect="equal", title=f"{name} ({down}, {right})")
        axes.set(xlabel=f"{right} = {shape[1]}", ylabel=f"{down} = {shape[0]}", xticks=[], yticks=[])
    return figure


def fetches(sizes, elements, smallest):
    """Elements that are fetched, over the size of square tiles. smallest: of each array once."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sizes, elements, "o-", color="tab:blue", label="fetched with tiles")
    axes.axhline(smallest, color="black", linestyle="--", label="each array once")
    axes.set_xscale("log", base=2)
    axes.set(yscale="log", xlabel="rows and columns of a tile", ylabel="elements", xticks=sizes)
    axes.set_xticklabels([str(size) for size in sizes])
    axes.legend(frameon=False)
    return figure


def ladder(gflops):
    """GFLOP/s of each rung, {name: number}, from above to below, on a logarithmic scale."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(7, 0.45 * len(gflops) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    colors = [str(shade) for shade in np.linspace(0.75, 0.25, len(gflops))]
    bars = axes.barh(range(len(gflops)), list(gflops.values()), color=colors, edgecolor="black")
    axes.bar_label(bars, [f"{number:,.1f}" for number in gflops.values()], padding=3)
    axes.set(xscale="log", xlabel="GFLOP/s", yticks=range(len(gflops)))
    axes.set_yticklabels(list(gflops))
    axes.set_xlim(right=3 * max(gflops.values()))
    axes.invert_yaxis()
    return figure


def roofline(points, peak, bandwidth):
    """Two roofs and the points under them. points: {name: (operations per byte, GFLOP/s)}; peak in GFLOP/s, bandwidth
    in GB/s."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    ridge = peak / bandwidth
    at = [ops_per_byte for ops_per_byte, _ in points.values()]
    left, right = min(*at, ridge) / 3, max(*at, ridge) * 12
    axes.plot([left, ridge, right], [left * bandwidth, peak, peak], color="black", linewidth=2)
    axes.annotate(f"peak {peak:,.0f} GFLOP/s", (ridge, peak), (0, 5), textcoords="offset points")
    middle = (left * ridge) ** 0.5
    label = f"memory {bandwidth:,.0f} GB/s"
    axes.annotate(label, (middle, middle * bandwidth), (-6, 4), textcoords="offset points", ha="right")
    heights = _label_heights(points, peak)
    for number, (name, (x, y)) in enumerate(sorted(points.items(), key=lambda item: item[1][1])):
        axes.plot(x, y, "osD^vPX*<>"[number % 10], color="tab:blue", markeredgecolor="black")
        line = {"arrowstyle": "-", "linewidth": 0.5}
        axes.annotate(name, (x, y), (1.35 * x, heights[name]), fontsize=9, va="center", arrowprops=line)
    axes.set(xscale="log", yscale="log", xlim=(left, right), xlabel="operations per byte", ylabel="GFLOP/s")
    axes.set_ylim(top=3 * max(peak, *heights.values()))
    axes.grid(True, alpha=0.3)
    return figure


def _label_heights(points, peak):
    """{name: where its label stands}: beside its point, but not on the roof, and not on the label above it."""
    heights, above = {}, {}  # above: the last label in each column
    for name, (x, y) in sorted(points.items(), key=lambda item: -item[1][1]):
        beside = max(y, 1.3 * peak) if y > peak else min(y, peak / 1.3)
        heights[name] = above[x] = min(beside, above.get(x, np.inf) / 1.5)
    return heights
