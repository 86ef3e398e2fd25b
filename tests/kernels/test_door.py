"""What every operation behind the door promises, whichever back end computes it; each beside the NumPy reference."""

import copy
import inspect
import subprocess
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from back_ends import (
    BACK_ENDS,
    HELPERS,
    ON_AMX,
    OPERATIONS,
    TOLERANCE,
    assert_agrees,
    each_back_end,
    each_dtype,
    examples_of,
)
from tiny import environment
from whole_program import METHODS, numbers, numbers_of

import kernels
from kernels import reference
from kernels.engine import blas
from kernels.runtime import threads
from minibert.bench.check import results

# What the door offers beside operations.
SERVICES = {"lay_out", "use_threads", "threads", "one_at_a_time", "ensure_compiled", "compile_for", "environment"}
SERVICES |= {"check_numba", "clean_cache", "arithmetic", "computing"}
SHAPES = [
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12, "n_heads": 2},
    {"lengths": (1,), "size": 4, "n_out": 5, "n_heads": 1},
    {"lengths": (40, 17, 70), "size": 60, "n_out": 101, "n_heads": 3},
]


@each_back_end
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s["lengths"])))
@each_dtype
def test_kernels_agree_with_the_reference(back_end, dtype, shape):
    seen = set()
    for name, arguments in examples_of(back_end, dtype, **shape):
        seen.add(name)
        assert_agrees(back_end, name, arguments, TOLERANCE[dtype])
    theirs = {name for name in OPERATIONS if back_end is kernels or getattr(back_end, name) is not vars(kernels)[name]}
    assert seen == theirs - {"freeze", "freeze_each"}, "every operation must be compared"


def test_names_and_signatures_are_those_of_the_reference():
    door = {name for name, _ in inspect.getmembers(kernels, inspect.isfunction)}
    assert door - SERVICES - HELPERS == OPERATIONS
    for name in sorted(OPERATIONS):
        theirs = inspect.signature(getattr(reference, name)).parameters
        for back_end in BACK_ENDS.values():
            ours = inspect.signature(getattr(back_end, name)).parameters
            assert list(ours.values()) == list(theirs.values()), name


# ------------------------------------------------------------------------------------------- arguments stay as they are

ADDED_TO = {"dW", "db", "dgamma", "dbeta"}
MOVED = {"adam": {"p", "m", "v"}, "squared_norm": {"x"}}  # what the optimizer moves, and gradients that it clips


def arrays_in(value):
    """The arrays of an argument or a result: itself, those of a list, that of a frozen weight."""
    if isinstance(value, (list, tuple)):
        return [array for each in value for array in arrays_in(each)]
    return [np.asarray(value)] if hasattr(value, "__array__") and np.ndim(value) else []


def changed_by(function, arguments):
    """The names of the parameters whose arrays a call changes; what it returns must be memory of its own."""
    before, returned = copy.deepcopy(arguments), function(*arguments)
    changed = set()
    for name, now, then in zip(inspect.signature(function).parameters, arguments, before, strict=False):
        for array, old in zip(arrays_in(now), arrays_in(then), strict=True):
            assert not any(np.shares_memory(array, new) for new in arrays_in(returned)), f"{name} is returned"
            changed |= set() if np.array_equal(array, old) else {name}
    return changed


@each_back_end
@each_dtype
def test_functions_leave_their_arguments_as_they_are(back_end, dtype):
    """But those that are added to or moved."""
    found = set()
    for name, arguments in examples_of(back_end, dtype):
        changed = changed_by(getattr(back_end, name), arguments)
        assert changed <= ADDED_TO | MOVED.get(name, set()), name
        found |= changed
    everything = ADDED_TO | set().union(*MOVED.values())
    assert found == (everything if back_end is kernels else {"dW", "db"}), "what is added to must change"


def test_a_function_that_changes_or_returns_its_argument_is_found():
    def in_place(x, W):
        x *= 2
        return x @ W

    x, W = np.ones((3, 4)), np.ones((4, 2))
    assert changed_by(in_place, (x, W)) == {"x"} and changed_by(reference.matmul, (x, W)) == set()
    with pytest.raises(AssertionError, match="W is returned"):
        changed_by(lambda x, W: W[1:], (x, W))


def test_a_kernel_that_is_a_little_wrong_does_not_agree():
    x, W, dW = np.ones((3, 4)), np.ones((4, 2)), np.zeros((4, 2))
    wrong = SimpleNamespace(
        matmul=lambda x, W: 1.000001 * (x @ W), matmul_dx=lambda dy, W: 0 * (dy @ W.T), matmul_dw=lambda x, dy, dW: None
    )
    for name, arguments in (("matmul", (x, W)), ("matmul_dx", (x[:, :2], W)), ("matmul_dw", (x, x[:, :2], dW))):
        assert_agrees(reference, name, arguments, 1e-9)
        with pytest.raises(AssertionError, match=name):
            assert_agrees(wrong, name, arguments, 1e-9)


