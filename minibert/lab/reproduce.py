"""`minibert reproduce NAME`: a table or figure of the paper, from its trials to the picture.

The experiment says which trials it needs, a sweep runs those that the ledger lacks, and out come NAME.csv, further
tables beside it, and NAME.png. With --from-ledger nothing is run, and no data is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minibert import plots
from minibert.data import FURTHER, load_task
from minibert.errors import InputError, shown
from minibert.lab import figures, stream, tables
from minibert.lab.experiment import Keep, Measurement, Report, Scope
from minibert.lab.ledger import Ledger, latest, measured, read_ledger
from minibert.lab.sweep import make_executor, run_trials, tell_plan
from minibert.storage import write_rows
from minibert.trial import Trial

GLUE_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")  # all of the paper's but WNLI, as there
QUICK_TASKS = ("mrpc", "trec", "sms_spam")  # small ones, for the curves with many points


@dataclass(frozen=True)
class Recipe:
    """An experiment, and the tasks that it is for."""

    run: Callable
    tasks: tuple[str, ...]


RECIPES = {
    "table1": Recipe(tables.table1, GLUE_TASKS),
    "table2": Recipe(tables.table2, tuple(FURTHER)),
    "figure3": Recipe(figures.figure3, (*GLUE_TASKS, *FURTHER)),
    "figure4": Recipe(figures.figure4, QUICK_TASKS),
    "figure5": Recipe(figures.figure5, ("squad",)),
    "figure6": Recipe(figures.figure6, QUICK_TASKS),
    "extensions": Recipe(tables.extensions, QUICK_TASKS),
    "stream": Recipe(stream.stream, (*QUICK_TASKS, "cf_airline", "cola")),
}


def reproduce(args) -> int:
    """Run an experiment, print what it found, write its tables and its picture. Returns 1 if trials failed, else 0."""
    recipe = RECIPES[args.name]
    plots.check_installed()  # missing: reported now, not after hours
    scope = _scope(args, recipe)
    print(f"{args.name} on {', '.join(scope.tasks)}, {len(scope.seeds)} seeds: {_first_line(recipe.run)}")
    if args.dry_run:
        print("all stages together, about, as later ones take what was best in the first:")
        tell_plan(planned(recipe, scope), _ledger(args), args)
        return 0
    failed: set[Trial] = set()
    with (_recaller if args.from_ledger else _runner)(args, scope, failed) as run:
        report = _drive(recipe.run(scope), run)
    for path in write_report(report, args.name, scope.out):
        print(path)
    print(f"\n{report.text}")
    if failed:
        print(f"{len(failed)} trials failed; their results are missing above (--retry-failed runs them again)")
    return 1 if failed else 0


def _first_line(function: Callable) -> str:
    return " ".join(function.__doc__.split("\n\n")[0].split())


def _scope(args, recipe: Recipe) -> Scope:
    quick = {"seeds": (0,), "epochs": (3,), "rates": 1, "train_rows": 800, "dev_rows": 500} if args.quick else {}
    given = {name: getattr(args, name) for name in ("seeds", "epochs", "rates", "sizes", "top_ks", "dev_rows")}
    settings = quick | {name: value for name, value in given.items() if value is not None}
    for name in ("seeds", "epochs", "sizes", "top_ks"):
        if name in settings:
            settings[name] = tuple(settings[name])
    find_tasks = _tasks_recalled if args.from_ledger else _tasks_at_hand
    tasks = tuple(args.tasks) if args.tasks else find_tasks(args, recipe)
    settings |= _train_rows(args.train_rows or {}, tasks)
    return Scope(
        Path(args.backbone), tasks, args.data, _out(args), quick=args.quick, recalls=args.from_ledger, **settings
    )


def _train_rows(given: dict[str | None, int], tasks: tuple[str, ...]) -> dict:
    """The settings of --train-rows. Raises InputError if it names a task that is not among those that are run."""
    others = {task: rows for task, rows in given.items() if task is not None}
    for task in others:
        if task not in tasks:
            raise InputError(f"--train-rows names {shown(task)}, which is none of the tasks: {', '.join(tasks)}")
    return ({"train_rows": given[None]} if None in given else {}) | {"train_rows_of": others}


def _tasks_recalled(args, recipe: Recipe) -> tuple[str, ...]:
    """The recipe's tasks of which the ledger has trials; else the built-in task."""
    known = {record["trial"]["task"] for record in latest(read_ledger(_ledger(args))).values()}
    return tuple(task for task in recipe.tasks if task in known) or ("opinions",)


def _tasks_at_hand(args, recipe: Recipe) -> tuple[str, ...]:
    """The recipe's tasks that --data holds; without --data the built-in task. Raises InputError if there is none."""
    name, data = args.name, args.data
    if data is None and recipe.tasks != ("squad",):
        return ("opinions",)
    found, why = [], {}
    for task in recipe.tasks:
        try:
            load_task(task, data)
            found.append(task)
        except InputError as error:
            why[task] = error
    if not found:
        raise InputError(f"{name}: {data or 'no --data'}: none of its tasks is there. {next(iter(why.values()))}")
    if why:
        print(f"note: not in {data} and left out: {', '.join(why)}")
    return tuple(found)


