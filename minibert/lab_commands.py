"""The commands of the lab: baseline. Each takes the parsed arguments and returns an exit code or None."""

from __future__ import annotations

import json

from minibert.commands import read_task
from minibert.data import limit_train
from minibert.lab.baseline import no_bert
from minibert.scoring import format_scores


def baseline(args) -> None:
    """Score the "no BERT" baseline on a task."""
    task, _ = read_task(args)
    if args.train_rows is not None:
        task = limit_train(task, args.train_rows, seed=0)
    if not args.json:
        for note in task.notes:
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
