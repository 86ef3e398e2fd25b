"""What the paper's experiments have in common: what they are run on, what they report, and small helpers.

An experiment is a generator: it yields the trials it wants run, gets {trial: result} back, and returns a Report. What
it finds out in another way it yields as a Measurement, and gets its rows back. Where trials run, and in what order, and
what the ledger has already, is not its business: `reproduce.py` hands them to a sweep.

Scores are those of the task's first metric, times 100: "points". A trial that failed is missing from the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from minibert.backbone import Backbone
from minibert.config import BertConfig
from minibert.data import data_fingerprint
from minibert.errors import InputError
from minibert.evaluate import Split, tokenize
from minibert.lab.summary import error_of_mean, mean_and_error
from minibert.methods import DEFAULT_LR
from minibert.model import Model
from minibert.run import load, open_backbone, run_trial
from minibert.storage import RunFolder, TaskRecord, read_bank
from minibert.trial import Trial, make_trial, trial_id

SIZE = 64  # M of the adapters that are compared with full fine-tuning, and whose rate is that of other sizes
# Beside a method's usual rate, the more promising first.
FURTHER_RATES = {1e-4: (3e-4, 3e-5), 1e-3: (3e-3, 3e-4), 3e-2: (1e-1, 1e-2)}
LEARNING_RATES = {method: (usual, *FURTHER_RATES[usual]) for method, usual in DEFAULT_LR.items()}


@dataclass(frozen=True)
class Scope:
    """What an experiment is run on, and how thoroughly. config is that of the backbone."""

    backbone_path: Path | None  # None: nothing is run
    config: BertConfig
    tasks: tuple[str, ...]
    data: str | None
    out: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: tuple[int, ...] = (3, 10)  # a sweep tries all; an experiment without one takes the first
    rates: int = 3  # how many learning rates of a method a sweep tries
    sizes: tuple[int, ...] | None = None  # of the adapters in tables and curves; None: the paper's
    top_ks: tuple[int, ...] | None = None  # how many top layers are trained in tables and curves; None: each number
    train_rows: int | None = 10_000
    train_rows_of: dict[str, int] = field(default_factory=dict)  # of tasks that have another number
    dev_rows: int | None = None
    quick: bool = False
    recalls: bool = False  # nothing is run, and no data read: results are those of the ledger

    @property
    def backbone(self) -> Backbone:
        """The backbone that all trials share."""
        return open_backbone(self.backbone_path)

    @property
    def n_layers(self) -> int:
        """L."""
        return self.config.n_layers

    @property
    def backbone_params(self) -> int:
        """Numbers in the backbone, without the pooler that no task here reads."""
        return sum(math.prod(shape) for name, shape in self.config.shapes().items() if not name.startswith("pooler/"))

    def trial(self, task: str, method: str, seed: int, **options) -> Trial:
        """One run; settings that are not given are the scope's, and the method's usual learning rate."""
        usual = {"lr": LEARNING_RATES[method][0], "epochs": self.epochs[0]}
        usual |= {"train_rows": self.train_rows_of.get(task, self.train_rows), "dev_rows": self.dev_rows}
        data = None if task == "opinions" else self.data
        return make_trial(task=task, data=data, method=method, seed=seed, **usual | options)

    def adapter_sizes(self, papers, if_quick) -> tuple[int, ...]:
        """The sizes that the user gave, or the paper's, or a few."""
        return self.sizes or tuple(if_quick if self.quick else papers)

    def seeded(self, task: str, method: str, **options) -> list[Trial]:
        """The same run with each seed."""
        return [self.trial(task, method, seed, **options) for seed in self.seeds]

    @property
    def runs(self) -> Path:
        """Where the run folders are that an experiment needs again."""
        return self.out / "runs"

    def trained(self, trial: Trial) -> TaskRecord:
        """The trained task itself, for what scores alone do not show; trained now if its run was not kept."""
        task = load(trial)
        folder = RunFolder(self.runs / trial_id(trial, data_fingerprint(task), self.backbone.fingerprint))
        if folder.read_result().get("finished") is not True:
            run_trial(trial, self.backbone_path, folder.path)
        return read_bank(folder.bank)[task.name]

    def reopened(self, trial: Trial, record: TaskRecord) -> tuple[Model, Split, tuple[str, ...]]:
        """The model of a trained task, its dev split, and its metrics, that which counts first."""
        task = load(trial)
        dev = next(iter(task.dev.values()))
        split = tokenize(self.backbone, dev, trial.train.max_length)
        return Model.from_record(self.backbone, record), split, task.metrics


@dataclass(frozen=True)
class Report:
    """What an experiment found: tables by name, as rows of CSV files; text for people; and how to draw the picture."""

    tables: dict[str, list[dict]]
    text: str
    draw: Callable[[Path], None] | None = None


