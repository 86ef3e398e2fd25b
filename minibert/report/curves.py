"""Learning curves as SVG, to stand in an HTML page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

from minibert.errors import require

NO_SCORES = ("epoch", "step", "loss", "seconds")  # columns of history.csv
STYLE = {
    "svg.fonttype": "none",  # letters stay letters, in the page's font
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # the name of a class may have a $
}


def check_matplotlib() -> None:
    """Raise InputError if matplotlib is not installed."""
    require("it", "matplotlib", "plots")


def learning_curves(history: Sequence[dict], best: int) -> list[str]:
    """HTML with two pictures, the loss and the dev scores by epoch; best: the epoch that was kept."""
    scores = [name for name in history[0] if name not in NO_SCORES]
    figures = [_figure("training loss", history, ["loss"], best), _figure("dev scores", history, scores, best)]
    return ['<div class="curves">', *figures, "</div>"]


def _figure(title: str, history: Sequence[dict], names: Sequence[str], best: int) -> str:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        axes = figure.add_subplot()
        for name in names:
            axes.plot([row["epoch"] for row in history], [row[name] for row in history], marker="o", ms=4, label=name)
        axes.axvline(best, color="0.6", lw=1, ls="--", zorder=0, label=f"kept: epoch {best}")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.legend()
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{escape(title)} by epoch" ', 1)
    return f"<figure>{svg}</figure>"
