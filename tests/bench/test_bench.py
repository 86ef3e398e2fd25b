"""`minibert bench`: it finds wrong kernels, counts right and prints what it should. Nothing here asserts a time."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny import CONFIG, VOCAB, environment, random_texts, write_tiny_backbone

import kernels
from kernels import reference
from kernels.engine import blas
from kernels.runtime.examples import examples
from minibert.backbone import random_backbone
from minibert.bench import busy, check, counts, products, timing, workloads
from minibert.bench import command as bench
from minibert.cli import main
from minibert.config import METHODS, BertConfig
from minibert.errors import InputError
from minibert.gradcheck import tiny_batch
from minibert.model import Model
from minibert.storage import bert_tokenizer
from minibert.text import Tokenizer, pack

PEER_KEYS = ["program", "workload", "tokens", "padded_tokens", "batches", "sorted", "trained_params", "threads"]
PEER_KEYS += ["step_tokens_per_second", "forward_tokens_per_second", "peak_mb"]
TINY = {"lengths": (3, 8, 1), "size": 8, "n_out": 12, "n_heads": 2}


@pytest.fixture(autouse=True)
def tiny_shapes(monkeypatch):
    monkeypatch.setattr(check, "SHAPES", (TINY,))
    monkeypatch.setattr(bench, "KERNEL_SHAPE", TINY)
    monkeypatch.setattr(products, "product_shapes", lambda: [("tiny", 13, 24, 31), ("tiny", 5, 300, 200)])
    monkeypatch.setattr(products, "LADDER_SHAPE", (13, 24, 31))
    monkeypatch.setattr(timing, "REST", 0.0)
    monkeypatch.setattr(timing, "TRIAD_MEGABYTES", 0.1)
    threads = kernels.threads()
    yield
    kernels.use_threads(threads)  # --threads changes them for the process


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A backbone, and data in the layout of GLUE: 40 sentences, 20 pairs."""
    place = tmp_path_factory.mktemp("bench")
    write_tiny_backbone(place / "tiny.h5")
    texts, _ = random_texts(40)
    rows = "".join(f"{text}\t{i % 2}\n" for i, text in enumerate(texts))
    pairs = "".join(f"{i % 2}\t1\t2\t{a}\t{b}\n" for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True)))
    for folder, header, lines in (
        ("SST-2", "sentence\tlabel\n", rows),
        ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n", pairs),
    ):
        (place / folder).mkdir()
        for split in ("train", "dev"):
            (place / folder / f"{split}.tsv").write_text(header + lines)
    return place


def run(capsys, *arguments):
    """(exit code, standard output, standard error) of minibert bench."""
    code = main(["bench", *map(str, arguments), "--seconds", "0.001"])
    return code, *capsys.readouterr()


def rows_of(out):
    return [json.loads(line) for line in out.splitlines()]


# ----------------------------------------------------------------------------------------------------- wrong kernels


def doubled(function):
    return lambda *arguments: 2 * function(*arguments)


def forgetful(function):
    return lambda *arguments: None


@pytest.mark.parametrize(
    "name, spoil",
    [pytest.param("matmul", doubled, marks=pytest.mark.slow), ("matmul_dw", forgetful), ("squared_norm", doubled)],
)
def test_a_wrong_kernel_is_told_and_nothing_is_timed(capsys, monkeypatch, name, spoil):
    monkeypatch.setattr(kernels, name, spoil(getattr(kernels, name)))
    monkeypatch.setattr(bench, "in_turns", lambda *_: pytest.fail("it was timed"))
    code, out, err = run(capsys, "kernels")
    assert (code, out) == (1, "")
    assert f"WRONG: {name} (" in err and "nothing is timed" in err


def test_a_kernel_that_gives_nan_is_wrong(monkeypatch):
    monkeypatch.setattr(kernels, "gelu", lambda x: (np.full_like(x, np.nan), x))
    assert [wrong.name for wrong in check.check_kernels()[1]] == ["gelu"]


def test_a_product_that_is_wrong_at_one_shape_only_is_not_timed_there(capsys, monkeypatch):
    right = kernels.matmul

    def wrong_for_many_columns(x, W, *rest):
        return right(x, W, *rest) + (W.shape[1] == 200)

    monkeypatch.setattr(kernels, "matmul", wrong_for_many_columns)
    code, out, _ = run(capsys, "matmul", "--json")
    rows = [row for row in rows_of(out) if "product" in row]
    assert code == 1 and len(rows) == 6
    for row in rows:
        assert row["wrong"] == (row["product"] == "forward" and row["out"] == 200)
        assert ("gflops" in row) == (not row["wrong"])


