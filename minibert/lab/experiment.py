"""What the paper's experiments have in common: what they are run on, what they report, and small helpers.

An experiment is a generator: it yields the trials it wants run, gets {trial: result} back, and returns a Report. Where
trials run, and in what order, is not its business: `reproduce.py` hands them to a sweep.

Scores are those of the task's first metric, times 100: "points". A trial that failed is missing from the results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.files import TaskRecord, read_bank
from minibert.lab.run import load, open_backbone, run_trial
from minibert.lab.summary import mean_and_error
from minibert.lab.trial import Trial, data_fingerprint, make_trial, trial_id
from minibert.model import Backbone, Model
from minibert.run_folder import RunFolder
from minibert.scoring import Split, tokenize

# In the order in which they are worth trying: the first is the method's usual rate.
FINE_TUNING, FEW_PARAMETERS = (1e-4, 3e-5, 3e-4), (1e-3, 3e-4, 3e-3)
LEARNING_RATES = {
    "full": FINE_TUNING,
    "top_k": FINE_TUNING,
    "adapter": FEW_PARAMETERS,
    "layernorm": FEW_PARAMETERS,
    "head": FEW_PARAMETERS,
}


@dataclass(frozen=True)
class Scope:
    """What an experiment is run on, and how thoroughly."""

    backbone_path: Path
    tasks: tuple[str, ...]
    data: str | None
    out: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: tuple[int, ...] = (3, 10)  # a sweep tries all; a curve takes the first
    rates: int = 3  # that many learning rates of each method are tried in a sweep; a curve takes the first
    train_rows: int | None = 10_000
    dev_rows: int | None = None
    quick: bool = False

    @property
    def backbone(self) -> Backbone:
        """The backbone that all trials share."""
        return open_backbone(self.backbone_path)

    @property
    def n_layers(self) -> int:
        """L."""
        return self.backbone.config.n_layers

    @property
    def backbone_params(self) -> int:
        """Numbers in the backbone, without the pooler that no task here reads."""
        return sum(a.size for name, a in self.backbone.parameters().items() if not name.startswith("pooler/"))

    def trial(self, task: str, method: str, seed: int, **options) -> Trial:
        """One run; settings that are not given are the scope's, and the method's usual learning rate."""
        usual = {"lr": LEARNING_RATES[method][0], "epochs": self.epochs[0]}
        usual |= {"train_rows": self.train_rows, "dev_rows": self.dev_rows}
        data = None if task == "opinions" else self.data
        return make_trial(task=task, data=data, method=method, seed=seed, **usual | options)

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
        if not (folder.result.exists() and json.loads(folder.result.read_text())["finished"]):
            run_trial(trial, self.backbone_path, folder.path)
        return read_bank(folder.bank)[task.name]

    def reopened(self, trial: Trial, record: TaskRecord) -> tuple[Model, Split, str]:
        """The model of a trained task, its dev split, and the metric that counts."""
        task = load(trial)
        dev = next(iter(task.dev.values()))
        split = tokenize(self.backbone, dev, trial.train.max_length)
        return Model.from_record(self.backbone, record), split, task.metrics[0]


@dataclass(frozen=True)
class Report:
    """What an experiment found: tables by name, as rows of CSV files; text for people; and how to draw the picture."""

    tables: dict[str, list[dict]]
    text: str
    draw: Callable[[Path], None] | None = None


class Keep(list):
    """Trials whose run folders are to be kept in `Scope.runs`, because the experiment needs what they trained."""


Experiment = Generator[list[Trial], dict, Report]


# ----------------------------------------------------------------------------------------------------- small helpers


def points(result: dict, split: str = "dev") -> float:
    """The score that counts, times 100; that of the test split if it is asked for and there."""
    scores = result.get(split) or result["dev"]
    return 100 * scores[result["metric"]]


def summary(trials: list[Trial], results: dict, split: str = "dev") -> dict[str, float]:
    """mean, sem, seeds and trained parameters of one setting over its seeds. Empty if every trial failed."""
    found = [results[trial] for trial in trials if trial in results]
    if not found:
        return {}
    average, error = mean_and_error([points(result, split) for result in found])
    error = 0.0 if np.isnan(error) else error  # of a single seed it is not known
    return {"params": found[0]["trained_params"], "mean": average, "sem": error, "seeds": len(found)}


def best(settings: list[list[Trial]], results: dict) -> list[Trial]:
    """The setting (its trials, one a seed) with the highest mean score on dev."""
    return max(settings, key=lambda trials: summary(trials, results).get("mean", -np.inf))


def format_rows(rows: list[dict]) -> str:
    """Rows as a table for people; numbers to two places, tiny ones with their power of ten."""
    if not rows:
        return "nothing"

    def cell(value) -> str:
        if isinstance(value, float):
            return f"{value:.0e}" if 0 < abs(value) < 0.005 else f"{value:,.2f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([cell(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{value:>{width}}" for value, width in zip(line, widths, strict=True)) for line in cells
    )


def sweep_then_seeds(scope: Scope, grids: dict[tuple[str, str], list[dict]]) -> Experiment:
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
