"""The same input gives the same bits: on 1 thread and on 2, today and tomorrow, wherever arrays lie.

Kernels and threads are chosen when a process starts, so this file is also a script, which the tests run.
"""

import hashlib
import math
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import tiny
from back_ends import each_back_end, examples_of, skip_on
from whole_program import METHODS, numbers, run_as_script

import kernels
from kernels.engine import amx
from kernels.runtime import threads
from kernels.runtime.examples import examples, examples_of_products
from kernels.runtime.warm_up import ensure_compiled

TRAINING_STEPS = 20


def results_of_kernels():
    """{name and number of the call: everything that it returned or changed}"""
    shapes = {"lengths": (40, 17, 70, 150), "size": 96, "n_out": 200, "n_heads": 4}
    large = {"lengths": (400, 500), "size": 420, "n_out": 410}  # on one or two threads more than is cut at a time
    wide = {"lengths": (20, 30), "size": 96, "n_out": 450}  # columns are shared out, and not rows
    products = chain(*(examples_of_products(np.float32, **shape) for shape in (large, wide)))
    products = ((name, a) for name, a in products if name.startswith("matmul"))
    for i, (name, arguments) in enumerate(chain(examples(np.float32, **shapes), products)):
        result = getattr(kernels, name)(*arguments)
        result = result if isinstance(result, (tuple, list)) else (result,)
        yield f"{name}, call {i}", [a for a in (*result, *arguments) if isinstance(a, (np.ndarray, float))]


def idle_files():
    """Files of kernels that this process has no use for: of the other back end, or of a processor that it has not."""
    from kernels.engine import skinny

    if kernels.BACKEND == "plain":
        return ("kernels.engine.",)
    idle = ["kernels.matmul", "kernels.attention", "kernels.engine.gemm_" + ("fma" if amx.ALLOWED else "amx")]
    return tuple(idle if skinny.MR else [*idle, "kernels.engine.skinny"])


def print_digests():
    """One line for each thing computed, on 1 thread, on 2, and on 3, which share out less evenly."""
    from kernels.engine import sums
    from kernels.runtime.compiling import KERNELS

    threads.SMALL, threads.WAITED = 0, 1e9  # else small work, and all on busy cores, runs on one thread
    for n in (1, 2, 3):
        threads.use_threads(n)
        found = {f"{method}/{n}": [a] for method in METHODS for n, a in numbers(method, TRAINING_STEPS).items()}
        for name, arrays in {**found, **dict(results_of_kernels())}.items():
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
            print(f"{n}\t{name}\t{digest}")
    parallel = [k for k in KERNELS if k.targetoptions.get("parallel") and not k.__module__.startswith(idle_files())]
    idle = (sums._add_all_transposed,) if amx.ALLOWED else ()
    not_run = [k.__name__ for k in parallel if not k.signatures and k not in idle]
    assert parallel and not not_run, f"not run: {not_run}"


PLAIN = pytest.param("plain", marks=pytest.mark.slow)


@pytest.mark.parametrize("back_end", [PLAIN, "numba", *["fma"] * amx.ALLOWED])
def test_same_bits_on_any_number_of_threads(back_end):
    lines = run_as_script(__file__, NUMBA_NUM_THREADS="3", MINIBERT_KERNELS=back_end).splitlines()
    one, two, three = ({name: d for n, name, d in (line.split("\t") for line in lines) if n == k} for k in "123")
    assert len(one) > 100 and one.keys() == two.keys() == three.keys()
    assert [name for name in one if not one[name] == two[name] == three[name]] == []


def test_a_second_run_gives_the_same_bits():
    first, second = (numbers("adapter", TRAINING_STEPS) for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


SIZES = [
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12},
    {"lengths": (5, 12, 7, 4), "size": 32, "n_out": 64},
    {"lengths": (13, 22, 9), "size": 60, "n_out": 101, "n_heads": 3},
    {"lengths": (70, 193), "size": 200, "n_out": 70},  # more rows and longer sums than a product takes at a time
]


