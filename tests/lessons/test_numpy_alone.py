"""The stand-in for a machine without numba, tokenizers and h5py, on which tests/notebooks.py runs some lessons."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = Path(__file__).parents[1] / "numpy_alone"


def run(code):
    own = os.environ | {"PYTHONPATH": str(ALONE)}
    return subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["numba", "tokenizers", "h5py", "minibert.model"])
def test_what_is_absent_cannot_be_imported(module):
    done = run(f"import {module}")
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr and "as in a browser" in done.stderr


def test_files_of_ones_own_are_begun_without_it(tmp_path):
    start = "import sys; from minibert.lessons.__main__ import main; sys.exit(main(['start', sys.argv[1]]))"
    own = os.environ | {"PYTHONPATH": str(ALONE)}
    command = [sys.executable, "-c", start, str(tmp_path / "mine")]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *files, following = done.stdout.splitlines()
    assert all(Path(name).exists() for name in files) and following.startswith("next: write a function, such as gelu")


def test_the_checker_needs_none_of_it():
    done = run("from minibert import lessons; from minibert.lessons import plain; lessons.take('gelu', plain.gelu)")
    assert done.returncode == 0 and done.stdout.startswith("gelu: ours"), done.stderr
