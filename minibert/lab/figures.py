"""Figures 1 and 3 to 6, as experiments."""

from __future__ import annotations

from functools import partial
from math import isnan
from operator import itemgetter
from statistics import mean

import numpy as np

from minibert import plots
from minibert.data.glue import GLUE
from minibert.lab.ablate import ablated_scores, ablation_metric, ablation_rows, changes
from minibert.lab.experiment import (
    SIZE,
    Experiment,
    Keep,
    Measurement,
    Report,
    Scope,
    Stage,
    check_test,
    format_rows,
    ks_of,
    mean_over,
    rates,
    summary,
    sweep_then_seeds,
    top_layers,
)
from minibert.lab.summary import error_of_difference, mean_and_error
from minibert.trial import Trial

SPREAD = 8, 256  # the sizes over which the paper calls the quality stable
NOT_GLUE = "further tasks"
INIT_STDS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
LAYERNORM = ("layernorm", "", {"method": "layernorm"})  # a point of figure 4 beside those of its curves


def curve_points(scope: Scope, sizes) -> list[tuple[str, int | str, dict]]:
    """(method, size or k, options): adapters of each size, the top k layers for each k."""
    return [
        *(("adapter", size, {"method": "adapter", "adapter_size": size}) for size in sizes),
        *(("top_k", k, top_layers(scope, k)) for k in ks_of(scope)),
    ]


def curve(scope: Scope, sizes, split_of: dict[str, str] | None = None, more: tuple = ()) -> Stage:
    """The trade-off between parameters and score, as rows: task, method, size or k, rate, epochs, params, metric, mean,
    its standard error, seeds, failed; and accuracy with its standard error, whatever the metric (NaN if there is none).
    split_of: {task: the split of its scores} if that is not dev. more: points beside those of `curve_points`.

    Learning rate and epochs are chosen for each point by itself: those that are best on dev, by the first seed.
    """
    grids = {}
    for task in scope.tasks:
        for method, value, options in (*curve_points(scope, sizes), *more):
            grids[task, (method, value)] = rates(scope, **options)
    chosen, results = yield from sweep_then_seeds(scope, grids)
    rows = []
    for (task, (method, value)), trials in chosen.items():
        row = {"task": task, "method": method, "size_or_k": value}
        row |= {"lr": trials[0].train.lr, "epochs": trials[0].train.epochs}
        split = (split_of or {}).get(task, "dev")
        known = all("accuracy" in results[trial]["dev"] for trial in trials if trial in results)
        accuracy = summary(trials, results if known else {}, split, "accuracy")
        row |= summary(trials, results, split)
        rows.append(row | {"accuracy": accuracy["mean"], "accuracy_sem": accuracy["sem"]})
    return rows


def figure4(scope: Scope) -> Experiment:
    """Score against trained parameters, task by task: adapters (the paper's sizes are 2^0 to 2^9), the top k layers,
    LayerNorms only."""
    rows = yield from curve(scope, scope.adapter_sizes([2**n for n in range(10)], (1, 8, 64, 512)), more=(LAYERNORM,))
    spread = spread_over_sizes(rows)
    text = format_rows(rows) + f"\n\nadapters, sizes {SPREAD[0]} to {SPREAD[1]}\n{format_rows(spread)}"
    return Report({"figure4": rows, "figure4_sizes": spread}, text, lambda path: plots.trade_off(rows, path))


def spread_over_sizes(rows: list[dict]) -> list[dict]:
    """Is the quality stable over sizes (section 3.6)? For each task the mean of each size from 8 to 256 at its best
    setting, which are the best and the worst size, and how far they are apart, with the standard error. Then the same
    in accuracy where the metric is another, and of the means over tasks, which as in the paper's footnote 5 are of
    accuracy. (Chance alone sets the best of several sizes apart from the worst.)"""
    low, high = SPREAD
    found = [row for row in rows if row["method"] == "adapter" and low <= row["size_or_k"] <= high]
    found = [row for row in found if not isnan(row["mean"])]
    accurate = [row | {"mean": row["accuracy"], "sem": row["accuracy_sem"]} for row in found]
    accurate = [row for row in accurate if not isnan(row["mean"])]
    others = [row | {"metric": "accuracy"} for row in accurate if row["metric"] != "accuracy"]
    spreads = [_spread(rows) for group in (found, others) for rows in plots.grouped(group, "task").values()]
    n_tasks, sizes = len({row["task"] for row in accurate}), plots.grouped(accurate, "size_or_k").values()
    means = [_mean_point(members) for members in sizes if len(members) == n_tasks > 1]
    return spreads + ([_spread(means)] if means else [])


def _mean_point(rows: list[dict]) -> dict:
    """A size's mean accuracy over tasks, and its standard error."""
    point = {"task": f"mean of {len(rows)}", "metric": "accuracy", "size_or_k": rows[0]["size_or_k"]}
    return point | mean_over(rows)