# ----------------------------------------------------------------------------------------------------- NaN and infinity


@each_back_end
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@each_dtype
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_and_infinity_pass_through_as_in_the_reference(back_end, dtype, value):
    """One bad number in the middle of each array in turn: the same places of every result must be NaN or infinite.

    AMX makes NaN of what has met an infinity.
    """
    for name, arguments in examples_of(back_end, dtype):
        on_amx = back_end is kernels and name in ON_AMX and dtype == np.float32
        for i in [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray) and a.dtype == dtype]:
            if name.endswith("_each") and i in (1, 2):  # what computes was packed from these before
                continue
            spoilt = copy.deepcopy(arguments)
            spoilt[i].reshape(-1)[spoilt[i].size // 2] = value
            all_ours = results(back_end, name, spoilt)
            if name == "matmul_gelu" and i < 2 and on_amx:
                spoilt[i].reshape(-1)[spoilt[i].size // 2] = np.nan  # this is what GELU has met, then
                all_ours[2 + i].reshape(-1)[spoilt[i].size // 2] = np.nan
            for ours, theirs in zip(all_ours, results(reference, name, spoilt), strict=True):
                ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
                bad = ~np.isfinite(ours) | ~np.isfinite(theirs)
                if on_amx:
                    ours[np.isinf(ours)] = theirs[np.isinf(theirs)] = np.nan
                np.testing.assert_array_equal(ours[bad], theirs[bad], err_msg=f"{name}, argument {i}")


# ------------------------------------------------------------------------------------------- threads, the whole program


@pytest.mark.skipif(not kernels.COMPILED or numba.config.NUMBA_NUM_THREADS < 2, reason="there is one thread")
@each_back_end
@each_dtype
def test_same_bits_on_one_thread_and_on_two(back_end, dtype, monkeypatch):
    """tests/engine/test_determinism.py has the whole program, and where arrays lie."""
    monkeypatch.setattr(threads, "SMALL", 0)  # else small work runs on one thread, whatever is chosen
    monkeypatch.setattr(threads, "WAITED", 1e9)  # and all work where cores are taken
    for name, arguments in examples_of(back_end, dtype, lengths=(40, 17, 70, 150), size=96, n_out=200, n_heads=4):
        found = []
        for n in (1, 2):
            threads.use_threads(n)
            found.append(results(back_end, name, arguments))
        threads.use_threads(numba.config.NUMBA_NUM_THREADS)
        for one, two in zip(*found, strict=True):
            np.testing.assert_array_equal(one, two, err_msg=name)


@pytest.mark.parametrize("other", ["numpy", "plain", "numba"])
def test_another_back_end_runs_the_whole_program(other, tmp_path):
    """Scores, every gradient with dropout and the losses of some steps are those of this process."""
    if other == kernels.BACKEND:
        pytest.skip(f"this process runs on {other} itself")
    theirs_of = numbers_of(other, tmp_path / "numbers.npz", steps=3)
    for method in METHODS:
        theirs, ours = theirs_of[method], numbers(method, 3)
        assert set(theirs) == set(ours)
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-5)
        np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-5)
        largest = max(np.abs(theirs[name]).max() for name in ours if name.startswith("grads/"))
        for name in [name for name in ours if name.startswith("grads/")]:
            size = max(np.abs(theirs[name]).max(), 1e-3 * largest)  # the key bias has no gradient but rounding
            assert np.abs(ours[name] - theirs[name]).max() <= 1e-5 * size, name


@pytest.mark.parametrize("name", ["numpy", "plain", "numba", "fma", "blas"])
def test_arithmetic_names_what_the_bits_depend_on(name):
    script = "import kernels; print(kernels.arithmetic(), end='|'); "
    script += "from kernels.runtime import compiling; print(compiling.vector_bits())"
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, env=environment(MINIBERT_KERNELS=name), check=True, capture_output=True, text=True)
    told, vector_bits = out.stdout.strip().split("|")
    assert told.split(", ")[0] == name
    assert (f"{vector_bits} bits" in told) == (name != "numpy")
    assert (blas.library() in told) == (name in ("numpy", "blas"))


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("name", ["numba", "fma", "plain", "blas"])
def test_only_numba_computes_on_amx_tiles(name, allowed, monkeypatch):
    monkeypatch.setattr("kernels.engine.amx.ALLOWED", allowed)
    monkeypatch.setattr(kernels, "BACKEND", name)
    monkeypatch.setattr(kernels, "COMPILED", True)
    assert kernels.arithmetic().endswith(", AMX") == (allowed and name == "numba")


@pytest.mark.parametrize("fma", [True, False])
def test_fma_is_named(fma, monkeypatch):
    monkeypatch.setattr(kernels, "COMPILED", True)
    monkeypatch.setattr("kernels.runtime.compiling.has_fma", lambda: fma)
    assert ("FMA" in kernels.arithmetic().split(", ")) == fma
