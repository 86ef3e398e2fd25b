"""The four workloads whose speed is reported: batches, a training step, a forward pass.

natural  SST-2, the first 1024 training sentences, batches of 32 in file order: short texts of very different lengths
pairs    MRPC, the first 256 training pairs, batches of 32
full     8 batches of 32 random sequences of 128 tokens: a padding program loses nothing here
base     MRPC, the first 128 training pairs, batches of 16, on a randomly initialised BERT-base

Without data the lengths are drawn to resemble those of the real texts, and the row says so. A step is forward,
backward, clipping to norm 1 and Adam, on adapters (M = 64), LayerNorms and a head of two classes, with dropout.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import kernels
from minibert.backbone import Backbone, load_backbone, random_backbone
from minibert.bench.counts import counting, measured_cache, predicted_cache, predicted_operations
from minibert.config import PRESETS
from minibert.data import load_task
from minibert.errors import InputError
from minibert.model import Model
from minibert.optim import Adam, clip_by_global_norm
from minibert.storage import read_backbone
from minibert.text import Batch, pack

WORKLOADS = ("natural", "pairs", "full", "base")
TASKS = {"natural": ("sst2", 1024), "pairs": ("mrpc", 256), "base": ("mrpc", 128)}
MAX_LENGTH = 128


@dataclass(frozen=True)
class Workload:
    """Batches with their labels. real: texts of the data set, not random tokens of similar lengths."""

    name: str
    batches: list[tuple[Batch, np.ndarray]]
    real: bool

    @property
    def tokens(self) -> int:
        """All tokens of all batches."""
        return sum(batch.n_tokens for batch, _ in self.batches)

    @property
    def padded_tokens(self) -> int:
        """What a program computes that pads each batch to its longest sequence."""
        return sum(len(batch) * int(np.diff(batch.offsets).max()) for batch, _ in self.batches)


def make_workload(
    name: str, backbone: Backbone, tokenizer, data=None, sort: bool = False, size: int | None = None
) -> Workload:
    """The batches of a workload. data: the folder with the GLUE folders, or None for random tokens.

    sort puts texts of similar lengths together first; size, if given, is how many are a batch. Raises InputError if
    data cannot be read.
    """
    size, max_length = size or (16 if name == "base" else 32), min(MAX_LENGTH, backbone.config.max_positions)
    if name == "full":
        everything, labels = _random_tokens(backbone, np.full(size, max_length)), np.arange(size) % 2
        return Workload(name, [(everything, labels)] * 8, real=True)
    task, n = TASKS[name]
    if data is None:
        lengths = _typical_lengths(task, n, max_length)
        everything, labels, sizes = _random_tokens(backbone, lengths), np.arange(n) % 2, lengths
    else:
        examples = load_task(task, data).train
        examples = examples.take(range(min(n, len(examples))))
        texts = [text.strip() for text in examples.texts]
        everything, labels = tokenizer.encode(texts, examples.pairs, max_length), examples.labels
        sizes = [len(text) + len(pair) for text, pair in zip(texts, examples.pairs or [""] * len(texts), strict=True)]
    order = np.argsort(sizes, kind="stable") if sort else np.arange(len(everything))
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    return Workload(name, [(everything.take(rows), labels[rows]) for rows in parts], data is not None)


def _typical_lengths(task: str, n: int, longest: int) -> np.ndarray:
    """Lengths like those of the task's first texts: mean 13 and spread wide, or mean 53."""
    rng = np.random.default_rng(0)
    lengths = 3 + rng.exponential(10.3, n) if task == "sst2" else rng.normal(53, 12.5, n)
    return np.clip(np.rint(lengths).astype(np.int64), 3, min(longest, 56 if task == "sst2" else 82))


def _random_tokens(backbone: Backbone, lengths) -> Batch:
    rng, V = np.random.default_rng(0), backbone.config.vocab_size
    low, high = (1000, 20000) if V >= 20000 else (0, V)
    return pack([rng.integers(low, high, n).tolist() for n in lengths], [[0] * n for n in lengths])


