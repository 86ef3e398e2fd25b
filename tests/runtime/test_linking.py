"""Linking before optimizing: that it is on, and that kernels compute the same where Numba does not offer it."""

import subprocess
import sys

import numba
import numpy as np
import pytest
import tiny

import kernels
from kernels.runtime import linking

pytestmark = pytest.mark.skipif(not kernels.COMPILED, reason="the reference is not compiled")

RESULTS = """
import sys
import numpy as np
from kernels.runtime import linking
if sys.argv[1] == "without":
    linking.INTERNAL_NAMES += ("a name that Numba has given up",)
linked, make_machine_code = [], linking.LateLibrary._make_machine_code
linking.LateLibrary._make_machine_code = lambda library: (linked.append(library), make_machine_code(library))
from kernels import adam, dropout, layernorm, squared_norm

rng = np.random.default_rng(0)
x, row = rng.standard_normal((50, 64)).astype(np.float32), np.ones(64, np.float32)
y, normalized, inverse_std = layernorm(x, x, row, row, 1e-12)
p, m, v = (np.zeros((50, 64), np.float32) for _ in range(3))
adam(p, x, m, v, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1)
dropped = dropout(x, (0.25, (np.uint32(1), np.uint32(2))))
np.savez(sys.argv[2], y, normalized, inverse_std, p, m, v, dropped, squared_norm(x))
print(bool(linked))
"""


def results(tmp_path, how):
    """What some kernels give in a process of their own, with a cache of its own; and whether linking came first."""
    file = tmp_path / f"{how}.npz"
    command = [sys.executable, "-c", RESULTS, how, str(file)]
    environment = tiny.environment(NUMBA_CACHE_DIR=str(tmp_path / how))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    with np.load(file) as arrays:
        return done.stdout.strip(), list(arrays.values())


@pytest.mark.slow
def test_kernels_are_linked_before_they_are_optimized_and_compute_the_same_if_they_cannot_be(tmp_path):
    """If the first assertion fails with a new Numba, all works, but compiling takes three times as long: linking.py."""
    (late, ours), (usual, theirs) = results(tmp_path, "with"), results(tmp_path, "without")
    assert late == str(numba.version_info.short >= linking.FIRST_NUMBA) and usual == "False"
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