class Keep(list):
    """Trials whose run folders are to be kept in `Scope.runs`, because the experiment needs what they trained."""


@dataclass(frozen=True)
class Measurement:
    """What is measured on trained models, or without any: kept in the ledger, so that it is done once.

    what: says what it is. trials: those whose results it stands on; they have been run. rows: measures, and gives rows
    of text and numbers.
    """

    what: str
    trials: tuple[Trial, ...]
    rows: Callable[[], list[dict]]


Experiment = Generator["list[Trial] | Measurement", Any, Report]
Stage = Generator["list[Trial] | Measurement", Any, Any]  # a part of an experiment, which gives it something else


# ----------------------------------------------------------------------------------------------------- small helpers


def ks_of(scope: Scope) -> list[int]:
    """For how many top layers variable fine-tuning is tried; all of them, which is full fine-tuning, is among them."""
    n = scope.n_layers
    if scope.top_ks:
        return sorted({*scope.top_ks, n})
    return sorted({1, n // 2, n}) if scope.quick else list(range(1, n + 1))


def top_layers(scope: Scope, k: int) -> dict:
    """The options that train the top k layers. All of them is full fine-tuning, and the same trial."""
    return {"method": "full"} if k == scope.n_layers else {"method": "top_k", "top_k": k}


def points(result: dict, split: str = "dev", metric: str | None = None) -> float:
    """The score that counts, times 100. Raises InputError if the split was not scored."""
    if result.get(split) is None:
        raise InputError(
            f"task {result['task']} has no score on {split}, as it has no labels there: name the others by --tasks"
        )
    return 100 * result[split][metric or result["metric"]]


def check_test(scope: Scope, tasks) -> None:
    """Raise InputError if one of the tasks that are to be scored on test has no labels there: now, and not after hours
    of training. What a ledger lacks, `points` tells."""
    for task in () if scope.recalls else tasks:
        if load(scope.trial(task, "head", scope.seeds[0])).labelled_test is None:
            raise InputError(
                f"task {task} has no labelled test split, on which it is scored here: name the others by --tasks"
            )


def summary(trials: list[Trial], results: dict, split: str = "dev", metric: str | None = None) -> dict[str, float]:
    """Trained parameters of one setting, the metric, its mean over the seeds and the standard error, how many trials
    are in it and how many failed. What is not known is NaN: the error of one seed, everything if all failed."""
    found = [results[trial] for trial in trials if trial in results]
    average, error = mean_and_error([points(result, split, metric) for result in found])
    params = found[0]["trained_params"] if found else math.nan
    metric = metric or (found[0]["metric"] if found else "")
    failed = len(trials) - len(found)
    return {"params": params, "metric": metric, "mean": average, "sem": error, "seeds": len(found), "failed": failed}


def mean_over(summaries: list[dict]) -> dict[str, float]:
    """The mean of several summaries' means, say over tasks, and its standard error; NaN if one of them is."""
    return {"mean": mean(one["mean"] for one in summaries), "sem": error_of_mean([one["sem"] for one in summaries])}


def best(settings: list[list[Trial]], results: dict) -> list[Trial]:
    """The setting (its trials, one a seed) with the highest mean score on dev."""
    return max(settings, key=lambda trials: np.nan_to_num(summary(trials, results)["mean"], nan=-np.inf))


def format_rows(rows: list[dict]) -> str:
    """Rows as a table for people; numbers to two places, tiny ones with their power of ten."""
    if not rows:
        return "nothing"

    def cell(value) -> str:
        if isinstance(value, float):
            if np.isnan(value):
                return "-"
            return f"{value:.0e}" if 0 < abs(value) < 0.005 else f"{value:,.2f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([cell(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{value:>{width}}" for value, width in zip(line, widths, strict=True)) for line in cells
    )


def sweep_then_seeds(scope: Scope, grids: dict[tuple[str, str], list[dict]]) -> Stage:
    """For each (task, label) the best of its settings on dev by the first seed, then run with every seed.

    A setting is a dict of options with "method" among them. Returns {(task, label): the trials of the best setting},
    and the results of all. The number of trials a label gets is the length of its list.
    """
    first = {
        key: [[scope.trial(key[0], seed=scope.seeds[0], **setting)] for setting in settings]
        for key, settings in grids.items()
    }
    results = dict((yield [trial for settings in first.values() for (trial,) in settings]))
    chosen = {}
    for key, settings in first.items():
        (winner,) = best(settings, results)
        chosen[key] = [winner.with_seed(seed) for seed in scope.seeds]
    results |= yield [trial for trials in chosen.values() for trial in trials]
    return chosen, results


def rates(scope: Scope, method: str, **options) -> list[dict]:
    """The settings of a sweep over learning rates and epochs."""
    lrs = LEARNING_RATES[method][: scope.rates]
    return [{"method": method, "lr": lr, "epochs": n, **options} for lr in lrs for n in scope.epochs]
