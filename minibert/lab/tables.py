"""Table 1 (GLUE), table 2 (further tasks) and the variants of section 3.6, as experiments."""

from __future__ import annotations

from statistics import mean

from minibert.adapter import VARIANTS
from minibert.lab.baseline import no_bert
from minibert.lab.experiment import (
    Experiment,
    Report,
    Scope,
    best,
    format_rows,
    points,
    rates,
    summary,
    sweep_then_seeds,
)
from minibert.lab.run import load


def table1(scope: Scope) -> Experiment:
    """GLUE: full fine-tuning, adapters of the best size of 8, 64 and 256, adapters of size 64. Scores on dev."""
    sizes = (8, 64) if scope.quick else (8, 64, 256)
    grids = {}
    for task in scope.tasks:
        grids[task, "full"] = rates(scope, "full")
        for size in sizes:
            grids[task, f"adapter {size}"] = rates(scope, "adapter", adapter_size=size)
    chosen, results = yield from sweep_then_seeds(scope, grids)
    rows, details = [], []
    for label, candidates in (
        ("full fine-tuning", ["full"]),
        (f"adapters ({sizes[0]}-{sizes[-1]})", [f"adapter {size}" for size in sizes]),
        ("adapters (64)", ["adapter 64"]),
    ):
        row, shares = {"method": label}, []
        for task in scope.tasks:
            trials = best([chosen[task, name] for name in candidates], results)
            found = summary(trials, results)
            details.append({"method": label, "task": task, "setting": trials[0].describe(seed=False), **found})
            row[task] = found.get("mean", float("nan"))
            shares.append(found.get("params", 0) / scope.backbone_params)
        is_full = label == "full fine-tuning"
        row["mean"] = mean(row[task] for task in scope.tasks)
        row["total_params"] = float(len(shares)) if is_full else 1 + sum(shares)
        row["trained_percent"] = 100 * mean(shares)
        rows.append(row)
    return Report({"table1": rows, "table1_details": details}, format_rows(rows))


def table2(scope: Scope) -> Experiment:
    """Further tasks: no BERT, full and variable fine-tuning, adapters. Scores on test."""
    ks = range(1, scope.n_layers + 1) if not scope.quick else (1, scope.n_layers // 2, scope.n_layers)
    sizes = (64,) if scope.quick else (2, 8, 64)
    grids = {}
    for task in scope.tasks:
        grids[task, "full"] = rates(scope, "full")
        grids[task, "variable"] = [{"method": "top_k", "top_k": k} for k in ks]
        grids[task, "adapters"] = [setting for size in sizes for setting in rates(scope, "adapter", adapter_size=size)]
    chosen, results = yield from sweep_then_seeds(scope, grids)
    rows, details, shares = [], [], {}
    for task in scope.tasks:
        trials = 3 if scope.quick else 30
        task_data = load(scope.trial(task, "head", scope.seeds[0]))
        baseline = no_bert(task_data, trials, scope.seeds[0]) | {"metric": task_data.metrics[0]}
        row = {"task": task, "no BERT": points(baseline, "test")}
        for label in ("full", "variable", "adapters"):
            found = summary(chosen[task, label], results, "test")
            setting = chosen[task, label][0].describe(seed=False)
            details.append({"method": label, "task": task, "setting": setting, **found})
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