def _out(args) -> Path:
    return Path(args.out or Path("results") / (f"{args.name}_quick" if args.quick else args.name))


def _ledger(args) -> Path:
    return Path(args.ledger or _out(args) / "ledger.jsonl")


class _AllTrialsAreKnown(Exception):
    """What is left of an experiment is measurements."""


def planned(recipe: Recipe, scope: Scope) -> list[Trial]:
    """The trials of all stages, if every trial had the same score."""
    trials, scores = [], defaultdict(float)
    imagined = {"metric": "", "dev": scores, "test": scores, "trained_params": 0}

    def imagine(wanted: list[Trial] | Measurement) -> dict:
        if isinstance(wanted, Measurement):
            raise _AllTrialsAreKnown
        trials.extend(wanted)
        return dict.fromkeys(wanted, imagined)

    with suppress(_AllTrialsAreKnown):
        _drive(recipe.run(scope), imagine)
    return trials


Run = Callable[["list[Trial] | Measurement"], Any]  # trials -> {trial: result} of those that did not fail; or rows


@contextmanager
def _runner(args, scope: Scope, failed: set[Trial]) -> Iterator[Run]:
    """Runs what the ledger does not have. Trials that failed go to `failed`."""
    with Ledger(_ledger(args)) as ledger, make_executor(args) as executor:
        found: dict[Trial, dict] = {}

        def run(wanted: list[Trial] | Measurement) -> Any:
            if isinstance(wanted, Measurement):
                return _measure(wanted, [found[trial]["id"] for trial in wanted.trials], ledger)
            keep = scope.runs if isinstance(wanted, Keep) else None
            options = {"retry_failed": args.retry_failed, "keep": keep}
            records = run_trials(wanted, executor, ledger, scope.backbone_path, **options)
            found.update(zip(wanted, records, strict=True))
            return _done(wanted, found, failed)

        yield run


def _measure(wanted: Measurement, trials: list[str], ledger: Ledger) -> list[dict]:
    """The rows of the ledger, or, if it has none, of a measurement now, which is written there."""
    rows = measured(ledger.records, wanted.what, trials)
    if rows is None:
        rows = json.loads(json.dumps(wanted.rows()))
        name = hashlib.sha256(json.dumps([wanted.what, trials]).encode()).hexdigest()[:12]
        ledger.append({"id": name, "status": "measured", "what": wanted.what, "trials": trials, "rows": rows})
    return rows


@contextmanager
def _recaller(args, scope: Scope, failed: set[Trial]) -> Iterator[Run]:
    """Runs nothing: gives what the ledger has, whatever folder the data was in. Raises InputError if it lacks some."""
    path, backbone = _ledger(args), scope.backbone.fingerprint
    records, found = read_ledger(path), {}
    for record in latest(records).values():
        if record.get("result", {}).get("backbone", backbone) == backbone:
            found[_anywhere(Trial.from_dict(record["trial"]))] = record

    def recall(wanted: list[Trial] | Measurement) -> Any:
        if isinstance(wanted, Measurement):
            rows = measured(records, wanted.what, [found[_anywhere(trial)]["id"] for trial in wanted.trials])
            if rows is None:
                raise InputError(f"{path} lacks a measurement ({wanted.what}): run this without --from-ledger")
            return rows
        missing = [trial for trial in dict.fromkeys(wanted) if _anywhere(trial) not in found]
        if missing:
            count = f"{len(missing)} of {len(set(wanted))} trials, such as {missing[0].describe()}"
            raise InputError(f"{path} lacks {count}: run this without --from-ledger, or give the options of its sweep")
        return _done(wanted, {trial: found[_anywhere(trial)] for trial in wanted}, failed)

    yield recall


def _anywhere(trial: Trial) -> Trial:
    return replace(trial, data=None)


def _done(trials: list[Trial], records: dict[Trial, dict], failed: set[Trial]) -> dict[Trial, dict]:
    done = {trial: records[trial]["result"] for trial in trials if records[trial]["status"] == "done"}
    failed.update(trial for trial in trials if trial not in done)
    return done


def _drive(experiment, run) -> Report:
    """Give an experiment the results of the trials that it yields, until it reports."""
    results = None
    while True:
        try:
            trials = experiment.send(results)
        except StopIteration as end:
            return end.value
        results = run(trials)


def write_report(report: Report, name: str, out: Path) -> list[Path]:
    """Write every table as CSV, and the picture. Returns the files."""
    written = []
    out.mkdir(parents=True, exist_ok=True)
    for table, rows in report.tables.items():
        written.append(out / f"{table}.csv")
        write_rows(written[-1], rows)
    if report.draw is not None:
        written.append(out / f"{name}.png")
        report.draw(written[-1])
    return written
