"""One method against another, task by task and in the mean: from a ledger, each at the setting that is best on dev."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minibert.lab.summary import Setting, align, best_settings, mean_and_error
from minibert.storage import write_rows

SPLITS = ("dev", "test")
PARTS = ("one", "other", "difference", "standard_error")


def differences(records: list[dict], one: str = "adapter", other: str = "full") -> list[dict]:
    """What a method has more than another: a row a task that has both on the same data (of a task with several data
    sets that with most training rows), and last their mean.

    Keys: task, metric, train_rows, and in points for dev and test: dev_one, dev_other, dev_difference and
    dev_standard_error, which is that of the difference, over seeds. The mean of test is over the tasks that have it.
    """
    groups: dict[tuple, dict[str, Setting]] = {}
    for setting in best_settings(records):
        result = setting.results[0]
        groups.setdefault((setting.trial.task, result["data"], result["backbone"]), {})[setting.trial.method] = setting
    rows: dict[str, dict] = {}
    for (task, *_), found in groups.items():
        if one in found and other in found:
            row = _difference(task, found[one], found[other])
            if task not in rows or row["train_rows"] > rows[task]["train_rows"]:
                rows[task] = row
    return [*rows.values(), _mean(list(rows.values()))] if rows else []


def _difference(task: str, one: Setting, other: Setting) -> dict:
    row = {"task": task, "metric": one.metric, "train_rows": round(one.mean("train_rows"))}
    for split in SPLITS:
        (a, a_error), (b, b_error) = (mean_and_error(setting.scores(split)) for setting in (one, other))
        values = a, b, a - b, math.hypot(a_error, b_error)
        row |= {f"{split}_{part}": 100 * value for part, value in zip(PARTS, values, strict=True)}
    return row


def _mean(rows: list[dict]) -> dict:
    mean = {"task": f"mean of {len(rows)}", "metric": "", "train_rows": ""}
    for split in SPLITS:
        scored = [row for row in rows if not math.isnan(row[f"{split}_one"])]
        for part in PARTS:
            values = [row[f"{split}_{part}"] for row in scored] or [math.nan]
            together = math.hypot(*values) / len(values) if part == "standard_error" else float(np.mean(values))
            mean[f"{split}_{part}"] = together
    return mean


def format_differences(rows: list[dict], one: str = "adapter", other: str = "full") -> str:
    """The table for people; the standard error of a difference stands in brackets."""
    cells = [("task", "train rows", "metric", *(text for s in SPLITS for text in (f"{s}: {one}", other, "difference")))]
    for row in rows:
        scores = [text for split in SPLITS for text in _cells(*(row[f"{split}_{part}"] for part in PARTS))]
        cells.append((row["task"], str(row["train_rows"]), row["metric"], *scores))
    return "\n".join(align(cells))


def _cells(one: float, other: float, difference: float, error: float) -> tuple[str, str, str]:
    if math.isnan(one):
        return "-", "-", "-"
    return f"{one:.1f}", f"{other:.1f}", f"{difference:+.2f}" + ("" if math.isnan(error) else f" ({error:.2f})")


def write_differences(rows: list[dict], path) -> None:
    """The same as CSV."""
    columns = ("task", "metric", "train_rows", *(f"{split}_{part}" for split in SPLITS for part in PARTS))
    write_rows(Path(path), rows, columns)
