"""The roofline (Williams, Waterman & Patterson, 2009): what bounds each kernel, arithmetic or memory."""

from __future__ import annotations

from pathlib import Path

from minibert.bench.timing import Machine
from minibert.errors import InputError, require

COLORS = {"matmul": "tab:blue", "attention": "tab:orange", "gelu": "tab:green", "layernorm": "tab:red"}


def check_plot_file(path: str | None) -> None:
    """Raise InputError, before anything is timed, if the plot could not be drawn or written."""
    if path is None:
        return
    require("--plot", "matplotlib.figure", "plots", "matplotlib")
    if not Path(path).resolve().parent.is_dir():
        raise InputError(f"--plot {path}: the folder {Path(path).resolve().parent} does not exist")
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"--plot {path}: the name must end in .png, .svg or .pdf")


def draw(rows: list[dict], machine: Machine, threads: int, path: str) -> None:
    """A numbered point for every timed kernel: operations a byte against GFLOP/s, below the two roofs."""
    from matplotlib.figure import Figure

    points = sorted((row for row in rows if row["intensity"] > 0), key=lambda row: row["intensity"])
    ridge = machine.gflops / machine.gb_per_second
    left, right = min(points[0]["intensity"], ridge) / 2, max(points[-1]["intensity"], ridge) * 4
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", xlim=(left, right), xlabel="operations a byte", ylabel="GFLOP/s")
    axes.plot([left, ridge, right], [machine.roof(i) for i in (left, ridge, right)], "k-", linewidth=1.5)
    axes.text(right, machine.gflops, f"multiply-adds {machine.gflops:,.0f} GFLOP/s ", ha="right", va="bottom")
    middle = (left * ridge) ** 0.5
    axes.text(middle, machine.roof(middle), f"memory {machine.gb_per_second:,.0f} GB/s   ", ha="right", va="bottom")
    for number, row in enumerate(points, 1):
        color = COLORS.get(row["kernel"].split("_")[0], "dimgray")
        note = row["note"] or (row["shapes"] if row["kernel"] == "matmul" else "")
        name = row["kernel"] + f" ({note})" * bool(note)
        axes.plot(row["intensity"], row["gflops"], "o", color=color, label=f"{number}  {name}")
        axes.annotate(str(number), (row["intensity"], row["gflops"]), (4, 3), textcoords="offset points", fontsize=8)
    axes.set_title(f"Kernels under the roofs of this machine, {threads} thread{'s' * (threads > 1)}")
    axes.grid(True, which="major", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False, handletextpad=0.2)
    figure.savefig(path, dpi=150)
