"""A process that forks after it has computed: its children compute, or say why they cannot."""

import os
import subprocess
import sys

import pytest
import tiny

import kernels
from kernels.runtime.settings import is_there

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORK = """
import os, sys, threading
import numpy as np
from whole_program import a_batch, a_model
when = sys.argv[1]
model, (batch, _) = a_model("adapter"), a_batch()
expected = None if when == "before" else model.forward(batch)
if when == "while threads compute":
    for _ in range(3):
        threading.Thread(target=lambda: [model.forward(batch) for _ in range(200)], daemon=True).start()
child = os.fork()
if child == 0:
    code = 1
    try:
        scores = model.forward(batch)
        code = 0 if expected is None or (scores == expected).all() else 5
    except RuntimeError as error:
        print(error, flush=True)
        code = 7
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
assert expected is None or (model.forward(batch) == expected).all()
os._exit(os.waitstatus_to_exitcode(status) % 256)
"""
ON_LINUX_OPENMP = sys.platform == "linux" and kernels.COMPILED and is_there("omp")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Not in the seconds that a forked process has."""
    kernels.ensure_compiled("float32", "predict")


def fork(when, **environment):
    """(exit code of the child, what it printed)."""
    command = [sys.executable, "-c", FORK, when]
    environment = tiny.environment(**environment)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
    return done.returncode, done.stdout


@pytest.mark.skipif(not ON_LINUX_OPENMP, reason="only GNU OpenMP does not survive a fork")
@pytest.mark.parametrize("when", ["after", "while threads compute"])
def test_with_openmp_a_child_of_a_process_that_has_computed_says_what_to_do(when):
    code, said = fork(when, NUMBA_THREADING_LAYER="omp", MINIBERT_KERNELS="numba")
    assert code == 7
    for advice in ("fork", "spawn", "NUMBA_THREADING_LAYER=workqueue"):
        assert advice in said


@pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threading layer")
@pytest.mark.parametrize("when", ["before", "after", "while threads compute"])
@pytest.mark.parametrize("layer", ["workqueue", "tbb"])
def test_with_other_layers_a_child_computes_the_same(layer, when):
    if not is_there(layer):
        pytest.skip(f"{layer} is not installed")
    assert fork(when, NUMBA_THREADING_LAYER=layer, MINIBERT_KERNELS="numba") == (0, "")


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_threads_of_kernels_a_child_computes(when):
    back_end = "numpy" if when == "after" else kernels.BACKEND
    assert fork(when, MINIBERT_KERNELS=back_end) == (0, "")
