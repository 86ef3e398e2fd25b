"""Pictures of lesson 2: a padded beside a packed batch, and what padding costs."""

from __future__ import annotations

import numpy as np

PAD = {"facecolor": "white", "edgecolor": "grey", "hatch": "////", "linewidth": 0.5}


def padded_and_packed(sequences: list[list[str]]):
    """Sequences of word pieces as a padded grid (B, longest) with hatched padding, and packed, (T,) with offsets.
    -> a figure"""
    import matplotlib.pyplot as plt

    fig, (padded, packed) = plt.subplots(2, 1, figsize=(8, 4), layout="constrained", height_ratios=[1, 1.1])
    _draw_padded(padded, sequences)
    _draw_packed(packed, sequences)
    return fig


def _draw_padded(ax, sequences) -> None:
    longest, n_tokens = max(map(len, sequences)), sum(map(len, sequences))
    for b, sequence in enumerate(sequences):
        for t in range(longest):
            word = sequence[t] if t < len(sequence) else None
            style = PAD if word is None else _style(b, len(sequences))
            ax.add_patch(_cell(t, b, style))
            if word is not None:
                ax.text(t + 0.5, b + 0.5, word, ha="center", va="center", fontsize=7.5)
    cells = len(sequences) * longest
    ax.set_title(f"padded: {cells} cells, {cells - n_tokens} of them padding (hatched)", fontsize=10, loc="left")
    ax.set(xlim=(0, longest), ylim=(len(sequences), 0), xticks=[], ylabel="sequence")
    ax.set_yticks(np.arange(len(sequences)) + 0.5, range(len(sequences)))


def _draw_packed(ax, sequences) -> None:
    offsets = np.cumsum([0, *map(len, sequences)])
    for b, sequence in enumerate(sequences):
        for position, word in enumerate(sequence):
            t = offsets[b] + position
            ax.add_patch(_cell(t, 0, _style(b, len(sequences))))
            ax.text(t + 0.5, 0.5, word, ha="center", va="center", fontsize=7.5, rotation=90)
            ax.text(t + 0.5, 1.15, str(position), ha="center", va="center", fontsize=7)
    for offset in offsets:
        ax.plot([offset, offset], [0, 1.3], color="black", linewidth=2, clip_on=False)
    ax.set_title(f"packed: {offsets[-1]} cells, no padding", fontsize=10, loc="left")
    ax.set(
        xlim=(0, offsets[-1]), ylim=(1.3, 0), xlabel="offsets: where the sequences begin, and where the last one ends"
    )
    ax.set_xticks(offsets, [str(offset) for offset in offsets])
    ax.set_yticks([0.5, 1.15], ["token", "position"])


def _cell(x, y, style):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 1, 1, **style)


def _style(b: int, n: int) -> dict:
    """Light shades of cividis, so that black words are legible on each."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["cividis"](0.3 + 0.7 * b / max(1, n - 1))
    return {"facecolor": (red, green, blue, 0.4), "edgecolor": "black", "linewidth": 0.8}


def waste(lengths: dict[str, np.ndarray], sizes: list[int], shares: dict[str, list[float]]):
    """How long the sequences of some data sets are, and which share of a padded batch is padding.

    lengths: {name: (N,)}; shares: {name: one for each batch size}, from 0 to 1.   -> a figure
    """
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    bins = np.arange(0, max(n.max() for n in lengths.values()) + 8, 8)
    for i, (name, marker, line) in enumerate(zip(lengths, "os^D", ("-", "--", ":", "-."), strict=False)):
        look = {"color": plt.get_cmap("cividis")(0.75 * i / max(1, len(lengths) - 1)), "linestyle": line}
        counts, _ = np.histogram(lengths[name], bins)
        left.stairs(counts / len(lengths[name]), bins, label=name, linewidth=1.6, **look)
        right.plot(sizes, shares[name], marker=marker, label=name, **look)
    left.set(xlabel="tokens in a sequence", ylabel="share of the sequences")
    right.set(xlabel="sequences in a batch", ylabel="share of padding", ylim=(0, 1), xscale="log")
    right.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    right.minorticks_off()
    right.legend(frameon=False)
    return fig
