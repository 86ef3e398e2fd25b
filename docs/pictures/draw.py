"""Draws the pictures of the docs: `python docs/pictures/draw.py` (needs the extra `plots`) writes every SVG beside it.

The two pictures of measurements read results/speed/*.csv. Measure again, write the new numbers there, run this file.
Every picture must remain readable in grey: values stand on the bars, and hatching repeats what color says.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

HERE = Path(__file__).parent
SPEED = HERE.parents[1] / "results" / "speed"
INK, SOFT, GREEN, GREY, PALE = "#0f172a", "#475569", "#2f9e63", "#cbd5e1", "#eef2f6"

mpl.use("svg")
plt.rcParams |= {
    "svg.fonttype": "none",  # text stays text: small files, and a reader can search them
    "svg.hashsalt": "minibert",  # the same bytes each time
    "font.family": "DejaVu Sans",  # comes with matplotlib; wider than what browsers use, so that texts fit there, too
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "hatch.color": SOFT,
    "hatch.linewidth": 0.6,
}


def save(figure, name: str) -> None:
    """Write the figure as an SVG without a date, so that a picture that has not changed is the same file."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    plt.close(figure)
    text = re.sub("'DejaVu Sans'[^;\"]*sans-serif", "Helvetica, Arial, sans-serif", file.getvalue())
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    (HERE / name).write_text(text, encoding="utf-8", newline="\n")


def read(name: str) -> list[dict[str, str]]:
    """The rows of a CSV file in results/speed."""
    with open(SPEED / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def canvas(width: float, height: float):
    """A figure whose axes are invisible and count in hundredths of an inch, y upwards."""
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100 * width), ylim=(0, 100 * height))
    axes.axis("off")
    return figure, axes


# ----------------------------------------------------------------------------------------- padded and packed batches

SEQUENCES = (
    ("[CLS]", "one", "text", "[SEP]"),
    ("[CLS]", "another", "[SEP]"),
    ("[CLS]", "a", "longer", "third", "text", "[SEP]"),
)
CELL, ROW = 58, 30  # width and height of a token's cell
SHADES = ("#d9f2e3", "#ffffff", "#dbe4f0")  # of the three sequences


def cell(axes, x: float, y: float, text: str, color: str, hatch: str | None = None) -> None:
    """One token."""
    axes.add_patch(Rectangle((x, y), CELL, ROW, facecolor=color, edgecolor=SOFT, hatch=hatch, linewidth=0.8))
    axes.text(x + CELL / 2, y + ROW / 2, text, ha="center", va="center", fontsize=9)


def packing() -> None:
    """The same three sequences, padded to a rectangle with a mask, and packed end to end with offsets."""
    figure, axes = canvas(8.6, 3.7)
    longest = max(map(len, SEQUENCES))
    axes.text(20, 345, "padded:  ids (3, 6) and a mask; 18 rows of work, 5 of them wasted", fontsize=12)
    for b, tokens in enumerate(SEQUENCES):
        for t in range(longest):
            x, y = 70 + t * CELL, 295 - b * ROW
            if t < len(tokens):
                cell(axes, x, y, tokens[t], SHADES[b])
            else:
                cell(axes, x, y, "[PAD]", GREY, "////")
        axes.text(60, 295 - b * ROW + ROW / 2, f"b = {b}", ha="right", va="center", fontsize=10)
        mask = "1 " * len(tokens) + "0 " * (longest - len(tokens))
        axes.text(90 + longest * CELL, 295 - b * ROW + ROW / 2, f"mask  {mask}", va="center", fontsize=10)

    axes.text(20, 190, "packed:  ids (T,) with T = 4 + 3 + 6 = 13; every row is a token, no mask", fontsize=12)
    x0, y, width = 20, 92, 820 / sum(map(len, SEQUENCES))
    offsets, t = [0], 0
    for b, tokens in enumerate(SEQUENCES):
        for n, token in enumerate(tokens):
            x = x0 + t * width
            axes.add_patch(Rectangle((x, y), width, ROW, facecolor=SHADES[b], edgecolor=SOFT, linewidth=0.8))
            axes.text(x + width / 2, y + ROW / 2, token, ha="center", va="center", fontsize=9)
            axes.text(x + width / 2, y - 14, str(n), ha="center", va="center", fontsize=9, color=SOFT)
            t += 1
        offsets.append(t)
    for offset in offsets:
        x = x0 + offset * width
        axes.plot((x, x), (y, y + ROW + 8), color=INK, linewidth=2.2)
        align = {0: "left", offsets[-1]: "right"}.get(offset, "center")
        axes.text(x, y + ROW + 22, str(offset), ha=align, va="center", fontsize=11, fontweight="bold")
    axes.text(x0, 46, "below the tokens: positions, counted anew in each sequence", fontsize=10.5)
    axes.text(x0, 20, "above: offsets (B + 1,); sequence b is rows offsets[b] : offsets[b + 1]", fontsize=10.5)
    save(figure, "packing.svg")


