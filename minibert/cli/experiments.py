"""The commands baseline, ablate and sweep. Each takes the parsed arguments and returns an exit code or None."""

from __future__ import annotations

import json
from pathlib import Path

from minibert import plots
from minibert.cli.arguments import build_parser
from minibert.cli.inputs import open_rows, open_task, read_task
from minibert.data import limit_train
from minibert.data.rows import text_notes
from minibert.errors import InputError, counted, flag, need
from minibert.evaluate import format_scores
from minibert.interrupt import compile_kernels
from minibert.lab.ablate import ablated_scores, ablation_metric, ablation_rows, format_heatmap
from minibert.lab.baseline import no_bert
from minibert.lab.differences import differences, format_differences, write_differences
from minibert.lab.executors import make_executor
from minibert.lab.ledger import Ledger, latest, read_ledger
from minibert.lab.plan import make_plan
from minibert.lab.repeat import draw, format_repeated, repeat
from minibert.lab.summary import summarize, write_summary
from minibert.lab.sweep import run_trials, tell_plan
from minibert.storage import write_rows
from minibert.trial import TRIAL_OPTIONS, grid

# What `sweep` reads if trials are not those of a grid; and options whose flag is not spelt as their name.
SUMMARY_OPTIONS = {"ledger", "summary", "all", "csv", "differences"}
REPEAT_OPTIONS = {"ledger", "repeat", "csv", "backbone", "data", "task", "processes", "dask", "threads", "dry_run"}
PLURALS = {"task": "--tasks", "seed": "--seeds"}


def baseline(args) -> None:
    """Score the "no BERT" baseline on a task."""
    task = read_task(args)
    if args.train_rows is not None:
        task = limit_train(task, args.train_rows, seed=0)
    if not args.json:
        for note in (*task.notes, *text_notes(task)):
            print(f"note: {note}")
        settings = counted(args.trials, "setting")
        print(f"task {task.name} ({len(task.train)} train), no BERT, {settings}, seed {args.seed}", flush=True)
    result = no_bert(task, args.trials, args.seed)
    if args.json:
        print(json.dumps(result))
        return
    print("best setting: " + ", ".join(f"{name} {value}" for name, value in result["setting"].items()))
    for split in ("dev", "test"):
        if result[split]:
            print(f"{split}: {format_scores(result[split])}")
    print(f"{result['features']:,} n-grams, {result['seconds']:.0f} s")


def ablate(args) -> None:
    """Print, write and draw how a task's score falls without the adapters of each span of layers."""
    model, record = open_task(args)
    rows = open_rows(args, model, record)
    scored = rows.splits[0]
    if args.plot is not None:
        plots.check_installed()  # missing: reported now
    compile_kernels("predict")
    metric = ablation_metric(rows.metrics)
    full, scores = ablated_scores(model, scored.split, metric)
    where = f"{rows.task} {scored.name} ({scored.split.n_examples})"
    print(f"{where}: {metric} {full:.4f} with all adapters; its change, times 100, without those of layers")
    print(format_heatmap(full, scores))
    found = ablation_rows(rows.task, metric, full, scores)
    if args.csv is not None:
        write_rows(Path(args.csv), found)
    if args.plot is not None:
        plots.heatmap(found, args.plot, f"change of {metric}, times 100")


def sweep(args) -> int:
    """Run a grid of trials, or only print what a ledger holds, or run some of its trials again."""
    if args.repeat is not None:
        return _repeat(args)
    if args.summary:
        _refuse_others(args, SUMMARY_OPTIONS, "--summary is of all that the ledger has")
        return _summary(args)
    if args.differences is not None:
        raise InputError("--differences is for --summary, which compares what the ledger has")
    missing = [f"--{name}" for name, value in (("backbone", args.backbone), ("tasks", args.task)) if value is None]
    if missing:
        raise InputError(f"a sweep needs {' and '.join(missing)}; only --summary needs neither")
    trials = grid(**{name: getattr(args, name) for name in TRIAL_OPTIONS})
    if args.dry_run:
        tell_plan(trials, args.ledger, args)
        return 0
    with Ledger(args.ledger) as ledger, make_executor(args) as executor:
        options = {"retry_failed": args.retry_failed, "keep": args.keep}
        records = run_trials(trials, executor, ledger, args.backbone, **options)
    _print_settings(list({record["id"]: record for record in records}.values()), args)
    return 1 if any(record["status"] == "failed" for record in records) else 0


def _summary(args) -> int:
    """Print the best settings that a ledger has, or all, and adapters against full fine-tuning."""
    records = read_ledger(args.ledger)
    _print_settings(list(latest(records).values()), args)
    rows = differences(records)
    if rows:
        print("adapters against full fine-tuning, each at its best on dev; in brackets the standard error over seeds")
        print(format_differences(rows))
    if args.differences is not None:
        write_differences(rows, args.differences)
        print(args.differences)
    return 0


def _print_settings(records: list[dict], args) -> None:
    print(summarize(records, args.all))
    if args.csv is not None:
        write_summary(records, args.csv, args.all)
        print(args.csv)


def _refuse_others(args, used: set[str], why: str) -> None:
    """Raise InputError for options that are given and would do nothing."""
    usual = vars(build_parser().parse_args(["sweep", "--ledger", args.ledger]))
    others = [name for name, value in vars(args).items() if name not in used and value != usual.get(name)]
    if others:
        given = ", ".join(PLURALS.get(name, flag(name)) for name in others)
        raise InputError(f"{why}: leave out {given}")


def _repeat(args) -> int:
    """Run trials of a ledger again, and compare. 1 if one differs by more than its processor and versions explain."""
    _refuse_others(args, REPEAT_OPTIONS, "--repeat draws from the trials that the ledger has, or those of --tasks")
    need(args.backbone is not None, "--repeat needs the --backbone that the trials were run on")
    records = read_ledger(args.ledger)
    drawn = draw(records, args.repeat, args.backbone, args.data, args.task)
    with make_executor(args) as executor:
        if args.dry_run:
            print("\n".join(trial.describe() for trial in drawn))
            print(make_plan(list(drawn), args.backbone, []).predict(executor, records, args.backbone))
            return 0
        rows = repeat(drawn, executor, args.backbone)
    print(format_repeated(rows))
    if args.csv is not None:
        write_rows(Path(args.csv), rows)
        print(args.csv)
    return 0 if all(row["verdict"] in ("same", "near") for row in rows) else 1
