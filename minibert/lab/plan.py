"""Before a sweep: which trials are to be run, and how long that will take."""

from __future__ import annotations

import json
import math
import os
import sys
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from statistics import median

from minibert.backbone import Backbone
from minibert.config import BertConfig
from minibert.data import data_fingerprint
from minibert.errors import InputError, counted
from minibert.evaluate import tokenize
from minibert.heads import head_record
from minibert.lab.ledger import latest
from minibert.methods import trained_names
from minibert.run import load, measure_speed, open_backbone
from minibert.trial import Trial, trial_id

FORWARD_SHARE = 0.4  # what scoring a token costs, in training steps of a token


@dataclass
class Job:
    """A trial that is to be run. work: tokens, those that are only scored counted by FORWARD_SHARE. seconds: what is
    predicted, None if unknown. deaths: how many workers died with it."""

    id: str
    trial: Trial
    work: float
    seconds: float | None = None
    deaths: int = 0


@dataclass
class Plan:
    """ids: of all trials, in their order. jobs: what is to be run. done, failed: what the ledger has."""

    ids: list[str]
    jobs: list[Job] = field(default_factory=list)
    done: int = 0
    failed: int = 0

    def describe(self) -> str:
        """How many trials, and how many of them are there already."""
        text = f"{counted(len(set(self.ids)), 'trial')}: {self.done} in the ledger, {len(self.jobs)} to run"
        return text + (f", {self.failed} failed before (--retry-failed runs them again)" if self.failed else "")

    def predict(self, executor: Executor, records: list[dict], backbone_path) -> str:
        """Fill in the seconds of every job, and return a line on the whole.

        Speeds come from the ledger's records, and where they have none from a few steps that are run now."""
        speeds = _known_speeds(records, open_backbone(backbone_path).fingerprint, getattr(executor, "threads", None))
        first = {_kind(job.trial): job for job in reversed(self.jobs) if _kind(job.trial) not in speeds}
        path = os.path.abspath(backbone_path)
        measured = {kind: executor.submit(measure_speed, job.trial.located(), path) for kind, job in first.items()}
        for kind, future in measured.items():
            try:
                speeds[kind] = future.result()
            except Exception as error:  # the trial itself will fail, and be recorded
                print(f"note: the speed of method {kind[0]} is not known: {error!r}", file=sys.stderr)
        for job in self.jobs:
            speed = speeds.get(_kind(job.trial))
            job.seconds = job.work / speed if speed else None
        known = [job.seconds for job in self.jobs if job.seconds is not None]
        at_once = min(getattr(executor, "at_once", 1), len(self.jobs))
        return _prediction(sum(known), sum(job.work for job in self.jobs), len(self.jobs) - len(known), at_once)


def _prediction(seconds: float, tokens: float, unknown: int, at_once: int) -> str:
    text = f"predicted machine time: {format_seconds(seconds / at_once)}"
    text += f" with {at_once} trials at once" if at_once > 1 else ""
    text += f" ({tokens:,.0f} tokens)"
    return text + (f", and {counted(unknown, 'trial')} of unknown length" if unknown else "")


def format_seconds(seconds: float) -> str:
    """A length of time for people: 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _kind(trial: Trial) -> tuple:
    """Trials of one kind are about equally fast."""
    return trial.method, trial.top_k, trial.train.max_length


def _known_speeds(records: list[dict], backbone: str, threads: int | None) -> dict[tuple, float]:
    """{kind: work a second}, by the records of trials on this backbone and that many threads. The median: a trial that
    was halted for an hour says nothing of the next."""
    speeds: dict[tuple, list[float]] = {}
    for record in latest(records).values():
        result = record.get("result", {})
        if result.get("backbone") == backbone and threads in (None, result["threads"]):
            kind = _kind(Trial.from_dict(record["trial"]))
            speeds.setdefault(kind, []).append(record["work"] / result["wall_seconds"])
    return {kind: median(found) for kind, found in speeds.items()}


def make_plan(trials: list[Trial], backbone_path, records: list[dict], retry_failed: bool = False) -> Plan:
    """Find out which trials are to be run, given the records of a ledger.

    Reads every task, so that what is wrong with one is reported before any work.

    Raises InputError: data or backbone that cannot be used, a trial that does not fit the backbone.
    """
    backbone, tasks = open_backbone(backbone_path), _Tasks()
    before, plan = latest(records), Plan([])
    for trial in trials:
        _check_fit(trial, backbone)
        data, work = tasks.measure(trial, backbone)
        name = trial_id(trial, data, backbone.fingerprint)
        if name not in plan.ids:
            status = before.get(name, {}).get("status")
            plan.done += status == "done"
            check_config(before.get(name, {}).get("result", {}), trial, backbone.config)
            if status == "failed" and not retry_failed:
                plan.failed += 1
            elif status != "done":
                plan.jobs.append(Job(name, trial, work))
        plan.ids.append(name)
    return plan


def check_config(result: dict, trial: Trial, config: BertConfig) -> None:
    """Raise InputError if a result is of the same weights with another config: the id tells a backbone by its weights
    alone. Results of older versions do not keep the config."""
    there, here = result.get("backbone_config"), asdict(config)
    if there is None or there == here:
        return
    name = next(name for name in here | there if there.get(name) != here.get(name))
    raise InputError(
        f"{trial.describe()}: the ledger has it, on a backbone of the same weights with another config ({name} was "
        f"{there.get(name)!r}, now it is {here.get(name)!r}); give that backbone, or another --ledger"
    )


def _check_fit(trial: Trial, backbone: Backbone) -> None:
    try:
        trained_names((), trial.method, backbone.config.n_layers, trial.top_k)
    except InputError as error:
        raise InputError(f"{trial.describe()}: {error}") from None


class _Tasks:
    """What is to be known of the data of many trials; each task is read and tokenized once."""

    def __init__(self):
        self._known: dict[str, tuple] = {}

    def measure(self, trial: Trial, backbone: Backbone) -> tuple[str, float]:
        """The fingerprint of the trial's data, and its work in tokens."""
        length = trial.train.max_length
        key = json.dumps(
            [trial.task, trial.data, trial.task_options, trial.train_rows, trial.dev_rows, length], sort_keys=True
        )
        if key not in self._known:
            task = load(trial)
            dev_tokens = sum(tokenize(backbone, split, length).batch.n_tokens for split in task.dev.values())
            test = task.labelled_test
            test_tokens = 0 if test is None else tokenize(backbone, test, length).batch.n_tokens
            train_tokens = tokenize(backbone, task.train, length).batch.n_tokens
            reads_all = head_record(task.head).reads_all_tokens
            self._known[key] = data_fingerprint(task), len(task.train), train_tokens, dev_tokens, test_tokens, reads_all
        data, rows, train_tokens, dev_tokens, test_tokens, reads_all = self._known[key]
        if trial.method == "head" and not reads_all:  # each text is read once: Training._read_once
            return data, float(train_tokens + dev_tokens + test_tokens)
        settings = trial.train
        epochs = settings.epochs
        if settings.max_steps:
            epochs = min(epochs, settings.max_steps / math.ceil(rows / settings.batch_size))
        work = epochs * train_tokens + FORWARD_SHARE * (math.ceil(epochs) * dev_tokens + test_tokens)
        return data, work