# ------------------------------------------------------------------------------------------------------------ ladder


@pytest.mark.parametrize("rung", products.rungs(), ids=lambda rung: rung.__name__)
def test_every_rung_computes_the_product(rung):
    rng = np.random.default_rng(0)
    for T, n_in, n_out in ((1, 1, 1), (2, 7, 3), (8, 4, 16), (9, 5, 17), (37, 67, 259), (65, 130, 33)):
        x, W = (rng.standard_normal(shape).astype(np.float32) for shape in ((T, n_in), (n_in, n_out)))
        np.testing.assert_allclose(rung(x, W), x @ W, atol=2e-6 * n_in, err_msg=f"{T}, {n_in}, {n_out}")


def test_the_program_starts_without_the_ladder():
    lab = "{'kernels.ladder', 'kernels.engine.peak', 'minibert.lab'}"
    code = f"import sys, minibert.train; assert not {lab} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


# -------------------------------------------------------------------------------------------------- predict, measure


def test_every_kernel_has_a_count_of_operations():
    for name, arguments in examples(np.float32):
        assert counts.operations(name, arguments) > 0, name


@pytest.mark.parametrize("method", METHODS)
def test_predicted_operations_and_cache_are_what_happens(method):
    model = Model(random_backbone(CONFIG), method=method, top_k=1 if method == "top_k" else 0)
    batch, labels = tiny_batch(CONFIG, "classify", n_classes=2)
    predicted = counts.predicted_operations(model, batch)
    with counts.counting() as counted:
        model.forward(batch)
    assert sum(counted.values()) == predicted["forward"] > 0
    with counts.counting() as counted:
        model.loss_and_grads(batch, labels, dropout_step=0)
    assert sum(counted.values()) == predicted["step"] > predicted["forward"]
    assert counts.measured_cache(model, batch) == counts.predicted_cache(model, batch)


def test_training_everything_costs_more_than_adapters():
    batch = tiny_batch(CONFIG, "classify", n_classes=2)[0]
    backbone = random_backbone(CONFIG)
    full, adapter = (Model(backbone, method=method) for method in ("full", "adapter"))
    assert counts.predicted_cache(full, batch) != counts.predicted_cache(adapter, batch)
    forward, step = counts.predicted_operations(full, batch).values()
    assert 2.9 < step / forward < 3.2  # the classical rule: backward costs twice the forward pass


# --------------------------------------------------------------------------------------------------------- workloads


def test_batches_are_those_of_the_peer(place):
    """In file order, 32 at a time; sorted by the characters of both texts, stably."""
    tokenizer = Tokenizer(bert_tokenizer(VOCAB))
    backbone = random_backbone(CONFIG)
    texts = [line.split("\t")[0] for line in (place / "SST-2" / "train.tsv").read_text().splitlines()[1:]]
    natural = workloads.make_workload("natural", backbone, tokenizer, place)
    assert [len(batch) for batch, _ in natural.batches] == [32, 8]
    expected = tokenizer.encode(texts, max_length=24)
    np.testing.assert_array_equal(np.concatenate([b.ids for b, _ in natural.batches]), expected.ids)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in natural.batches]), np.arange(40) % 2)
    lengths = [np.diff(batch.offsets) for batch, _ in natural.batches]
    assert natural.tokens == expected.n_tokens
    assert natural.padded_tokens == sum(len(part) * part.max() for part in lengths)
    by_length = workloads.make_workload("natural", backbone, tokenizer, place, sort=True)
    expected = tokenizer.encode(sorted(texts, key=len), max_length=24)
    np.testing.assert_array_equal(np.concatenate([b.ids for b, _ in by_length.batches]), expected.ids)
    pairs = workloads.make_workload("pairs", backbone, tokenizer, place)
    expected = tokenizer.encode(texts[::2], texts[1::2], max_length=24)
    np.testing.assert_array_equal(np.concatenate([b.ids for b, _ in pairs.batches]), expected.ids)


