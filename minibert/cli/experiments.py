"""The commands baseline and ablate. Each takes the parsed arguments and returns an exit code or None."""

from __future__ import annotations

import json
from pathlib import Path

from minibert import plots
from minibert.cli.inputs import open_rows, open_task, read_task
from minibert.data import limit_train
from minibert.data.rows import text_notes
from minibert.evaluate import format_scores
from minibert.interrupt import compile_kernels
from minibert.lab.ablate import ablated_scores, ablation_metric, ablation_rows, format_heatmap
from minibert.lab.baseline import no_bert
from minibert.storage import write_rows


def baseline(args) -> None:
    """Score the "no BERT" baseline on a task."""
    task = read_task(args)
    if args.train_rows is not None:
        task = limit_train(task, args.train_rows, seed=0)
    if not args.json:
        for note in (*task.notes, *text_notes(task)):
            print(f"note: {note}")
        settings = "1 setting" if args.trials == 1 else f"{args.trials} settings"
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
