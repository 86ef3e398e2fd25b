"""Variables of Numba that the kernels cannot run with: one line that names the variable and what to do."""

import re
import subprocess
import sys

import pytest
import tiny

import kernels
from kernels.runtime.settings import is_there

pytestmark = pytest.mark.skipif(kernels.BACKEND != "numba", reason="the settings of the engine")

WRONG = [
    ("NUMBA_DISABLE_JIT", "1"),
    ("NUMBA_DISABLE_JIT", "yes"),
    ("NUMBA_THREADING_LAYER", "threads"),
    ("NUMBA_THREADING_LAYER_PRIORITY", "omp"),
    ("NUMBA_NUM_THREADS", "two"),
    ("NUMBA_NUM_THREADS", "-1"),
    ("NUMBA_NUM_THREADS", "999999"),
    ("NUMBA_OPT", "fast"),
    *([] if is_there("tbb") else [("NUMBA_THREADING_LAYER", "tbb"), ("NUMBA_THREADING_LAYER", "safe")]),
]


def run(*arguments, **environment):
    command = [sys.executable, *arguments]
    environment = tiny.environment(**environment)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("variable, value", WRONG)
def test_a_wrong_setting_is_told_in_one_line_that_names_it(variable, value):
    done = run("-m", "minibert", "gradcheck", **{variable: value})
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: minibert cannot start: [^\n]+\n", done.stderr)
    assert variable in done.stderr


def test_from_python_it_is_an_import_error_and_numpy_needs_none_of_it():
    program = "from minibert import Model; print(Model.__name__)"
    done = run("-c", program, NUMBA_DISABLE_JIT="1")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("ImportError: NUMBA_DISABLE_JIT=1")
    done = run("-c", program, NUMBA_DISABLE_JIT="1", NUMBA_THREADING_LAYER="none", MINIBERT_KERNELS="numpy")
    assert (done.returncode, done.stdout) == (0, "Model\n")


def test_the_plain_kernels_run_without_the_compiler_for_a_debugger():
    program = """
import numpy as np, kernels
from kernels import reference
kernels.compile_for("train")
x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
print(np.abs(kernels.matmul(x, x.T.copy()) - reference.matmul(x, x.T.copy())).max() < 1e-6)
"""
    done = run("-c", program, NUMBA_DISABLE_JIT="1", MINIBERT_KERNELS="plain")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_a_layer_is_the_one_that_numba_takes():
    program = """
import numba, numpy as np, kernels
kernels.use_threads(1)
from kernels.runtime.compiling import THREADING_LAYER
print(THREADING_LAYER == numba.threading_layer())
"""
    for layer in ("default", "workqueue", "forksafe", "threadsafe"):
        assert run("-c", program, NUMBA_THREADING_LAYER=layer).stdout == "True\n", layer


def test_without_multiply_add_env_says_what_to_do():
    program = """
from kernels.runtime import compiling
from minibert.cli.reports import _report_compiled
found = {"threads": 2, "most_threads": 2, "threading_layer": "omp", "vector_bits": 128, "amx": False}
found |= {"kernels": "numba", "cache": "c", "cache_bytes": 1, "cache_is_kept": True, "fma": compiling.has_fma()}
print(compiling.vector_bits(), _report_compiled(found))
"""
    old = run("-c", program, NUMBA_CPU_NAME="nehalem", NUMBA_CPU_FEATURES="+sse2,+sse4.2").stdout.splitlines()
    if "x86" in sys.implementation._multiarch:
        assert any("without multiply-add" in line for line in old)
        assert old[-1].startswith("128 ") and "MINIBERT_KERNELS=blas" in old[-1]


def test_vectors_of_arm_are_known(monkeypatch):
    from kernels.runtime import compiling

    for machine in ("aarch64", "arm64", "ARM64"):
        monkeypatch.setattr(compiling.platform, "machine", lambda machine=machine: machine)
        assert (compiling.vector_bits(), compiling.has_fma()) == (128, True)
