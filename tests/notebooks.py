"""Run the notebooks from start to end; with --write, store what they print.

    python tests/notebooks.py [--write] [NAMES...]        names: 01_first_minute, or any part of a name; all by default

Not collected by pytest: the first notebook needs models/minilm-l6.h5 and a minute or two. Every cell must run, and none
may write to stderr (a warning, say). Needs the extra: pip install 'minibert[notebooks]'.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 600  # seconds for one cell
LARGEST = 300_000  # bytes of a stored notebook
COLORS = re.compile(r"\x1b\[[0-9;]*m")  # of a traceback
COMPILING = ("compiling Numba kernels", "compiled ")  # stderr of a first run, no part of the lesson


class Failure(Exception):
    """What is wrong with a notebook, for people."""


def find(names: list[str]) -> list[Path]:
    """The notebooks whose names contain one of the given parts, in reading order."""
    every = sorted((ROOT / "notebooks").glob("*.ipynb"))
    chosen = [path for path in every if not names or any(Path(name).stem in path.stem for name in names)]
    if not chosen:
        raise Failure(f"no notebook is called {', '.join(names)}; there are {', '.join(p.stem for p in every)}")
    return chosen


def place(number: int, cell) -> str:
    """How to find a cell: its number, its id, its first line."""
    return f"cell {number} ({cell.id}: {cell.source.strip().splitlines()[0]})"


def execute(notebook) -> None:
    """Run every cell, from the root of the repository. Raises Failure that names the cell."""
    cells = [(i, cell) for i, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    for _, cell in cells:
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
        coalesce_streams=True,  # one printed text is one output, however the kernel sent it
        extra_arguments=["--log-level=40"],  # the kernel's own remarks on its connection are not ours
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        number, cell = next(
            ((i, c) for i, c in cells if any(o.output_type == "error" for o in c.outputs)),
            next(((i, c) for i, c in reversed(cells) if c.execution_count is not None), cells[0]),
        )
        raise Failure(f"{place(number, cell)}\n{COLORS.sub('', str(error)).strip()}") from None
    for number, cell in cells:
        cell.outputs = [o for o in cell.outputs if not is_compile_message(o)]
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise Failure(f"{place(number, cell)} writes to stderr:\n{output.text.strip()}")


def is_compile_message(output) -> bool:
    """The one thing a cell may say on stderr."""
    lines = output.get("text", "").splitlines() if output.get("name") == "stderr" else []
    return bool(lines) and all(line.startswith(COMPILING) for line in lines)


def without_traces(notebook):
    """The notebook without what differs from run to run: times, the version of Python."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    return notebook


def check(path: Path, write: bool) -> str:
    """Run one notebook; what to tell of it. Raises Failure."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    execute(notebook)
    told = f"{sum(c.cell_type == 'code' for c in notebook.cells)} cells in {time.perf_counter() - start:.0f} s"
    text = nbformat.writes(without_traces(notebook)) + "\n"
    if len(text.encode()) > LARGEST:
        raise Failure(f"{len(text.encode()):,} bytes with its outputs; the limit is {LARGEST:,}")
    if str(ROOT) in text:
        raise Failure(f"the outputs tell where the repository lies: {ROOT}")
    if write:
        path.write_text(text, encoding="utf-8")
        told += f", {len(text.encode()) / 1000:.0f} kB written"
    return told


def main() -> int:
    """0 if every notebook ran."""
    parser = argparse.ArgumentParser(description="Run the notebooks from start to end.")
    parser.add_argument("names", nargs="*", help="parts of names; all notebooks by default")
    parser.add_argument("--write", action="store_true", help="store the outputs in the notebooks")
    arguments = parser.parse_args()
    failed = False
    try:
        for path in find(arguments.names):
            try:
                print(f"{path.name}: {check(path, arguments.write)}", flush=True)
            except Failure as failure:
                failed = True
                print(f"{path.name}: FAILED, {failure}", file=sys.stderr, flush=True)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
