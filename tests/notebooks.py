"""Run the lessons from start to end, the solved and the blank notebook of each; with --write, write the notebooks.

    python tests/notebooks.py [--write] [--fast] [NAMES...]     names: 05_gelu, or any part of a name; all by default

A notebook in notebooks/ is written from its source in notebooks/src/, and never edited: the outputs are those of the
solved version, and the solutions are left out. Checked are: the notebook has the source's cells; both versions run, and
write nothing to stderr; the numbers that the solved one prints are the stored ones (see minibert/lessons/source.py).
Lessons that are to run in a browser run here without numba, tokenizers and h5py.
--fast: few training steps, and numbers that depend on them are not compared.

Not collected by pytest: it takes minutes, and some lessons need models/minilm-l6.h5. Needs the
extra notebooks.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from minibert.errors import InputError
from minibert.lessons import source, written
from minibert.lessons.lint import NUMPY_ALONE
from minibert.lessons.written import place

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 900  # seconds for one cell
LARGEST = 1_000_000  # bytes of a stored notebook
COLORS = re.compile(r"\x1b\[[0-9;]*m")  # of a traceback
COMPILING = ("compiling Numba kernels", "compiled ")  # stderr of a first run, no part of the lesson


class Failure(Exception):
    """What is wrong with a notebook, for people."""


def find(names: list[str]) -> list[Path]:
    """The sources whose names contain one of the given parts, in reading order."""
    every = sorted((ROOT / "notebooks" / "src").glob("*.py"))
    chosen = [path for path in every if not names or any(Path(name).stem in path.stem for name in names)]
    if not chosen:
        raise Failure(f"no lesson is called {', '.join(names)}; there are {', '.join(p.stem for p in every)}")
    return chosen


def execute(notebook, numpy_alone: bool) -> None:
    """Run every cell, from the root of the repository. Raises Failure that names the cell.

    numpy_alone: as if numba, tokenizers and h5py were not installed.
    """
    paths = [str(ROOT / "tests" / "numpy_alone")] if numpy_alone else []
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}
    cells = [(i, cell) for i, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
        coalesce_streams=True,  # one printed text is one output, however the kernel sent it
        extra_arguments=["--log-level=40"],  # the kernel's own remarks on its connection are not ours
    )
    try:
        client.execute(env=env)
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


def check(path: Path, write: bool, fast: bool) -> str:
    """Run one lesson; what to tell of it. Raises Failure."""
    cells, target, start = source.read(path), ROOT / "notebooks" / f"{path.stem}.ipynb", time.perf_counter()
    solved, blank = source.solved(cells), source.blank(cells)
    numpy_alone = int(path.stem[:2]) in NUMPY_ALONE
    if not write:
        stored = nbformat.read(target, as_version=4) if target.exists() else None
        if stored is None or [written.contents(c) for c in stored.cells] != [written.contents(c) for c in blank.cells]:
            raise Failure("its source has changed: write it again with make notebooks-write")
    execute(solved, numpy_alone)
    told = f"{sum(c.cell_type == 'code' for c in solved.cells)} cells, solved in {time.perf_counter() - start:.0f} s"
    if not write:
        written.compare(stored, solved, fast)
        start = time.perf_counter()
        execute(blank, numpy_alone)
        return told + f", blank in {time.perf_counter() - start:.0f} s"
    text = nbformat.writes(written.stored_form(blank, solved)) + "\n"
    if len(text.encode()) > LARGEST:
        raise Failure(f"{len(text.encode()):,} bytes with its outputs; the limit is {LARGEST:,}")
    if str(ROOT) in text:
        raise Failure(f"the outputs tell where the repository lies: {ROOT}")
    target.write_text(text, encoding="utf-8", newline="\n")
    return told + f", {len(text.encode()) / 1000:.0f} kB written"


def main() -> int:
    """0 if every lesson ran."""
    parser = argparse.ArgumentParser(description="Run the lessons from start to end.")
    parser.add_argument("names", nargs="*", help="parts of names; all lessons by default")
    parser.add_argument("--write", action="store_true", help="write the notebooks, with the outputs of the solved ones")
    parser.add_argument("--fast", action="store_true", help="with few training steps")
    arguments = parser.parse_args()
    if arguments.write and arguments.fast:
        parser.error("a notebook is written with the outputs of a full run: --write or --fast")
    os.environ["MINIBERT_LESSONS"] = "fast" if arguments.fast else "full"
    failed = False
    try:
        for path in find(arguments.names):
            try:
                print(f"{path.stem}: {check(path, arguments.write, arguments.fast)}", flush=True)
            except (Failure, InputError) as failure:
                failed = True
                print(f"{path.stem}: FAILED, {failure}", file=sys.stderr, flush=True)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
