"""`minibert reproduce NAME`: a table or figure of the paper, from its trials to the picture.

The experiment says which trials it needs, a sweep runs those that the ledger lacks, and out come NAME.csv, further
tables beside it, and NAME.png. With --from-ledger nothing is run, and neither data nor weights are needed.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert import plots
from minibert.data import FURTHER, load_task
from minibert.data.glue import GLUE
from minibert.errors import InputError, counted, flag, list_some, shown
from minibert.lab import figures, stream, tables
from minibert.lab.executors import make_executor
from minibert.lab.experiment import Keep, Measurement, Report, Scope
from minibert.lab.ledger import Ledger, measured
from minibert.lab.recall import Recall
from minibert.lab.sweep import run_trials, tell_plan
from minibert.run import open_backbone
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
    if args.from_ledger and (args.dry_run or args.retry_failed):
        raise InputError("--from-ledger runs nothing: leave out --dry-run and --retry-failed")
    if not args.from_ledger and not args.backbone:
        raise InputError("reproduce needs a --backbone; --from-ledger alone can do without")
    recipe = RECIPES[args.name]
    plots.check_installed()  # missing: reported now, not after hours
    recall = Recall(_ledger(args), args.backbone and open_backbone(args.backbone)) if args.from_ledger else None
    scope = _scope(args, recipe, recall)
    seeds = counted(len(scope.seeds), "seed")
    print(f"{args.name} on {', '.join(scope.tasks)}, {seeds}: {_first_line(recipe.run)}")
    if args.dry_run:
        print("all stages together, about, as later ones take what was best in the first:")
        tell_plan(planned(recipe, scope), _ledger(args), args)
        return 0
    failed: set[Trial] = set()
    with _recaller(recall, scope, failed) if recall else _runner(args, scope, failed) as run:
        report = _drive(recipe.run(scope), run)
    for path in write_report(report, args.name, scope.out):
        print(path)
    print(f"\n{report.text}")
    if failed:
        again = "" if args.from_ledger else " (--retry-failed runs them again)"
        print(f"{counted(len(failed), 'trial')} failed, and missing above{again}")
    return 1 if failed else 0


def _first_line(function: Callable) -> str:
    return " ".join(function.__doc__.split("\n\n")[0].split())


def _scope(args, recipe: Recipe, recall: Recall | None) -> Scope:
    quick = {"seeds": (0,), "epochs": (3,), "rates": 1, "train_rows": 800, "dev_rows": 500} if args.quick else {}
    given = {name: getattr(args, name) for name in ("seeds", "epochs", "rates", "sizes", "top_ks", "dev_rows")}
    settings = quick | {name: value for name, value in given.items() if value is not None}
    for name in ("seeds", "epochs", "sizes", "top_ks"):
        if name in settings:
            settings[name] = tuple(settings[name])
            if len(set(settings[name])) < len(settings[name]):
                raise InputError(f"{flag(name)} names a value twice: {', '.join(map(str, settings[name]))}")
    if args.tasks:
        tasks = tuple(args.tasks)
    else:
        tasks = _tasks_recalled(args.name, recipe, recall) if recall else _tasks_at_hand(args, recipe)
    settings |= _train_rows(args.train_rows or {}, tasks)
    settings |= {"quick": args.quick, "recalls": args.from_ledger}
    path = args.backbone and Path(args.backbone)
    config = recall.config if recall else open_backbone(path).config
    scope = Scope(path, config, tasks, args.data, _out(args), **settings)
    for k in scope.top_ks or ():
        if not 1 <= k <= scope.n_layers:
            raise InputError(f"--top-ks names {k}, and the backbone has {scope.n_layers} layers")
    return scope


def _train_rows(given: dict[str | None, int], tasks: tuple[str, ...]) -> dict:
    """The settings of --train-rows. Raises InputError if it names a task that is not among those that are run."""
    others = {task: rows for task, rows in given.items() if task is not None}
    for task in others:
        if task not in tasks:
            raise InputError(f"--train-rows names {shown(task)}, which is none of the tasks: {', '.join(tasks)}")
    return ({"train_rows": given[None]} if None in given else {}) | {"train_rows_of": others}


def _tasks_recalled(name: str, recipe: Recipe, recall: Recall) -> tuple[str, ...]:
    """The recipe's tasks of which the ledger has trials, or the built-in task. Raises InputError if it has neither."""
    found = tuple(task for task in recipe.tasks if task in recall.tasks)
    if not found and ("opinions" not in recall.tasks or recipe.tasks == ("squad",)):
        raise InputError(f"{name}: {recall.path} has no trials of its tasks: {', '.join(recipe.tasks)}")
    return found or ("opinions",)


def _tasks_at_hand(args, recipe: Recipe) -> tuple[str, ...]:
    """The recipe's tasks that --data holds; without --data the built-in task. Raises InputError if there is none, or
    one is damaged: what is in its own folder cannot be read."""
    name, data = args.name, args.data
    if data is None and recipe.tasks != ("squad",):
        return ("opinions",)
    found, why = [], {}
    for task in recipe.tasks:
        try:
            load_task(task, data)
            found.append(task)
        except InputError as error:
            own = GLUE[task].folder if task in GLUE else task
            if data is not None and (Path(data) / own).is_dir():
                raise InputError(f"{error} (To do without task {task}, name the others: --tasks)") from None
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
            """Trials by a sweep, a measurement at once."""
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
    if rows is not None:
        print(f"{wanted.what}: as measured before, from the ledger")
    else:
        on = list_some(trial.describe() for trial in wanted.trials)
        print(f"{wanted.what}: measured now, on {on}", flush=True)  # it may take minutes
        rows = json.loads(json.dumps(wanted.rows()))
        name = hashlib.sha256(json.dumps([wanted.what, trials]).encode()).hexdigest()[:12]
        ledger.append({"id": name, "status": "measured", "what": wanted.what, "trials": trials, "rows": rows})
    return rows


@contextmanager
def _recaller(recall: Recall, scope: Scope, failed: set[Trial]) -> Iterator[Run]:
    """Runs nothing: gives what the ledger has. Raises InputError if it lacks something."""
    if unknown := [task for task in scope.tasks if task not in recall.tasks]:
        raise InputError(
            f"{recall.path} has no trials of {', '.join(unknown)}; it has {list_some(sorted(recall.tasks))}"
        )

    def run(wanted: list[Trial] | Measurement) -> Any:
        """Either from the ledger."""
        if isinstance(wanted, Measurement):
            return recall.rows(wanted)
        return _done(wanted, recall.records(wanted), failed)

    yield run


def _done(trials: list[Trial], records: dict[Trial, dict], failed: set[Trial]) -> dict[Trial, dict]:
    done = {trial: records[trial]["result"] for trial in trials if records[trial]["status"] == "done"}
    failed.update(trial for trial in trials if trial not in done)
    return done


def _drive(experiment, run) -> Report:
    """Give an experiment what it yields: the results of trials, or rows. Until it reports."""
    results = None
    while True:
        try:
            wanted = experiment.send(results)
        except StopIteration as end:
            return end.value
        results = run(wanted)


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
