"""One method against another, task by task and in the mean: from a ledger, each at the setting that is best on dev."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minibert.lab.summary import Setting, align, error_of_difference, error_of_mean, groups_of, mean_and_error, ranked
from minibert.storage import write_rows

SPLITS = ("dev", "test")
PARTS = ("one", "other", "difference", "standard_error")
COLUMNS = ("backbone", "task", "metric", "train_rows", "one_settings", "other_settings")
COLUMNS += tuple(f"{split}_{part}" for split in SPLITS for part in PARTS)


def differences(records: list[dict], one: str = "adapter", other: str = "full") -> list[dict]:
    """What a method has more than another: a row a task that has both on the same data by the same metric (of a task
    with several data sets that with most training rows, and of those the first; with several metrics a row each), and
    last the mean of the rows; so for each backbone. One's own files of different names are different tasks.

    Keys: backbone (the beginning of its fingerprint), task, metric, train_rows, one_settings and other_settings (how
    many were tried), and in points for dev and test: dev_one, dev_other, dev_difference and dev_standard_error, which
    is that of the difference, over seeds. The mean of test is over the tasks that have it, and tells how many.
    """
    pairs: dict[tuple, dict[str, list[Setting]]] = {}
    for (task, data, backbone, metric, method), settings in groups_of(records).items():
        pairs.setdefault((backbone, task, data, metric), {})[method] = settings
    rows: dict[str, dict[tuple[str, str], dict]] = {}
    for (backbone, _, _, metric), found in pairs.items():
        if one in found and other in found:
            task = found[one][0].trial.label
            row = {"backbone": backbone[:8], "task": task} | _difference(found[one], found[other])
            tasks = rows.setdefault(backbone, {})
            if (task, metric) not in tasks or row["train_rows"] > tasks[task, metric]["train_rows"]:
                tasks[task, metric] = row
    return [row for tasks in rows.values() for row in (*tasks.values(), _mean(list(tasks.values())))]


def _difference(ones: list[Setting], others: list[Setting]) -> dict:
    one, other = ranked(ones)[0], ranked(others)[0]
    row = {"metric": one.metric, "train_rows": round(one.mean("train_rows"))}
    row |= {"one_settings": len(ones), "other_settings": len(others)}
    for split in SPLITS:
        (a, a_error), (b, b_error) = (mean_and_error(setting.scores(split)) for setting in (one, other))
        values = a, b, a - b, error_of_difference(a_error, b_error)
        row |= {f"{split}_{part}": 100 * value for part, value in zip(PARTS, values, strict=True)}
    return row


def _mean(rows: list[dict]) -> dict:
    mean = dict.fromkeys(COLUMNS, "") | {"backbone": rows[0]["backbone"]}
    of_test = sum(not math.isnan(row["test_one"]) for row in rows)
    mean["task"] = f"mean of {len(rows)}" + (f", {of_test} on test" if 0 < of_test < len(rows) else "")
    for split in SPLITS:
        scored = [row for row in rows if not math.isnan(row[f"{split}_one"])]
        for part in PARTS:
            values = [row[f"{split}_{part}"] for row in scored] or [math.nan]
            together = error_of_mean(values) if part == "standard_error" else float(np.mean(values))
            mean[f"{split}_{part}"] = together
    return mean


def format_differences(rows: list[dict], one: str = "adapter", other: str = "full") -> str:
    """The table for people; the standard error of a difference stands in brackets. The backbone is shown if there
    are several."""
    several = len({row["backbone"] for row in rows}) > 1
    first = ("backbone", "task") if several else ("task",)
    scores = [text for split in SPLITS for text in (f"{split}: {one}", other, "difference")]
    cells = [(*first, "train rows", "settings tried", "metric", *scores)]
    for row in rows:
        tried = f"{row['one_settings']}, {row['other_settings']}" if row["metric"] else ""
        scores = [text for split in SPLITS for text in _cells(*(row[f"{split}_{part}"] for part in PARTS))]
        cells.append((*(row[name] for name in first), str(row["train_rows"]), tried, row["metric"], *scores))
    return "\n".join(align(cells))


def _cells(one: float, other: float, difference: float, error: float) -> tuple[str, str, str]:
    if math.isnan(one):
        return "-", "-", "-"
    return f"{one:.2f}", f"{other:.2f}", f"{difference:+.2f}" + ("" if math.isnan(error) else f" ({error:.2f})")


def write_differences(rows: list[dict], path) -> None:
    """The same as CSV."""
    write_rows(Path(path), rows, COLUMNS)