# ------------------------------------------------------------------------------------------------------ map of rooms


def room(axes, x: float, y: float, width: float, height: float, name: str, text: str, color: str = PALE) -> None:
    """A box with the name of a folder and what it holds."""
    style = "round,pad=0,rounding_size=7"
    axes.add_patch(
        FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=color, edgecolor=SOFT, linewidth=1.4)
    )
    axes.text(x + width / 2, y + height - 17, name, ha="center", va="center", fontsize=11, fontweight="bold")
    for line, words in enumerate(text.split("\n")):
        axes.text(x + width / 2, y + height - 35 - 15 * line, words, ha="center", va="center", fontsize=9.5)


def down(axes, start: tuple[float, float], end: tuple[float, float], dashed: bool = False) -> None:
    """An arrow: the room at its tail imports the room at its head."""
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "linewidth": 1.4, "color": SOFT}
    axes.add_patch(FancyArrowPatch(start, end, linestyle="--" if dashed else "-", shrinkA=0, shrinkB=0, **style))


BANDS = (  # of minibert/, from the highest to the lowest; rooms that stand side by side do not import each other
    (("cli/", "the command line; thin"),),
    (("report/", "a run on a page"), ("lab/", "sweeps, figures"), ("bench/", "timings"), ("lessons/", "the course")),
    (("run.py  trial.py  train.py  evaluate.py  gradcheck.py", "one run as data; the training loop; checks"),),
    (("model.py  bert.py  heads.py  methods.py  text.py", "layer, encoder, head; what is trained; packed batches"),),
    (("adapter.py  attention.py  layers.py", "the maths, forward and backward: read here first"),),
    (("data/", "every file of others"), ("storage/", "every file of ours")),
    (("params.py  config.py", "parameter trees; settings that check themselves"),),
)


