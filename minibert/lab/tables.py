"""Table 1 (GLUE), table 2 (further tasks) and the variants of section 3.6, as experiments."""

from __future__ import annotations

from statistics import mean

from minibert.adapter import VARIANTS
from minibert.lab.baseline import no_bert
from minibert.lab.experiment import (
    Experiment,
    Report,
    Scope,
    format_rows,
    points,
    rates,
    summary,
    sweep_then_seeds,
)
from minibert.lab.run import load

SIZE = 64  # M of the adapters that are compared with full fine-tuning


def full_and_adapters(scope: Scope, sizes, further: dict | None = None) -> Experiment:
    """Full fine-tuning and adapters of size 64, each at its best of the same number of trials on dev; then adapters of
    the other sizes at the rate and epochs that were best for 64, of which the best size is taken.

    Returns {(task, label): the trials of its best setting} for the labels full, adapters 64 and adapters, and those
    of further settings; and the results of all.
    """
    grids = dict(further or {})
    for task in scope.tasks:
        grids[task, "full"] = rates(scope, "full")
        grids[task, f"adapters {SIZE}"] = rates(scope, "adapter", adapter_size=SIZE)
    chosen, results = yield from sweep_then_seeds(scope, grids)
    grids = {}
    for task in scope.tasks:
        found = chosen[task, f"adapters {SIZE}"][0].train
        setting = {"method": "adapter", "lr": found.lr, "epochs": found.epochs}
        grids[task, "adapters"] = [{**setting, "adapter_size": size} for size in sizes]
    of_best_size, more = yield from sweep_then_seeds(scope, grids)
    return chosen | of_best_size, results | more


def table1(scope: Scope) -> Experiment:
    """GLUE: full fine-tuning, adapters of the best size of 8, 64 and 256, adapters of size 64. Scores on dev."""
    sizes = (8, SIZE) if scope.quick else (8, SIZE, 256)
    chosen, results = yield from full_and_adapters(scope, sizes)
    rows, details = [], []
    for name, label in (
        ("full fine-tuning", "full"),
        (f"adapters ({sizes[0]}-{sizes[-1]})", "adapters"),
        (f"adapters ({SIZE})", f"adapters {SIZE}"),
    ):
        row, shares = {"method": name}, []
        for task in scope.tasks:
            trials = chosen[task, label]
            found = summary(trials, results)
            details.append({"method": name, "task": task, "setting": trials[0].describe(seed=False), **found})
            row[task] = found.get("mean", float("nan"))
            shares.append(found.get("params", 0) / scope.backbone_params)
        row["mean"] = mean(row[task] for task in scope.tasks)
        row["total_params"] = float(len(shares)) if label == "full" else 1 + sum(shares)
        row["trained_percent"] = 100 * mean(shares)
        rows.append(row)
    return Report({"table1": rows, "table1_details": details}, format_rows(rows))


def table2(scope: Scope) -> Experiment:
    """Further tasks: no BERT, full and variable fine-tuning, adapters. Scores on test."""
    ks = range(1, scope.n_layers + 1) if not scope.quick else (1, scope.n_layers // 2, scope.n_layers)
    variable = {(task, "variable"): [{"method": "top_k", "top_k": k} for k in ks] for task in scope.tasks}
    chosen, results = yield from full_and_adapters(scope, (SIZE,) if scope.quick else (8, SIZE), variable)
    rows, details, shares = [], [], {}
    for task in scope.tasks:
        trials = 3 if scope.quick else 30
        task_data = load(scope.trial(task, "head", scope.seeds[0]))
        baseline = no_bert(task_data, trials, scope.seeds[0]) | {"metric": task_data.metrics[0]}
        row = {"task": task, "no BERT": points(baseline, "test")}
        for label in ("full", "variable", "adapters", f"adapters {SIZE}"):
            found = summary(chosen[task, label], results, "test")
            setting = chosen[task, label][0].describe(seed=False)
            on_dev = summary(chosen[task, label], results).get("mean", float("nan"))
            details.append({"method": label, "task": task, "setting": setting, **found, "dev": on_dev})
            row |= {label: found.get("mean", float("nan")), f"{label} sem": found.get("sem", float("nan"))}
            shares.setdefault(label, []).append(found.get("params", 0) / scope.backbone_params)
        rows.append(row)
    last = {"task": "mean"} | {key: mean(row[key] for row in rows) for key in rows[0] if key != "task"}
    percent = {"task": "trained % / task"} | {label: 100 * mean(share) for label, share in shares.items()}
    total = {"task": "total params"} | {label: 1 + sum(share) for label, share in shares.items()}
    total["full"] = float(len(scope.tasks))
    rows += [last, percent, total]
    return Report({"table2": rows, "table2_details": details}, format_rows(rows))


def extensions(scope: Scope) -> Experiment:
    """The variants that the paper tried and set aside (end of section 3.6), beside its own adapter."""
    groups = {}
    for task in scope.tasks:
        for variant, settings in VARIANTS.items():
            options = {f"adapter_{name}": value for name, value in settings.items()}
            groups[task, variant] = scope.seeded(task, "adapter", **options)
    results = yield [trial for trials in groups.values() for trial in trials]
    rows = []
    for (task, variant), trials in groups.items():
        own, paper = summary(trials, results), summary(groups[task, "paper"], results)
        row = {"task": task, "variant": variant, **own}
        if own and paper:
            row["difference"] = own["mean"] - paper["mean"]
        rows.append(row)
    return Report({"extensions": rows}, format_rows(rows))
