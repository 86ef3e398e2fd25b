"""The products on AMX tiles, on a processor without them: amx_emulation.py does what the instructions do.

Emulated kernels must stay out of this process and of its kernel cache. So amx_checks.py computes in two processes of
its own, which compile the kernels: as they are, and with two planted mistakes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from amx_checks import SHAPES_OF_MISTAKES, THREADS

from kernels.runtime.compiling import vector_bits

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
TOLERANCE = 1.5e-6  # of the largest element of a result, or of 1; the reference computes in float64


def start(check, folder):
    environment = {"MINIBERT_KERNELS": "numba", "NUMBA_NUM_THREADS": str(THREADS), "NUMBA_CACHE_DIR": str(folder)}
    environment["OMP_WAIT_POLICY"] = "passive"  # the two processes share the cores
    environment["NUMBA_OPT"] = "1" if check == "check_mistakes" else "3"  # less time to compile
    path = os.pathsep.join([str(HERE), tiny.environment()["PYTHONPATH"]])
    return subprocess.Popen(
        [sys.executable, str(HERE / "amx_checks.py"), check],
        env=tiny.environment(**environment, PYTHONPATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{"check" or "check_mistakes": what it returned}"""
    if vector_bits() != 512:
        pytest.skip("the AMX kernels use vectors of AVX-512")
    processes = {name: start(name, tmp_path_factory.mktemp(name)) for name in ("check", "check_mistakes")}
    results = {}
    try:
        for name, process in processes.items():
            out, errors = process.communicate()
            assert process.returncode == 0, errors
            results[name] = json.loads(out)
    finally:
        for process in processes.values():
            process.kill()
    return results


@pytest.mark.parametrize("name", ["matmul", "matmul_gelu", "matmul_dx", "matmul_dw", "matmul_backward", "matmul_each"])
def test_products_agree_with_the_reference(found, name):
    distances = found["check"]["distances"].items()
    of_name = {k: d for k, d in distances if k.split()[0].replace("_dx_each", "_each") == name}
    assert len(of_name) > 10
    assert {k: d for k, d in of_name.items() if not d <= TOLERANCE} == {}


def test_single_summands_are_exact(found):
    assert found["check"]["not exact"] == []


def test_same_bits_on_any_number_of_threads(found):
    assert found["check"]["unlike"] == []


def test_tiles_are_used_and_released_as_a_processor_demands(found):
    assert found["check"]["faults"] == 0


def test_as_many_tile_products_as_predicted(found):
    assert found["check"]["wrong counts"] == []


def test_nan_infinity_and_denormal_numbers(found):
    assert set(found["check"]["not finite"].values()) == {True}, found["check"]["not finite"]


def test_planted_mistakes_are_seen(found):
    """A term of the size of 2**-16 is left out, and threads do not configure their tiles."""
    wrong = found["check_mistakes"]
    assert {k: d for k, d in wrong["distances"].items() if d <= TOLERANCE} == {}
    assert len(wrong["not exact"]) > 5 and len(wrong["wrong counts"]) == len(SHAPES_OF_MISTAKES)
    assert wrong["faults"] > 0