@pytest.mark.parametrize(
    "name, n, size, mean", [("natural", 1024, 32, 13), ("pairs", 256, 32, 53), ("base", 128, 16, 53)]
)
def test_random_batches_resemble_the_real_ones(name, n, size, mean):
    backbone = random_backbone(BertConfig(30522, hidden_size=8, n_layers=1, n_heads=1, feed_forward_size=8))
    workload = workloads.make_workload(name, backbone, None)
    assert not workload.real
    assert [len(batch) for batch, _ in workload.batches] == [size] * (n // size)
    assert mean - 1.5 < workload.tokens / n < mean + 1.5
    few = workloads.make_workload(name, backbone, None, size=48)
    assert [len(batch) for batch, _ in few.batches] == [48] * (n // 48) + [n % 48] * (n % 48 > 0)
    assert few.tokens == workload.tokens
    full = workloads.make_workload("full", backbone, None)
    assert full.real and full.tokens == full.padded_tokens == 8 * 32 * 128
    assert full.batches[0][0].ids.min() >= 1000


def test_one_json_line_with_the_keys_of_the_peer(capsys, place):
    options = [
        "--workload",
        "natural",
        "--backbone",
        place / "tiny.h5",
        "--data",
        place,
        "--repeats",
        1,
        "--threads",
        1,
    ]
    code, out, _ = run(capsys, *options, "--json")
    (row,) = rows_of(out)
    assert code == 0
    assert list(row)[: len(PEER_KEYS)] == PEER_KEYS
    assert (row["workload"], row["threads"], row["sorted"], row["batches"]) == ("natural", 1, False, 2)
    assert row["step_tokens_per_second"] > 0 and row["peak_mb"] > 10
    assert row["step_gflop_predicted"] == row["step_gflop_counted"] > 0
    assert row["cache_mb_predicted"] == row["cache_mb_measured"] > 0
    code, out, _ = run(capsys, "step", *options, "--sort-by-length")
    assert code == 0 and "natural" in out and "of peak" in out
    _, out, _ = run(capsys, *options, "--json", "--batch-size", row["tokens"])
    assert rows_of(out)[0]["batches"] == 1 and rows_of(out)[0]["tokens"] == row["tokens"]


FAKE_PEER = """
import json, sys
a = sys.argv[1:]
assert a[:2] == ["--backbone", "somewhere else"] and "--data" in a, a
row = {"tokens": int(open(__file__ + ".tokens").read()), "workload": a[a.index("--only") + 1]}
print("a line of chatter")
print(json.dumps(row | {"step_tokens_per_second": 2.0, "forward_tokens_per_second": 4.0, "peak_mb": 1}))
"""


@pytest.mark.slow
def test_the_peer_takes_turns(capsys, place, tmp_path):
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE_PEER)
    tokens = workloads.open_workload("natural", place / "tiny.h5", str(place))[0].tokens
    (tmp_path / "fake.py.tokens").write_text(str(tokens))
    options = ["--workload", "natural", "--backbone", place / "tiny.h5", "--data", place, "--repeats", 1, "--turns", 1]
    peer = ["--peer", sys.executable, "--peer-script", f"{fake} --backbone 'somewhere else'"]
    code, out, err = run(capsys, *options, *peer, "--json")
    assert out, err
    (row,) = rows_of(out)
    assert code == 0 and "not the same work" not in err
    assert row["peer"]["forward_tokens_per_second"] == 4.0 and row["turns"] == 1
    assert row["step_ratio"] == pytest.approx(row["step_tokens_per_second"] / 2, rel=1e-3)
    assert row["forward_ratio"] == pytest.approx(row["forward_tokens_per_second"] / 4, rel=1e-3)
    assert row["peak_ratio"] == pytest.approx(1 / row["peak_mb"], abs=1e-3)


FAKE_TORCH = """
import time, numpy
set_num_threads = lambda n: None
randn = lambda *shape: numpy.zeros(shape)
def mm(a, b):
    time.sleep(0.001)
    return a @ b
"""


def test_products_in_turns_with_torch(capsys, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, out, err = run(capsys, "matmul", "--peer", sys.executable, "--json")
    rows = [row for row in rows_of(out) if row["bench"] == "matmul"]
    assert code == 0 and len(rows) == 7, err
    for row in rows[:-1]:
        work = 2e-9 * row["T"] * row["in"] * row["out"]
        assert 0 < row["torch_gflops"] <= work / 0.001
        assert row["of_torch"] == pytest.approx(row["gflops"] / row["torch_gflops"], rel=1e-3)
    assert rows[-1]["of_torch"] == pytest.approx(np.prod([row["of_torch"] for row in rows[:-1]]) ** (1 / 6), rel=1e-3)
    code, out, _ = run(capsys, "matmul", "--peer", sys.executable)
    assert code == 0 and "of torch" in out and "of torch.mm" in out


def test_a_peer_without_torch_is_told(capsys, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, _, err = run(capsys, "matmul", "--peer", sys.executable)
    assert code == 2 and "needs a Python with PyTorch" in err.splitlines()[-1]
    code, _, err = run(capsys, "matmul", "--peer", tmp_path / "nothing")
    assert code == 2 and "cannot run" in err.splitlines()[-1]


def test_medians_of_turns(monkeypatch):
    from argparse import Namespace

    from minibert.bench import peer

    ours = iter({"tokens": 5, "step_tokens_per_second": v, "workload": "full"} for v in (10.0, 90.0, 20.0))
    theirs = iter({"tokens": 5, "step_tokens_per_second": v} for v in (10.0, 30.0, 2.0))
    monkeypatch.setattr(peer, "our_row", lambda *_: next(ours))
    monkeypatch.setattr(peer, "peer_row", lambda *_: next(theirs))
    row = peer.in_turns_with_peer("full", Namespace(turns=3))
    assert row["step_ratio"] == 3.0  # the median of 1, 3 and 10
    assert row["step_tokens_per_second"] == 20.0 and row["peer"]["step_tokens_per_second"] == 10.0
    assert "forward_ratio" not in row and row["tokens"] == 5 and row["workload"] == "full"


# -------------------------------------------------------------------------------------------------- tables and plots


def test_the_tables_and_the_plot(capsys, tmp_path):
    code, out, err = run(capsys, "matmul")
    assert code == 0 and "agree with the NumPy reference" in err and "geometric mean of 6" in out
    for line in ("0 three loops", "4 threads", "5 micro kernel", "tiny      dW            5   300   200"):
        assert line in out
    code, out, _ = run(capsys, "kernels", "--json", *plot_options(tmp_path))
    rows = rows_of(out)
    assert code == 0
    assert [row["kernel"] for row in rows] == [name for name, _ in examples(np.float32)]
    assert all(row["gflops"] > 0 and row["gb_per_second"] > 0 for row in rows)
    if plot_options(tmp_path):
        assert (tmp_path / "roof.png").read_bytes()[1:4] == b"PNG"


def plot_options(folder):
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return []
    return ["--plot", folder / "roof.png"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["matmul", "--workload", "full"], "--workload is for the training step"),
        (["step", "--plot", "x.png"], "--plot draws the kernels"),
        (["kernels", "--plot", "nowhere/x.png"], "--plot nowhere/x.png: the folder"),
        (["--peer", "python"], "go together"),
        (["--workload", "natural", "--data", "."], "--data needs --backbone"),
        (["step", "--repeats", "0"], "--repeats must be at least 1"),
        (["step", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["step", "--batch-size", "8", "--peer", "p", "--peer-script", "s"], "--batch-size changes our batches alone"),
        (["--workload", "full", "--backbone", "nowhere.h5"], "nowhere.h5"),
    ],
)
def test_bad_options_are_told_in_one_line(capsys, arguments, told):
    code, out, err = run(capsys, *arguments)
    error = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, out, len(error)) == (2, "", 1) and (told in error[0] or "matplotlib" in error[0])


def test_a_peer_that_fails_is_told(monkeypatch, tmp_path):
    from minibert.bench import peer

    with pytest.raises(InputError, match="ended with 3 and printed nothing"):
        peer._last_row([sys.executable, "-c", "raise SystemExit(3)"], {})
    with pytest.raises(InputError, match="printed 'hello'"):
        peer._last_row([sys.executable, "-c", "print('hello')"], {})
    with pytest.raises(InputError, match="cannot run"):
        peer._last_row([str(tmp_path / "nothing")], {})


# -------------------------------------------------------------------------------------------------------------- blas


@pytest.mark.skipif(not kernels.COMPILED, reason="the reference is NumPy's BLAS already")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_by_blas_agree_with_the_reference(dtype, monkeypatch):
    tolerance, used = {np.float32: 3e-6, np.float64: 1e-13}[dtype], []
    monkeypatch.setattr(sys.modules["kernels.engine.gemm"], "BLAS", True)
    for function in (blas.multiply, blas.multiply_dw):
        monkeypatch.setattr(blas, function.__name__, lambda *a, function=function: (used.append(1), function(*a)))
    for shape in (TINY, {"lengths": (40, 17, 70), "size": 60, "n_out": 101, "n_heads": 3}):
        for name, arguments in examples(dtype, **shape):
            if name.startswith("matmul"):
                before = len(used)
                ours, theirs = (check.results(module, name, arguments) for module in (kernels, reference))
                assert check.distance(ours, theirs) <= tolerance and len(used) > before, name
                assert all(np.asarray(a).dtype == dtype for a in ours)


GRADIENTS = """
import sys
import numpy as np
from minibert import gradcheck
from minibert.backbone import random_backbone
from minibert.model import Model
from tiny import CONFIG

def gradients(method):
    model = Model(random_backbone(CONFIG, std=0.15), method=method)
    batch, labels = gradcheck.tiny_batch(CONFIG, "classify", n_classes=2)
    return model.loss_and_grads(batch, labels, dropout_step=0)[1]
"""

ON_BLAS = """
from kernels.engine import blas
from kernels.engine.gemm import _back_end
assert _back_end(np.ones(1, np.float32)) is blas
np.savez(sys.argv[1], **gradients("full"))
"""


def test_gradients_on_blas_agree_with_those_on_our_own_products(tmp_path):
    command = [sys.executable, "-c", GRADIENTS + ON_BLAS, tmp_path / "blas.npz"]
    subprocess.run(command, env=environment(MINIBERT_KERNELS="blas"), check=True)
    here: dict = {}
    exec(GRADIENTS, here)
    ours, on_blas = here["gradients"]("full"), np.load(tmp_path / "blas.npz")
    largest = max(np.abs(gradient).max() for gradient in ours.values())
    for name, gradient in ours.items():
        assert np.abs(gradient - on_blas[name]).max() <= 1e-5 * max(np.abs(gradient).max(), 1e-3 * largest), name


def test_env_names_the_blas():
    environment = os.environ | {"MINIBERT_KERNELS": "blas"}
    command = [sys.executable, "-m", "minibert", "env"]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "kernels           blas\n" in out and f"matrix products   {blas.library()}" in out


def test_a_pack_of_pairs_knows_its_padding():
    batch = pack([[1, 2, 3], [1]], [[0] * 3, [0]])
    assert workloads.Workload("x", [(batch, np.zeros(2))], True).padded_tokens == 6


# -------------------------------------------------------------------------------------------------------------- busy


@pytest.mark.slow
def test_busy_times_three_pieces_of_work_idle_and_busy(capsys, monkeypatch):
    started = []

    class Other(subprocess.Popen):
        def __init__(self, command):
            super().__init__(command)
            started.append(self)

    monkeypatch.setattr(busy, "Popen", Other)
    monkeypatch.setattr(busy, "SETTLE", 0.0)
    monkeypatch.setattr(busy, "REST", 0.0)
    monkeypatch.setattr(busy, "open_workload", tiny_workload)
    monkeypatch.setattr(busy, "check_gradients", lambda model, *batch: model.loss(*batch))  # the whole takes long
    code, out, err = run(capsys, "busy", "--json", "--turns", 2, "--busy-cores", 2)
    assert code == 0, err
    rows = rows_of(out)
    assert [row["most"] for row in rows] == [3.0, 2.0, pytest.approx(1 / 0.45, rel=1e-3)]
    assert all(row["cores"] == 2 and row["idle_ms"] > 0 and row["busy_ms"] > 0 and row["ratio"] > 0 for row in rows)
    assert len(started) == 3 * 2 * 2  # works, turns, cores
    assert all(process.returncode is not None for process in started), "another program was left running"


def tiny_workload(*_):
    model = Model(random_backbone(CONFIG))
    return workloads.Workload("natural", [tiny_batch(CONFIG, "classify", n_classes=2)] * 2, False), model


@pytest.mark.skipif(os.name != "posix", reason="elsewhere it ends after ten minutes")
def test_the_other_program_ends_with_the_one_that_started_it():
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    command = [sys.executable, "-c", busy.OTHER_PROGRAM, gone.stdout.strip()]
    subprocess.run(command, check=True, timeout=60)