def _spread(rows: list[dict]) -> dict:
    best, worst = (choose(rows, key=itemgetter("mean")) for choose in (max, min))
    spread = {name: rows[0][name] for name in ("task", "metric")} | {
        f"M = {row['size_or_k']}": row["mean"] for row in sorted(rows, key=itemgetter("size_or_k"))
    }
    spread |= {"best": best["size_or_k"], "worst": worst["size_or_k"], "difference": best["mean"] - worst["mean"]}
    return spread | {"sem": error_of_difference(best["sem"], worst["sem"])}


def figure5(scope: Scope) -> Experiment:
    """SQuAD: F1 against trained parameters."""
    rows = yield from curve(scope, scope.adapter_sizes((2, 8, 64, 256), (2, 64)))
    return Report({"figure5": rows}, format_rows(rows), lambda path: plots.trade_off(rows, path))


def figure3(scope: Scope) -> Experiment:
    """Percentiles over tasks of the score relative to full fine-tuning, against trained parameters; figure 1 is the
    half of it that GLUE makes. GLUE's tasks are scored on dev, the further ones on test, as in the paper."""
    parts = suites(scope.tasks)
    split_of = dict.fromkeys(parts.get(NOT_GLUE, ()), "test")
    check_test(scope, split_of)
    rows = yield from curve(scope, scope.adapter_sizes((2, 8, SIZE, 256), (8, SIZE)), split_of)
    rows = [row | {"split": split_of.get(row["task"], "dev")} for row in rows]
    found = [row for row in rows if not isnan(row["mean"])]
    full = {r["task"]: r["mean"] for r in found if r["method"] == "top_k" and r["size_or_k"] == scope.n_layers}
    bands = []
    for suite, tasks in parts.items():
        compared = [r for r in found if r["task"] in tasks and r["task"] in full]
        places = dict.fromkeys((r["method"], r["size_or_k"]) for r in found)
        for method, value in places:
            members = [r for r in compared if (r["method"], r["size_or_k"]) == (method, value)]
            if members:
                differences = [r["mean"] - full[r["task"]] for r in members]
                p20, p50, p80 = np.percentile(differences, (20, 50, 80))
                params = mean(r["params"] for r in members)
                band = {"p20": float(p20), "p50": float(p50), "p80": float(p80), "tasks": len(differences)}
                band["seeds"] = min(r["seeds"] for r in members)
                bands.append({"suite": suite, "method": method, "size_or_k": value, "params": params, **band})
    tables = {"figure3": bands, "figure3_tasks": rows}
    draw = (lambda path: plots.percentile_bands(bands, path)) if bands else None
    return Report(tables, format_rows(bands), draw)


def suites(tasks) -> dict[str, list[str]]:
    """GLUE's tasks and the others, apart."""
    parts = {"GLUE": [t for t in tasks if t in GLUE], NOT_GLUE: [t for t in tasks if t not in GLUE]}
    return {name: members for name, members in parts.items() if members}


def figure6(scope: Scope) -> Experiment:
    """Adapters removed from spans of layers, without training again; and the standard deviation of their start."""
    stds = (1e-7, 1e-2, 1.0) if scope.quick else INIT_STDS
    groups = {(task, std): scope.seeded(task, "adapter", init_std=std) for task in scope.tasks for std in stds}
    usual = {task: scope.seeded(task, "adapter") for task in scope.tasks}
    results = dict((yield Keep(trial for trials in usual.values() for trial in trials)))
    results |= yield [trial for trials in groups.values() for trial in trials]
    init = []
    for (task, std), trials in groups.items():
        found = summary(trials, results)
        init.append({"task": task, "std": std, **found})
    spans = []
    for trials in usual.values():
        of_seeds = []
        for trial in trials:
            if trial in results:
                of_seeds.append((yield Measurement("ablated spans of layers", (trial,), partial(_spans, scope, trial))))
        spans += _mean_spans(of_seeds)
    text = format_rows(init) + "\n\n" + format_rows(spans)
    tables = {"figure6_init": init, "figure6_ablation": spans}
    return Report(tables, text, lambda path: plots.figure6(spans, init, path))


def _spans(scope: Scope, trial: Trial) -> list[dict]:
    """Rows (task, first, last, score, full, metric): the score without the adapters of each span, and with all."""
    model, split, metrics = scope.reopened(trial, scope.trained(trial))
    metric = ablation_metric(metrics)
    rows = ablation_rows(trial.task, "score", *ablated_scores(model, split, metric))
    measured = "task", "first", "last", "score", "full"  # what follows from these may be NaN, which no ledger holds
    return [{name: row[name] for name in measured} | {"metric": metric} for row in rows]


def _mean_spans(of_seeds: list[list[dict]]) -> list[dict]:
    """The mean of each span's numbers over models that differ in the seed, scores in points; sem: the standard error
    of `relative`. Both are NaN if the score with all adapters is 0 for one of the seeds."""
    rows = []
    for same in zip(*of_seeds, strict=True):
        row = {name: same[0][name] for name in ("task", "first", "last", "metric")}
        row |= {name: 100 * mean(one[name] for one in same) for name in ("score", "full")}
        changed = [changes(one["score"], one["full"]) for one in same]
        row |= {name: mean(one[name] for one in changed) for name in ("change", "relative")}
        rows.append(row | {"sem": mean_and_error([one["relative"] for one in changed])[1], "seeds": len(same)})
    return rows
