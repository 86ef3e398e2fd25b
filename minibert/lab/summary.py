"""What a sweep found: for each task and method the setting that is best on dev, or all, with the spread over seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.errors import counted
from minibert.methods import percent
from minibert.storage import write_rows
from minibert.trial import Trial, anywhere

COLUMNS = ("task", "method", "setting", "adapter_size", "top_k", "lr", "epochs", "split", "metric", "seeds", "mean")
COLUMNS += ("standard_error", "trained_params", "total_params", "seconds")
MOST_FAILED = 20  # how many failed trials are listed


@dataclass(frozen=True)
class Setting:
    """The trials that differ in nothing but the seed: their settings (with seed 0), and their results."""

    trial: Trial
    results: tuple[dict, ...]

    @property
    def metric(self) -> str:
        """The metric that chose the best epoch, and chooses the best setting."""
        return self.results[0]["metric"]

    def scores(self, split: str, metric: str | None = None) -> list[float]:
        """A value a seed; none if there is no such split."""
        return [result[split][metric or self.metric] for result in self.results if result.get(split)]

    def mean(self, key: str) -> float:
        """The mean over seeds of a number such as "wall_seconds" or "trained_params"."""
        return float(np.mean([result[key] for result in self.results]))


def mean_and_error(values) -> tuple[float, float]:
    """The mean, and its standard error (the deviation with n - 1, by √n); NaN where there are too few values."""
    n = len(values)
    return (float(np.mean(values)) if n else math.nan, float(np.std(values, ddof=1) / n**0.5) if n > 1 else math.nan)


def error_of_mean(errors) -> float:
    """The standard error of a mean of numbers that have these standard errors."""
    return math.hypot(*errors) / len(errors)


def error_of_difference(one, other) -> float:
    """The standard error of the difference of two numbers of two samples that have these standard errors."""
    return math.hypot(one, other)


def settings_of(records: list[dict]) -> list[Setting]:
    """The settings in the ledger's records, from the trials that are done, in the order of their first one."""
    found: dict[tuple, tuple[Trial, dict]] = {}
    for record in records:
        if record["status"] == "done":
            trial, result = Trial.from_dict(record["trial"]), record["result"]
            trial, seed = trial.with_seed(0), trial.train.seed
            key = (anywhere(trial), result["data"], result["backbone"])
            found.setdefault(key, (trial, {}))[1][seed] = result
    return [Setting(trial, tuple(results[seed] for seed in sorted(results))) for trial, results in found.values()]


def groups_of(records: list[dict]) -> dict[tuple[str, str, str, str, str], list[Setting]]:
    """{(task, data, backbone, metric, method): the settings that were tried}; data and backbone are fingerprints."""
    groups: dict[tuple, list[Setting]] = {}
    for setting in settings_of(records):
        result = setting.results[0]
        key = (setting.trial.task, result["data"], result["backbone"], setting.metric, setting.trial.method)
        groups.setdefault(key, []).append(setting)
    return groups


def best_settings(records: list[dict]) -> list[Setting]:
    """For each task and method (and data, backbone, metric) the first of its settings as `ranked`."""
    return [ranked(settings)[0] for settings in groups_of(records).values()]


def all_settings(records: list[dict]) -> list[Setting]:
    """For each task and method (and data, backbone, metric) every setting, as `ranked`."""
    return [setting for settings in groups_of(records).values() for setting in ranked(settings)]


def ranked(settings: list[Setting]) -> list[Setting]:
    """Settings with more seeds first, and of equally many the one with the better mean on dev: one lucky seed would
    beat a mean of three."""
    return sorted(settings, key=lambda setting: (len(setting.results), np.mean(setting.scores("dev"))), reverse=True)


def summarize(records: list[dict], every: bool = False) -> str:
    """The table for people, of the best settings or of every one, and what failed."""
    rows = [_row(setting) for setting in (all_settings if every else best_settings)(records)]
    failed = [record for record in records if record["status"] == "failed"]
    lines = [f"{counted(len(records) - len(failed), 'trial')} done, {len(failed)} failed"]
    if rows:
        which = (
            "every setting, most seeds first, then best on dev," if every else "best on dev of those with most seeds"
        )
        lines.append(f"{which} by task and method: mean over seeds times 100, and its standard error")
        lines += align([("task", "method", "setting", "seeds", "metric", "dev", "test", "trained", "time"), *rows])
    for record in failed[:MOST_FAILED]:
        lines.append(f"failed: {Trial.from_dict(record['trial']).describe()}: {record['error']}")
    if len(failed) > MOST_FAILED:
        lines.append(f"… and {len(failed) - MOST_FAILED} more")
    return "\n".join(lines)


def _row(setting: Setting) -> tuple[str, ...]:
    trial = setting.trial
    share = percent(setting.mean("trained_params"), setting.mean("total_params"))
    scores = [_score(setting.scores(split)) for split in ("dev", "test")]
    numbers = f"{share}%", f"{setting.mean('wall_seconds'):.0f} s"
    described = trial.label, trial.method, trial.describe_settings()
    return *described, str(len(setting.results)), setting.metric, *scores, *numbers


def _score(values: list[float]) -> str:
    mean, error = mean_and_error(values)
    if math.isnan(mean):
        return "-"
    return f"{100 * mean:.1f}" + ("" if math.isnan(error) else f" ({100 * error:.1f})")


def align(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines in which each column is as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def write_summary(records: list[dict], path, every: bool = False) -> None:
    """The table as CSV: a row for every split and metric of a setting; scores as they are, not times 100."""
    rows = []
    for setting in (all_settings if every else best_settings)(records):
        trial = setting.trial
        row = {"task": trial.label, "method": trial.method, "setting": trial.describe_settings()}
        row |= {"adapter_size": trial.adapter.size if trial.adapter else "", "top_k": trial.top_k or ""}
        row |= {"lr": trial.train.lr, "epochs": trial.train.epochs, "seeds": len(setting.results)}
        row |= {name: round(setting.mean(name)) for name in ("trained_params", "total_params")}
        row["seconds"] = f"{setting.mean('wall_seconds'):.1f}"
        for split in ("dev", "test"):
            for metric in setting.results[0].get(split) or ():
                mean, error = mean_and_error(setting.scores(split, metric))
                rows.append(row | {"split": split, "metric": metric, "mean": mean, "standard_error": error})
    write_rows(Path(path), rows, COLUMNS)
