"""The roofline (Williams, Waterman & Patterson, 2009): what bounds each kernel, arithmetic or memory."""

from __future__ import annotations

from pathlib import Path

from minibert.config import InputError
from minibert.lab.timing import Machine

COLORS = {"matmul": "tab:blue", "attention": "tab:orange", "gelu": "tab:green", "layernorm": "tab:red"}


def check_plot_file(path: str | None) -> None:
    """Raise InputError, before anything is timed, if the plot could not be drawn or written."""
    if path is None:
        return
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'minibert[plots]'") from None
    if not Path(path).resolve().parent.is_dir():
        raise InputError(f"--plot {path}: the folder {Path(path).resolve().parent} does not exist")
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot {path}: the name must end in .png, .svg or .pdf")


def draw(rows: list[dict], machine: Machine, threads: int, path: str) -> None:
    """A point for every timed kernel: operations a byte against GFLOP/s, below the two roofs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    points = [row for row in rows if not row["wrong"] and row["intensity"] > 0]
    intensities = [row["intensity"] for row in points]
    ridge = machine.gflops / machine.gb_per_second
    left, right = min([*intensities, ridge]) / 2, max([*intensities, ridge]) * 4
    axes.plot([left, ridge, right], [machine.roof(i) for i in (left, ridge, right)], "k-", linewidth=1.5)
    axes.text(right, machine.gflops * 1.04, f"multiply-adds: {machine.gflops:,.0f} GFLOP/s", ha="right", va="bottom")
    slope = f"memory: {machine.gb_per_second:,.0f} GB/s"
    axes.text(left * 1.1, machine.roof(left * 1.1) * 1.3, slope, rotation=35, va="bottom")
    for row in points:
        color = COLORS.get(row["kernel"].split("_")[0], "gray")
        axes.plot(row["intensity"], row["gflops"], "o", color=color)
        note = row["kernel"] + (f" ({row['note']})" if row["note"] else "")
        axes.annotate(note, (row["intensity"], row["gflops"]), (4, 3), textcoords="offset points", fontsize=7)
    axes.set(xscale="log", yscale="log", xlim=(left, right), xlabel="operations a byte", ylabel="GFLOP/s")
    axes.set_title(f"Kernels under the roofs of this machine, {threads} thread{'s' * (threads > 1)}")
    axes.grid(True, which="both", alpha=0.2)
    figure.savefig(path, dpi=150)