def check_inputs(names, backbone_file=None, data=None) -> None:
    """Raise InputError if a file cannot be read, or data is given without the tokenizer of a backbone file."""
    if backbone_file is not None:
        read_backbone(backbone_file)
    if data is not None:
        if backbone_file is None:
            raise InputError("--data needs --backbone: its tokenizer turns the texts into tokens")
        for task in {TASKS[name][0] for name in names if name in TASKS}:
            load_task(task, data)


def open_workload(
    name: str, backbone_file=None, data=None, sort: bool = False, size: int | None = None
) -> tuple[Workload, Model]:
    """A workload and the model to run it on: that of the file, or a random one of the same shape."""
    backbone = load_backbone(backbone_file) if backbone_file is not None else random_backbone(PRESETS["minilm-l6"])
    tokenizer = backbone.tokenizer
    if name == "base":
        backbone = random_backbone(PRESETS["bert-base"])
    workload = make_workload(name, backbone, tokenizer, data, sort, size)
    return workload, Model(backbone, method="adapter", seed=0)


def peak_megabytes() -> int | None:
    """The most memory that this process has had so far; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (2**20 if sys.platform == "darwin" else 2**10))


def training_step(model: Model) -> Callable[[Batch, np.ndarray], None]:
    """A function of a batch and its labels: forward, backward, clipping, Adam."""
    optimizer = Adam(model.trained(), weight_decay=0.01)

    def step(batch: Batch, labels: np.ndarray) -> None:
        _, grads = model.loss_and_grads(batch, labels, dropout_step=optimizer.steps)
        clip_by_global_norm(grads, 1.0)
        optimizer.step(grads, 1e-4)

    return step


def run_workload(workload: Workload, model: Model, repeats: int, peak_gflops: float, sort: bool) -> dict:
    """Time training steps and forward passes; count and predict. Returns the row that --json prints."""
    step = training_step(model)
    seconds = {
        "step": _median_pass(step, workload, repeats),
        "forward": _median_pass(lambda batch, labels: model.forward(batch), workload, repeats),
    }
    row = {
        "program": "minibert",
        "workload": workload.name,
        "tokens": workload.tokens,
        "padded_tokens": workload.padded_tokens,
        "batches": len(workload.batches),
        "sorted": sort,
        "trained_params": sum(a.size for a in model.trained().values()),
        "threads": kernels.threads(),
        **{f"{kind}_tokens_per_second": round(workload.tokens / s, 1) for kind, s in seconds.items()},
        "peak_mb": peak_megabytes(),
        "real_data": workload.real,
        "kernels": kernels.BACKEND,
    }
    return row | _efficiency(workload, model, step, seconds, peak_gflops)


def _median_pass(call, workload: Workload, repeats: int) -> float:
    """Median seconds of a pass over all batches, after one batch that is not counted."""
    call(*workload.batches[0])
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for batch, labels in workload.batches:
            call(batch, labels)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _efficiency(workload: Workload, model: Model, step, seconds: dict, peak_gflops: float) -> dict:
    """Operations of a pass and bytes of the largest batch's cache, predicted beside measured; share of the peak."""
    predicted = [predicted_operations(model, batch) for batch, _ in workload.batches]
    with counting() as counts:
        for batch, labels in workload.batches:
            step(batch, labels)
    largest = max((batch for batch, _ in workload.batches), key=lambda batch: batch.n_tokens)
    row = {
        "step_gflop_predicted": sum(p["step"] for p in predicted) / 1e9,
        "step_gflop_counted": sum(counts.values()) / 1e9,
        "cache_mb_predicted": predicted_cache(model, largest) / 1e6,
        "cache_mb_measured": measured_cache(model, largest) / 1e6,
        "peak_gflops": peak_gflops,
    }
    for kind, s in seconds.items():
        row[f"{kind}_gflops"] = sum(p[kind] for p in predicted) / 1e9 / s
        row[f"{kind}_of_peak"] = row[f"{kind}_gflops"] / peak_gflops
    return {name: round(value, 4) for name, value in row.items()}
