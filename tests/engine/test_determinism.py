"""The same input gives the same bits on 1 thread and on 2, and both kernel sets give the same numbers.

Both are chosen when a process starts, so this file is also a script, which the tests run.
"""

import hashlib
import math
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import tiny

import kernels
from kernels.engine import amx
from kernels.runtime.examples import examples, examples_of_products
from kernels.runtime.warm_up import ensure_compiled
from minibert.config import AdapterConfig, BertConfig
from minibert.model import Model, random_backbone
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.text import pack

CONFIG = BertConfig(vocab_size=200, hidden_size=96, n_layers=2, n_heads=4, feed_forward_size=192, max_positions=64)
LENGTHS = (50, 3, 41, 17, 60, 1, 38, 29, 46, 33)  # 318 tokens: every loop of every kernel has several tasks
METHODS = ("adapter", "full")
TRAINING_STEPS = 20


def a_model(method):
    backbone = random_backbone(CONFIG, seed=1, std=0.05)
    return Model(backbone, n_out=3, method=method, adapter=AdapterConfig(16, init_std=0.1))


def a_batch(seed=0):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, CONFIG.vocab_size, n).tolist() for n in LENGTHS]
    return pack(ids, [[i % 2 for i in range(n)] for n in LENGTHS]), rng.integers(0, 3, len(LENGTHS))


def numbers(method, steps):
    """{name: array}: scores, gradients with dropout, and the parameters and losses of some training steps."""
    model, (batch, labels) = a_model(method), a_batch()
    found = {"scores": model.forward(batch)}
    found |= {f"grads/{name}": grad for name, grad in model.loss_and_grads(batch, labels, dropout_step=3)[1].items()}
    adam, losses = Adam(model.trained(), weight_decay=0.01), []
    for step in range(steps):
        loss, grads = model.loss_and_grads(*a_batch(step), dropout_step=step)
        clip_by_global_norm(grads, 1.0)
        adam.step(grads, learning_rate(step, steps, 1e-3))
        losses.append(loss)
    return found | {f"trained/{name}": a for name, a in model.trained().items()} | {"losses": np.array(losses)}


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


def print_digests():
    """One line for each thing computed, on 1 thread, on 2, and on 3, which share out less evenly."""
    from kernels.engine import amx, sums
    from kernels.engine import gemm_amx as matmul_amx
    from kernels.engine import gemm_fma as matmul_fma
    from kernels.engine import skinny as matmul_narrow
    from kernels.runtime.compiling import KERNELS
    from kernels.runtime.threads import use_threads

    for threads in (1, 2, 3):
        use_threads(threads)
        found = {f"{method}/{n}": [a] for method in METHODS for n, a in numbers(method, TRAINING_STEPS).items()}
        for name, arrays in {**found, **dict(results_of_kernels())}.items():
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
            print(f"{threads}\t{name}\t{digest}")
    plain = "kernels.matmul", "kernels.attention"  # the engine's are used instead
    parallel = [k for k in KERNELS if k.targetoptions.get("parallel") and k.py_func.__module__ not in plain]
    unit = matmul_amx._pack, matmul_amx._multiply
    fma = matmul_fma._fill_strips, matmul_fma._multiply, sums._add_all_transposed
    narrow = matmul_narrow._few_columns, matmul_narrow._few_steps, matmul_narrow._few_rows
    idle = (fma if amx.ALLOWED else unit) + (() if matmul_narrow.ROWS else narrow)
    not_run = [k.__name__ for k in parallel if not k.signatures and k not in idle]
    assert parallel and not not_run, f"not run: {not_run}"


def run_as_script(*arguments, **environment):
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, env=tiny.environment(**environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("products", ["numba", "fma"] if amx.ALLOWED else ["numba"])
def test_same_bits_on_any_number_of_threads(products):
    lines = run_as_script("digests", NUMBA_NUM_THREADS="3", MINIBERT_KERNELS=products).splitlines()
    one, two, three = ({name: d for n, name, d in (line.split("\t") for line in lines) if n == k} for k in "123")
    assert len(one) > 100 and one.keys() == two.keys() == three.keys()
    assert [name for name in one if not one[name] == two[name] == three[name]] == []


def test_a_second_run_gives_the_same_bits():
    first, second = (numbers("adapter", TRAINING_STEPS) for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_the_numpy_reference_runs_the_whole_program(method, tmp_path):
    run_as_script("save", method, tmp_path / "numpy.npz", MINIBERT_KERNELS="numpy")
    theirs, ours = np.load(tmp_path / "numpy.npz"), numbers(method, 3)
    assert set(theirs) == set(ours)
    np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-5)
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-5)
    largest = max(np.abs(theirs[name]).max() for name in ours if name.startswith("grads/"))
    for name in [name for name in ours if name.startswith("grads/")]:
        size = max(np.abs(theirs[name]).max(), 1e-3 * largest)  # the key bias has no gradient but rounding
        assert np.abs(ours[name] - theirs[name]).max() <= 1e-5 * size, name


SIZES = [
    {"lengths": (3, 8, 1), "size": 8, "n_out": 12},
    {"lengths": (5, 12, 7, 4), "size": 32, "n_out": 64},
    {"lengths": (13, 22, 9), "size": 60, "n_out": 101, "n_heads": 3},
    {"lengths": (70, 193), "size": 200, "n_out": 70},  # more rows and longer sums than a product takes at a time
]


@pytest.mark.skipif(kernels.BACKEND in ("numpy", "blas"), reason="NumPy and BLAS round as they like")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: str(sizes["size"]))
def test_bits_do_not_depend_on_where_arrays_lie(sizes, dtype, monkeypatch):
    """Arguments and results lie in one buffer, in any order, with gaps from nothing to far more than any vector."""
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
        result = getattr(kernels, name)(*arguments)
        found = [*(result if isinstance(result, (tuple, list)) else (result,)), *arguments]
        return [a for a in found if isinstance(a, (np.ndarray, float))]

    for name, arguments in examples(np.dtype(dtype), **sizes):
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
from minibert.model import Model, random_backbone
from tiny import CONFIG

Model(random_backbone(CONFIG, std=0.15)).predict(tiny_batch(CONFIG, "classify", n_classes=2)[0])
"""

TRAIN = """
import hashlib
from minibert.gradcheck import tiny_batch
from minibert.model import Model, random_backbone
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


def test_same_bits_in_the_run_that_compiles_and_in_later_ones(tmp_path):
    """A program only runs kernels from the cache. What it needs beyond the one before it is compiled, and only that."""
    runs, cached = [], []
    for program in (PREDICT, TRAIN, TRAIN):
        command, environment = [sys.executable, "-c", program], tiny.environment(NUMBA_CACHE_DIR=str(tmp_path))
        runs.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True))
        cached.append({file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.nbc")})
    assert "compiled" in runs[0].stderr and "compiled" in runs[1].stderr and runs[2].stderr == ""
    assert runs[1].stdout == runs[2].stdout
    assert len(cached[0]) < len(cached[1]) and cached[0].items() <= cached[1].items() and cached[1] == cached[2]


if __name__ == "__main__":
    if sys.argv[1] == "digests":
        print_digests()
    else:
        np.savez(sys.argv[3], **numbers(sys.argv[2], 3))