def rooms() -> None:
    """Folders and files as rooms: arrows are imports, and point down only."""
    figure, axes = canvas(9.2, 6.2)
    axes.text(460, 600, "an arrow is an import and points down; a room may also use what is further below", ha="center")
    room(axes, 30, 534, 860, 50, "tests/   notebooks/", "import everything; nothing imports them", "#ffffff")
    left, width, height, step = 45, 495, 50, 69
    for n, band in enumerate(BANDS):
        y, share = 444 - n * step, (width + 15) / len(band)
        for k, (name, text) in enumerate(band):
            color = "#d9f2e3" if "adapter.py" in name else PALE
            room(axes, left + k * share, y, share - 15, height, name, text, color)
        parts = max(len(band), len(BANDS[n + 1]) if n + 1 < len(BANDS) else 0)
        for k in range(parts if n + 1 < len(BANDS) else 0):
            x = left + (k + 0.5) * (width + 15) / parts - 7
            down(axes, (x, y), (x, y - step + height + 1))
    axes.plot((30, 30, 555, 555, 30), (15, 520, 520, 15, 15), color=SOFT, linewidth=1, linestyle=":")
    axes.text(45, 508, "minibert/", va="center", fontweight="bold")
    room(
        axes,
        625,
        405,
        265,
        89,
        "weights_convert/",
        "other people's checkpoints to our\nfiles, and back; imports storage/,\nparams.py and config.py",
    )
    down(axes, (640, 405), (541, 133))
    room(axes, 625, 15, 265, 290, "kernels/", "arrays in, arrays out; knows no BERT", "#ffffff")
    inner = (
        ("__init__.py: the only door", "each operation by its name", PALE),
        ("engine/", "GEMM and attention, fast", PALE),
        ("lesson files", "matmul.py, attention.py, ...", "#d9f2e3"),
        ("runtime/", "compilation, pool, threads", PALE),
    )
    for n, (name, text, color) in enumerate(inner):
        room(axes, 640, 210 - 62 * n, 235, 48, name, text, color)
        if n > 0:
            down(axes, (757, 272 - 62 * n), (757, 259 - 62 * n))
    down(axes, (556, 250), (639, 238))
    save(figure, "rooms.svg")


# ------------------------------------------------------------------------------------------------------ measurements


def bare(axes) -> None:
    """No frame but the base line of the bars."""
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def speed() -> None:
    """How many times as fast as PyTorch a training step is, per workload."""
    rows = read("step.csv")
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    kinds = list(dict.fromkeys(row["kernels"] for row in rows))
    looks = dict(zip(kinds, ((GREEN, None), (GREY, "////")), strict=False))
    figure, axes = plt.subplots(figsize=(8.6, 3.4), layout="constrained")
    size, at = 0.38, {name: -i for i, name in enumerate(workloads)}
    for row in rows:
        shift = size * (0.5 - kinds.index(row["kernels"]))
        value, (color, hatch) = float(row["step"]), looks[row["kernels"]]
        y = at[row["workload"]] + shift
        first = row is next(r for r in rows if r["kernels"] == row["kernels"])
        label = f"minibert, {row['kernels']}" if first else None
        axes.barh(y, value, size, color=color, hatch=hatch, edgecolor=SOFT, linewidth=0.8, label=label)
        axes.text(value + 0.06, y, f"{value:g} ×", va="center")
    axes.axvline(1, color=INK, linestyle="--", linewidth=1.2, label="PyTorch (transformers + adapters) = 1")
    axes.set_yticks([at[name] for name in workloads], workloads)
    axes.set_xlabel("training step, tokens a second: minibert over PyTorch, same machine, in turns")
    axes.set_xlim(0, 1.12 * max(float(row["step"]) for row in rows))
    axes.legend(frameon=False, loc="lower right")
    bare(axes)
    save(figure, "speed.svg")


def ladder() -> None:
    """GFLOP/s of each rung, and its share of NumPy's BLAS."""
    rows = read("ladder.csv")
    figure, axes = plt.subplots(figsize=(8.6, 3.3), layout="constrained")
    for i, row in enumerate(rows):
        value, engine = float(row["gflops"]), i >= len(rows) - 2
        axes.barh(-i, value, 0.66, color=GREEN if engine else GREY, hatch=None if engine else "////", edgecolor=SOFT)
        axes.text(value + 8, -i, f"{value:g}  ({row['percent_of_blas']} % of NumPy's BLAS)", va="center")
    axes.set_yticks([-i for i in range(len(rows))], [row["rung"] for row in rows])
    axes.set_xlabel("GFLOP/s, (500, 384) @ (384, 1536), float32")
    axes.set_xlim(0, 1.42 * max(float(row["gflops"]) for row in rows))
    bare(axes)
    save(figure, "ladder.svg")


if __name__ == "__main__":
    for draw in (packing, rooms, speed, ladder):
        draw()
