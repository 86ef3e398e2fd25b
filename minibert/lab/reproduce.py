"""`minibert reproduce NAME`: a table or figure of the paper, from its trials to the picture.

The experiment says which trials it needs, a sweep runs those that the ledger lacks, and out come NAME.csv, further
tables beside it, and NAME.png.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from minibert.data import FURTHER, load_task
from minibert.errors import InputError, shown
from minibert.lab import figures, plots, stream, tables
from minibert.lab.experiment import Keep, Planned, Report, Scope
from minibert.lab.ledger import Ledger
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
    plots.pyplot()  # missing: reported now, not after hours
    scope = _scope(args, recipe)
    print(f"{args.name} on {', '.join(scope.tasks)}, {len(scope.seeds)} seeds: {_first_line(recipe.run)}")
    if args.dry_run:
        print("all stages together, about, as later ones take what was best in the first:")
        tell_plan(planned(recipe, scope), _ledger(args, scope), args)
        return 0
    failed: set[Trial] = set()
    with _runner(args, scope, failed) as run:
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
    tasks = tuple(args.tasks) if args.tasks else _tasks_at_hand(args.name, recipe, args.data)
    settings |= _train_rows(args.train_rows or {}, tasks)
    out = Path(args.out or Path("results") / (f"{args.name}_quick" if args.quick else args.name))
    return Scope(Path(args.backbone), tasks, args.data, out, quick=args.quick, **settings)


def _train_rows(given: dict[str | None, int], tasks: tuple[str, ...]) -> dict:
    """The settings of --train-rows. Raises InputError if it names a task that is not among those that are run."""
    others = {task: rows for task, rows in given.items() if task is not None}
    for task in others:
        if task not in tasks:
            raise InputError(f"--train-rows names {shown(task)}, which is none of the tasks: {', '.join(tasks)}")
    return ({"train_rows": given[None]} if None in given else {}) | {"train_rows_of": others}


def _tasks_at_hand(name: str, recipe: Recipe, data: str | None) -> tuple[str, ...]:
    """The recipe's tasks that --data holds; without --data the built-in task. Raises InputError if there is none."""
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


def _ledger(args, scope: Scope) -> Path:
    return Path(args.ledger or scope.out / "ledger.jsonl")


def planned(recipe: Recipe, scope: Scope) -> list[Trial]:
    """The trials of all stages, if every trial had the same score."""
    trials, scores = [], defaultdict(float)
    imagined = {"metric": "", "dev": scores, "test": scores, "trained_params": 0}

    def imagine(wanted: list[Trial]) -> dict:
        trials.extend(wanted)
        return dict.fromkeys(wanted, imagined)

    with suppress(Planned):
        _drive(recipe.run(replace(scope, planning=True)), imagine)
    return trials


@contextmanager
def _runner(args, scope: Scope, failed: set[Trial]) -> Iterator[Callable[[list[Trial]], dict]]:
    """A function that runs trials and gives {trial: result} of those that did not fail; the others go to `failed`."""
    with Ledger(_ledger(args, scope)) as ledger, make_executor(args) as executor:

        def run(trials: list[Trial]) -> dict:
            keep = scope.runs if isinstance(trials, Keep) else None
            options = {"retry_failed": args.retry_failed, "keep": keep}
            records = run_trials(trials, executor, ledger, scope.backbone_path, **options)
            done = {t: r["result"] for t, r in zip(trials, records, strict=True) if r["status"] == "done"}
            failed.update(trial for trial in trials if trial not in done)
            return done

        yield run


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
