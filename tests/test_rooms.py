"""The contracts of pyproject.toml find an arrow that points up: each is broken on purpose here, in a copy of the tree.

That they hold is checked by `make lint`.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

pytest.importorskip("importlinter")

LINES = {  # a line that must not stand in a file, and a word of the contract that it breaks
    "minibert/run.py": ("from minibert.lab import sweep", "rooms of minibert"),
    "minibert/bench/timing.py": ("from minibert.lab import sweep", "rooms of minibert"),
    "minibert/data/task.py": ("from minibert.storage import read_bank", "rooms of minibert"),
    "minibert/nowhere.py": ("", "rooms of minibert"),  # a new file has no place until it is given one
    "minibert/storage/atomic.py": ("from minibert.storage import hdf5", "no circles"),
    "minibert/plots.py": ("from kernels.engine import amx", "one door"),
    "minibert/evaluate.py": ("from kernels import softmax", "one door"),
    "kernels/softmax.py": ("from .engine import amx", "within kernels"),
    "kernels/reference.py": ("from .runtime.pool import empty", "the formula alone"),
    "kernels/adam.py": ("import minibert.config", "nothing of BERT"),
    "minibert/storage/bank.py": ("import kernels", "without the maths"),
    "weights_convert/names.py": ("from minibert.data import load_task", "weights_convert"),
}


def lint(folder):
    """{contract: whether it is kept}, and all that was printed."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    lines = [line.split("(")[0].strip() for line in done.stdout.splitlines()]
    ends = ("KEPT", "BROKEN")
    return {line.rsplit(" ", 1)[0]: line.endswith("KEPT") for line in lines if line.endswith(ends)}, done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    copy = tmp_path_factory.mktemp("tree")
    for package in ("minibert", "kernels", "weights_convert"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "*.tsv"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.mark.parametrize("file", LINES)
def test_an_arrow_that_points_up_is_found(tree, file):
    line, word = LINES[file]
    path = tree / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    try:
        kept, told = lint(tree)
    finally:
        path.unlink() if before is None else path.write_text(before, encoding="utf-8")
    (contract,) = [name for name in kept if word in name]
    assert not kept[contract], told
    *room, name = file.removesuffix(".py").split("/")  # of a circle, the linter names one arrow, which may be another
    broken = told.split("Broken contracts")[1]
    assert name in broken or f"No cycles are allowed in {'.'.join(room)}." in broken
