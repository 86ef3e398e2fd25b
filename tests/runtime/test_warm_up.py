"""Compilation: what is compiled for which purpose, once, and what makes it out of date."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

import kernels
from kernels.runtime import cache, warm_up
from kernels.runtime.warm_up import SHARES

pytestmark = pytest.mark.skipif(not kernels.COMPILED, reason="the reference is not compiled")


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=tiny.environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


KERNELS_OF_A_SHARE = """
import sys
import numpy as np
from kernels.runtime.compiling import KERNELS
from kernels.runtime.warm_up import SHARES, ensure_compiled, run_examples
ensure_compiled()
list(run_examples(SHARES[{share!r}](np.dtype("float32")), {purpose!r}))
print(*(kernel.__name__ for kernel in KERNELS if kernel.signatures))
"""


def test_no_kernel_is_compiled_by_both_processes():
    """They would write the same index."""
    first, second = (set(run(KERNELS_OF_A_SHARE.format(share=share, purpose="train"))) for share in SHARES)
    assert len(first) >= 3 and len(second) >= 3 and not first & second


def test_to_predict_no_backward_is_compiled():
    names = {name for share in SHARES for name in run(KERNELS_OF_A_SHARE.format(share=share, purpose="predict"))}
    assert "_attention" in names and not [name for name in names if "backward" in name or name in ("_adam", "_dw")]


A_HELPER_TWICE = """
import numba, numpy as np
import kernels
from kernels.runtime.compiling import KERNELS, kernel
x = np.ones((4, 32), np.float32)
kernels.layernorm_backward(x, x, x[:, 0].copy(), x[0].copy(), x[0].copy(), x[0].copy())
assert any(k.signatures for k in KERNELS)

@numba.njit
def elsewhere(n):
    return np.zeros(n, np.float32).sum() + np.zeros((n, 2)).sum()

@kernel
def part(x):
    return x + 1.0

print(elsewhere(3), part(1.0))
"""


def test_other_functions_can_be_compiled_after_a_kernel(tmp_path):
    """They share Numba's helpers with it; and a part of kernels can be called from Python, too."""
    assert run(A_HELPER_TWICE, NUMBA_CACHE_DIR=str(tmp_path)) == ["0.0", "2.0"]


def test_an_edit_makes_only_those_kernels_old_that_import_the_file():
    def names(file):
        return {path.stem for path in cache.with_imports(Path(kernels.__file__).resolve().parent / file)}

    assert {"adam", "compiling"} <= names("adam.py") and "vectors" not in names("adam.py")
    assert {"micro_kernel", "vectors", "sums", "pool"} <= names("engine/gemm_fma.py")
    assert not {"adam", "reference", "gemm"} & names("engine/gemm_fma.py")


def test_the_version_changes_with_every_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("from .b import x\n")
    (tmp_path / "b.py").write_text("from . import c\n")
    versions = set()
    for text in ("", "x = 1\n", "x = 2\n"):
        (tmp_path / "c.py").write_text(text)
        cache.version_of.cache_clear()
        versions.add(cache.version_of(tmp_path / "a.py"))
    assert len(versions) == 3


@pytest.mark.parametrize("code", [-2, 0xC000013A], ids=["POSIX", "Windows"])
def test_ctrl_c_that_reaches_the_compilers_alone_ends_the_program(code, monkeypatch):
    """Whoever compiles in a thread that gets no signal must not go on as if all were compiled."""
    compiler = SimpleNamespace(poll=lambda: code, wait=lambda: code, kill=lambda: None)
    monkeypatch.setattr(warm_up, "_start_compiler", lambda *_: compiler)
    monkeypatch.setattr(warm_up, "_is_complete", lambda *_: False)
    monkeypatch.setattr(warm_up, "_DONE", set())
    with pytest.raises(KeyboardInterrupt):
        warm_up.ensure_compiled()
