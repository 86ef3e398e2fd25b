"""Running a trial: in a run folder of its own, or in one that is gone when it ends."""

from __future__ import annotations

import functools
import os
import platform
import threading
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kernels
from minibert.backbone import Backbone, load_backbone
from minibert.data import Task, data_fingerprint, limit_dev, limit_train, load_task
from minibert.evaluate import evaluate
from minibert.interrupt import compile_kernels
from minibert.model import Model
from minibert.progress import Saving
from minibert.scratch import temporary_folder
from minibert.storage import RunFolder, TaskRecord, read_bank
from minibert.train import Training, nothing
from minibert.trial import Trial, trial_id

PROBE_STEPS, PROBE_DEV = 8, 64  # how much of a trial is run to measure its speed
_ONE_AT_A_TIME = threading.Lock()  # a trial takes all cores, and two would take the memory of two and no less time


def load(trial: Trial) -> Task:
    """Read the trial's task, cut to train_rows and dev_rows."""
    task = load_task(trial.task, trial.data, **trial.task_options)
    if trial.train_rows is not None:
        task = limit_train(task, trial.train_rows, seed=0)
    return task if trial.dev_rows is None else limit_dev(task, trial.dev_rows)


def prepare(
    trial: Trial, task: Task, backbone: Backbone, out, quiet: bool = False, saving: Saving | None = None
) -> Training:
    """The training run of a trial on its task, ready to start. saving: see Training."""
    model = Model(
        backbone,
        task.head,
        task.n_out,
        trial.method,
        trial.adapter,
        trial.train.seed,
        top_k=trial.top_k,
        pooled=trial.pooled,
        train_layernorm=trial.train_layernorm,
        train_pooler=trial.train_pooler,
    )
    return Training(model, task, trial.train, out, quiet, trial.task_options, saving)


def score_test(training: Training) -> dict[str, float] | None:
    """Scores of the best epoch on the test split; None if the release has no labels for it. Raises NonFiniteLoss."""
    test = training.test
    if test is None:
        return None
    model = training.best_model()
    for note in test.notes("test"):
        training.say(f"note: {note}")
    return evaluate(model, test, training.metrics)


def train_and_test(training: Training, report=nothing) -> dict:
    """Train to the end, or to Ctrl-C, and score the best epoch on a labelled test split: see `Training.run`."""
    return training.run(score_test, report)


def open_backbone(path) -> Backbone:
    """Load a backbone, or take the one loaded last: trials of a process share it."""
    path = Path(path).resolve()
    stat = path.stat() if path.exists() else None
    return _open_backbone(path, stat and (stat.st_mtime_ns, stat.st_size))


@functools.lru_cache(maxsize=1)
def _open_backbone(path: Path, stamp) -> Backbone:
    return load_backbone(path)


def run_trial(trial: Trial, backbone_path, folder=None) -> dict:
    """Train, and score the best epoch on dev and on a labelled test split.

    folder: where the run's files are left (as by `minibert train`); None: nowhere. Returns what result.json holds, and
    test (scores or None), metric (that which chose the epoch), id, data and backbone (fingerprints), train_rows,
    wall_seconds (all of it), threads, arithmetic (of the kernels), versions. Raises what training raises: InputError,
    NonFiniteLoss, …; and KeyboardInterrupt if it was interrupted.
    """
    with _ONE_AT_A_TIME, _folder(folder) as out, RunFolder(out).in_use():
        start = time.perf_counter()
        backbone, task = open_backbone(backbone_path), load(trial)
        data = data_fingerprint(task)
        training = prepare(trial, task, backbone, out, quiet=True)
        training.folder.clear()  # what a worker left that died
        result = {"test": None} | train_and_test(training)
        if not result["finished"]:
            raise KeyboardInterrupt
    del result["settings"], result["finished"]
    result["backbone_config"] = asdict(backbone.config)
    names = {"id": trial_id(trial, data, backbone.fingerprint), "data": data, "backbone": backbone.fingerprint}
    result |= {**names, "metric": training.metrics[0], "train_rows": len(task.train), "threads": kernels.threads()}
    result |= {"arithmetic": kernels.arithmetic(), "versions": _versions()}
    return result | {"wall_seconds": time.perf_counter() - start}


def train_task(trial: Trial, task: Task, backbone: Backbone, quiet: bool = True) -> tuple[TaskRecord, dict, list[str]]:
    """Train a trial on a task that is in memory, and leave no files.

    Returns what the bank of the run would hold, what its result.json, and notes on its rows. Raises what training
    raises, and KeyboardInterrupt if it was interrupted.
    """
    with _ONE_AT_A_TIME, _folder(None) as out:
        training = prepare(trial, task, backbone, out, quiet)
        notes = [*training.task.notes, *training.notes()]
        for name, split in {"train": training.train, **training.dev}.items():
            notes += split.notes(name)
        for note in notes:
            training.say(f"note: {note}")
        result = train_and_test(training)
        if not result["finished"]:
            raise KeyboardInterrupt
        return read_bank(training.folder.bank)[task.name], result, notes


def measure_speed(trial: Trial, backbone_path) -> float:
    """Tokens of training a second, from a few steps of the trial."""
    with _ONE_AT_A_TIME, _folder(None) as out:
        task = load(trial)
        rows = range(min(len(task.train), PROBE_STEPS * trial.train.batch_size))
        dev = {name: split.take(range(min(len(split), PROBE_DEV))) for name, split in task.dev.items()}
        task = replace(task, train=task.train.take(rows), dev=dev, test=None)
        trial = replace(trial, train=replace(trial.train, epochs=1, max_steps=0))
        training = prepare(trial, task, open_backbone(backbone_path), out, quiet=True)
        compile_kernels()
        return training.run()["tokens_per_second"]


def _folder(folder):
    return temporary_folder("minibert-trial-") if folder is None else nullcontext(os.fspath(folder))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("minibert", "numpy", "numba"):
        with suppress(PackageNotFoundError):  # it runs from its folder; on the reference kernels, without Numba
            found[package] = version(package)
    return found
