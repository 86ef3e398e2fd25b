"""What the program runs on: `minibert env`, the choice of kernels, and a kernel cache that cannot be written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT, random_texts, write_csv, write_tiny_backbone

# Every line printed, and the largest difference from the NumPy reference, of two kernels that compile quickly.
TWO_KERNELS = """
import numpy as np, kernels
from kernels import reference
x = np.linspace(-3, 3, 50, dtype=np.float32).reshape(5, 10)
assert np.abs(kernels.gelu(x.copy())[0] - reference.gelu(x.copy())[0]).max() < 1e-6
assert abs(kernels.squared_norm(x) - reference.squared_norm(x)) < 1e-3
"""


def run(*arguments, cwd=None, **environment):
    """(exit code, standard output, standard error) of python with these arguments; None unsets a variable."""
    merged = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=merged, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_env_is_ok_or_says_what_to_do():
    code, out, err = run("-m", "minibert", "env")
    assert code == 0
    assert "Traceback" not in err
    for name in ("minibert", "numpy", "numba", "kernels", "threads", "threading layer", "vectors", "kernel cache"):
        assert re.search(rf"^{name} +\S", out, re.MULTILINE), name
    last = out.splitlines()[-1]
    assert last == "OK" or last.startswith("to do: ")


def test_env_tells_of_a_single_thread_and_of_the_reference():
    out = run("-m", "minibert", "env", NUMBA_NUM_THREADS="1")[1]
    assert "threads           1 of 1" in out and "to do: only one thread" in out
    code, out, err = run("-m", "minibert", "env", MINIBERT_KERNELS="numpy")
    assert (code, err) == (0, "")
    assert "kernels           numpy" in out and "to do: the NumPy reference runs" in out


def test_the_reference_starts_without_numba():
    modules = ["run", "cli.commands", "cli.reports", "lab.sweep", "lab.reproduce", "storage"]
    program = f"""
import sys, importlib
sys.modules["numba"] = None  # to import it is an ImportError
for name in {modules}:
    importlib.import_module(f"minibert.{{name}}")
from minibert.run import _versions
print(sorted(_versions()))
"""
    code, out, err = run("-c", program, MINIBERT_KERNELS="numpy")
    assert code == 0, err
    assert "numpy" in out and "python" in out


def test_a_wrong_choice_of_kernels_is_told_in_one_line():
    code, out, err = run("-m", "minibert", "env", MINIBERT_KERNELS="cuda")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]*MINIBERT_KERNELS must be numpy, plain, numba, fma or blas, got 'cuda'\n", err)


def test_a_wrong_number_of_threads_is_told_in_one_line():
    code, out, err = run("-m", "minibert", "env", NUMBA_NUM_THREADS="0")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]*threads[^\n]*\n", err)


def test_a_cache_that_cannot_be_written_is_told_and_does_without(tmp_path):
    (tmp_path / "file").write_text("")  # below a regular file nobody can write, root included
    (tmp_path / "tmp").mkdir()
    cache = str(tmp_path / "file" / "cache")
    code, _, err = run("-c", TWO_KERNELS, NUMBA_CACHE_DIR=cache, TMPDIR=str(tmp_path / "tmp"))
    assert code == 0, err
    warning, compiling, *more = err.splitlines()
    assert warning.startswith(f"warning: cannot write compiled kernels to {cache}") and "NUMBA_CACHE_DIR" in warning
    assert compiling.startswith("compiling Numba kernels") and "for this run only" in compiling
    assert more == []
    assert list((tmp_path / "tmp").iterdir()) == []  # what was compiled for this run is gone


def test_the_first_compilation_is_told_and_the_second_run_loads_it(tmp_path):
    code, _, err = run("-c", TWO_KERNELS, NUMBA_CACHE_DIR=str(tmp_path))
    assert code == 0
    assert err.startswith("compiling Numba kernels") and str(tmp_path) in err
    assert list(Path(tmp_path).rglob("*.nbi"))
    assert run("-c", TWO_KERNELS, NUMBA_CACHE_DIR=str(tmp_path)) == (0, "", "")


@pytest.mark.slow
def test_training_agrees_on_all_three_sets_of_kernels(tmp_path):
    backbone = write_tiny_backbone(tmp_path / "tiny.h5")
    texts, labels = random_texts(30)
    data = write_csv(tmp_path / "data.csv", {"text": texts, "label": labels})
    task = ["--task", "csv", "--data", data, "--text-column", "text", "--label-column", "label", "--max-length", 24]
    losses = {}
    for backend in ("numpy", "numba", "blas"):
        out = tmp_path / backend
        arguments = ["-m", "minibert", "train", "--backbone", backbone, *task, "--epochs", 2, "--out", out]
        code, _, err = run(*arguments, MINIBERT_KERNELS=backend)
        assert code == 0, err
        rows = (out / "history.csv").read_text().splitlines()[1:]
        losses[backend] = [float(row.split(",")[2]) for row in rows]
    assert len(losses["numpy"]) == 2
    assert max(max(epoch) - min(epoch) for epoch in zip(*losses.values(), strict=True)) < 1e-4


@pytest.mark.parametrize("spoiled", [None, "import nothing_like_this"])
def test_another_package_called_kernels_is_told_in_one_line(tmp_path, spoiled):
    """There is one on PyPI. Whether it can be imported or not, it is named before it is."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text(spoiled or '__version__ = "0.10"')
    before = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    code, out, err = run("-m", "minibert", "env", cwd=tmp_path, **before)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]*kernels[^\n]*is not minibert's[^\n]*pip uninstall kernels[^\n]*\n", err)
    assert str(tmp_path / "kernels" / "__init__.py") in err and str(ROOT / "kernels") in err
    for line in ("from minibert import Model", "import minibert.evaluate"):
        code, _, err = run("-c", line, cwd=tmp_path, **before)
        assert code == 1 and "is not minibert's" in err.splitlines()[-1]