@each_back_end
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: str(sizes["size"]))
def test_bits_do_not_depend_on_where_arrays_lie(back_end, sizes, dtype, monkeypatch):
    """Arguments and results lie in one buffer, in any order, with gaps from nothing to far more than any vector."""
    skip_on(("numpy", "blas"), back_end, "NumPy and BLAS round as they like")
    ensure_compiled(dtype)
    rng, buffer, place = np.random.default_rng(0), np.empty(1 << 23, np.uint8), 0

    def close_to_the_last(shape, dtype):
        nonlocal place
        dtype = np.dtype(dtype)
        start = place + int(rng.choice([0, 8, 16, 32, 64, 128, 256, 4096]))
        place = start + math.ceil(math.prod(np.atleast_1d(shape)) * dtype.itemsize / 8) * 8
        assert place <= buffer.size
        return buffer[start:place].view(dtype)[: math.prod(np.atleast_1d(shape))].reshape(shape)

    def outcome(name, arguments):
        result = getattr(back_end, name)(*arguments)
        found = [*(result if isinstance(result, (tuple, list)) else (result,)), *arguments]
        return [a for a in found if isinstance(a, (np.ndarray, float))]

    for name, arguments in examples_of(back_end, np.dtype(dtype), **sizes):
        usual = outcome(name, [a.copy() if isinstance(a, np.ndarray) else a for a in arguments])
        for _ in range(15):
            place, moved = 0, list(arguments)
            for i in rng.permutation(len(arguments)):
                if isinstance(arguments[i], np.ndarray):
                    moved[i] = close_to_the_last(arguments[i].shape, arguments[i].dtype)
                    moved[i][...] = arguments[i]
            with monkeypatch.context() as patch:
                for module in [
                    m for key, m in sys.modules.items() if key.startswith("kernels.") and hasattr(m, "empty")
                ]:
                    patch.setattr(module, "empty", close_to_the_last)
                for a, b in zip(usual, outcome(name, moved), strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=name)


PREDICT = """
from minibert.gradcheck import tiny_batch
from minibert.backbone import random_backbone
from minibert.model import Model
from tiny import CONFIG

Model(random_backbone(CONFIG, std=0.15)).predict(tiny_batch(CONFIG, "classify", n_classes=2)[0])
"""

TRAIN = """
import hashlib
from minibert.gradcheck import tiny_batch
from minibert.backbone import random_backbone
from minibert.model import Model
from minibert.optim import Adam
from tiny import CONFIG

model = Model(random_backbone(CONFIG, std=0.15))
optimizer = Adam(model.trained(), weight_decay=0.01)
batch, labels = tiny_batch(CONFIG, "classify", n_classes=2)
for step in range(10):
    _, grads = model.loss_and_grads(batch, labels, dropout_step=step)
    optimizer.step(grads, 1e-3)
print(hashlib.sha256(b"".join(a.tobytes() for a in model.trained().values())).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("back_end", ["numba", "plain"])
def test_same_bits_in_the_run_that_compiles_and_in_later_ones(back_end, tmp_path):
    """A program only runs kernels from the cache. What it needs beyond the one before it is compiled, and only that."""
    runs, cached = [], []
    environment = tiny.environment(NUMBA_CACHE_DIR=str(tmp_path), MINIBERT_KERNELS=back_end)
    for program in (PREDICT, TRAIN, TRAIN):
        command = [sys.executable, "-c", program]
        runs.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True))
        cached.append({file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")})
    assert "compiled" in runs[0].stderr and "compiled" in runs[1].stderr and runs[2].stderr == ""
    assert runs[1].stdout == runs[2].stdout
    assert len(cached[0]) < len(cached[1]) and cached[0].items() <= cached[1].items() and cached[1] == cached[2]


if __name__ == "__main__":
    print_digests()
