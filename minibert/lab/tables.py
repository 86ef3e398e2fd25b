"""Table 1 (GLUE), table 2 (further tasks) and the variants of section 3.6, as experiments."""

from __future__ import annotations

import math
from functools import partial
from statistics import mean

from minibert.adapter_variants import VARIANTS
from minibert.lab.baseline import check_installed, no_bert
from minibert.lab.experiment import (
    SIZE,
    Experiment,
    Measurement,
    Report,
    Scope,
    Stage,
    check_test,
    format_rows,
    ks_of,
    mean_over,
    points,
    rates,
    summary,
    sweep_then_seeds,
    top_layers,
)
from minibert.lab.summary import error_of_difference, error_of_mean
from minibert.run import load
from minibert.trial import Trial


def full_and_adapters(scope: Scope, sizes, ks=()) -> Stage:
    """Full fine-tuning, adapters of size 64, adapters of each of `sizes`, and for each k of `ks` the top k layers, all
    with the same number of rates and epochs; of each of the four the setting that is best on dev, by the first seed.

    Returns {(task, label): the trials of its best setting} for the labels full, adapters 64, adapters (the best size)
    and variable (the best k, where ks are given); and the results of all.
    """
    grids = {}
    for task in scope.tasks:
        grids[task, "full"] = rates(scope, "full")
        grids[task, f"adapters {SIZE}"] = rates(scope, "adapter", adapter_size=SIZE)
        grids[task, "adapters"] = [one for size in sizes for one in rates(scope, "adapter", adapter_size=size)]
        if ks:
            grids[task, "variable"] = [one for k in ks for one in rates(scope, **top_layers(scope, k))]
    return (yield from sweep_then_seeds(scope, grids))


def table1(scope: Scope) -> Experiment:
    """GLUE: full fine-tuning, adapters of the best size of 8, 64 and 256, adapters of size 64. Scores on dev.

    MNLI's mismatched dev split is a column of its own, as in the paper, and counts in the mean. Each column has another
    with its standard error.
    """
    sizes = scope.adapter_sizes((8, SIZE, 256), (8, SIZE))
    chosen, results = yield from full_and_adapters(scope, sizes)
    rows, details = [], []
    for name, label in (
        ("full fine-tuning", "full"),
        (f"adapters (best of {', '.join(map(str, sizes))})", "adapters"),
        (f"adapters ({SIZE})", f"adapters {SIZE}"),
    ):
        row, shares, scores, errors = {"method": name}, [], {}, {}
        for task in scope.tasks:
            trials = chosen[task, label]
            found = scores[task] = summary(trials, results)
            errors[task] = found["sem"]
            details.append({"method": name, "task": task, "setting": trials[0].describe(seed=False), **found})
            if task == "mnli":
                scores["mnli_mismatched"] = summary(trials, results, metric="accuracy_mismatched")
                errors[task] += scores["mnli_mismatched"]["sem"]  # added, as both scores are of the same models
            shares.append(found["params"] / scope.backbone_params)
        average = mean(found["mean"] for found in scores.values())
        scores["mean"] = {"mean": average, "sem": math.hypot(*errors.values()) / len(scores)}
        for column, found in scores.items():
            row |= {column: found["mean"], f"{column} sem": found["sem"]}
        row["total_params"] = float(len(shares)) if label == "full" else 1 + sum(shares)
        row["trained_percent"] = 100 * mean(shares)
        rows.append(row)
    return Report({"table1": rows, "table1_details": details}, format_rows(rows))


def table2(scope: Scope) -> Experiment:
    """Further tasks: no BERT, full and variable fine-tuning, adapters. Scores on test."""
    if not scope.recalls:  # reported now, not after hours
        check_installed()
    check_test(scope, scope.tasks)
    chosen, results = yield from full_and_adapters(scope, scope.adapter_sizes((8, SIZE), (SIZE,)), ks_of(scope))
    rows, details, shares = [], [], {}
    for task in scope.tasks:
        settings, trial = 3 if scope.quick else 30, chosen[task, "full"][0]
        rows_of = partial(_no_bert, trial, settings)
        (baseline,) = yield Measurement(f"no BERT, the best of {settings} settings", (trial,), rows_of)
        row = {"task": task, "no BERT": baseline["test"]}
        for label in ("full", "variable", "adapters", f"adapters {SIZE}"):
            found = summary(chosen[task, label], results, "test")
            setting = chosen[task, label][0].describe(seed=False)
            on_dev = summary(chosen[task, label], results)["mean"]
            details.append({"method": label, "task": task, "setting": setting, **found, "dev": on_dev})
            row |= {label: found["mean"], f"{label} sem": found["sem"]}
            shares.setdefault(label, []).append(found["params"] / scope.backbone_params)
        rows.append(row)
    last = {"task": "mean"} | {
        key: (error_of_mean if key.endswith(" sem") else mean)([row[key] for row in rows])
        for key in rows[0]
        if key != "task"
    }
    percent = {"task": "trained % / task"} | {label: 100 * mean(share) for label, share in shares.items()}
    total = {"task": "total params"} | {label: 1 + sum(share) for label, share in shares.items()}
    total["full"] = float(len(scope.tasks))
    rows += [last, percent, total]
    return Report({"table2": rows, "table2_details": details}, format_rows(rows))


def _no_bert(trial: Trial, settings: int) -> list[dict]:
    """A row (task, metric, dev, test), in points: the best of so many settings, on what the trial was trained on."""
    task = load(trial)
    found = no_bert(task, settings, trial.train.seed) | {"metric": task.metrics[0]}
    return [{"task": trial.task, "metric": found["metric"], "dev": points(found), "test": points(found, "test")}]


def extensions(scope: Scope) -> Experiment:
    """Variants of the kinds that the paper tried and set aside (end of section 3.6), beside its own adapter.

    Each task's scores on dev, and each variant's mean over the tasks.
    """
    groups = {}
    for task in scope.tasks:
        for variant, settings in VARIANTS.items():
            options = {f"adapter_{name}": value for name, value in settings.items()}
            groups[task, variant] = scope.seeded(task, "adapter", **options)
    results = yield [trial for trials in groups.values() for trial in trials]
    found = {key: summary(trials, results) for key, trials in groups.items()}
    rows = [
        {"task": task, "variant": variant, **own, **beside(own, found[task, "paper"])}
        for (task, variant), own in found.items()
    ]
    together = {variant: mean_over([found[task, variant] for task in scope.tasks]) for variant in VARIANTS}
    means = []
    for variant, own in together.items():
        by_task = {task: found[task, variant]["mean"] for task in scope.tasks}
        means.append({"variant": variant, **by_task, **own, **beside(own, together["paper"])})
    return Report({"extensions": rows, "extensions_mean": means}, f"{format_rows(rows)}\n\n{format_rows(means)}")


def beside(own: dict, other: dict) -> dict[str, float]:
    """How far a summary's mean is above that of another, and the standard error of that; a summary beside itself is
    not of two samples, and has none."""
    error = 0.0 if own is other else error_of_difference(own["sem"], other["sem"])
    difference = round(own["mean"] - other["mean"], 10)  # 0, and not 1e-14, where means are alike
    return {"difference": difference, "difference_sem": error}
