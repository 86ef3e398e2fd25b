"""Sweeps: a list of trials, run on whatever runs them, each recorded in the ledger once.

    with Ledger("results/table1.jsonl") as ledger, InProcess() as executor:
        records = run_trials(trials, executor, ledger, "minilm-l6.h5")

`records` are those of the ledger (see ledger.py), in the order of the trials. Called again after Ctrl-C or a crash the
same lines run what is still missing, and nothing twice.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from datetime import datetime, timezone
from pathlib import Path

from tqdm import tqdm

from minibert.errors import InputError
from minibert.evaluate import format_scores
from minibert.interrupt import CtrlC, compile_kernels
from minibert.lab.executors import InProcess, make_executor
from minibert.lab.ledger import Ledger, latest, read_ledger
from minibert.lab.plan import Job, format_seconds, make_plan
from minibert.run import run_trial
from minibert.storage import cannot_be_written
from minibert.trial import Trial

RETRIES = 2  # how often a trial is run again whose worker died


def run_trials(
    trials: list[Trial],
    executor: Executor,
    ledger: Ledger,
    backbone_path,
    *,
    retry_failed: bool = False,
    keep=None,
    quiet: bool = False,
    run: Callable[[Trial, str, str | None], dict] = run_trial,
) -> list[dict]:
    """Run the trials that the ledger does not have, and return the records of all, in their order.

    executor: one of executors.py, or any other. retry_failed: run those again that failed before. keep: a folder for
    the run folders, each called by its trial's id; None: nothing but the ledger is kept. run: what runs a trial
    (trial, path of the backbone, folder or None) and returns its result, a top-level function.

    A trial that raises is recorded as failed, and so is one whose worker died three times; the others go on.
    Raises InputError before any work if a task, the backbone or `keep` cannot be used, and if the workers cannot run
    trials at all; KeyboardInterrupt after Ctrl-C. Then the ledger has what was finished.
    """
    plan = make_plan(trials, backbone_path, ledger.records, retry_failed)
    if keep is not None:  # now: every trial would fail by it, and be recorded so
        try:
            Path(keep).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_written(keep, error) from None
    say = (lambda line: None) if quiet else (lambda line: print(line, flush=True))
    say(plan.describe())
    if plan.jobs:
        compile_kernels()
        if run is run_trial:
            say(plan.predict(executor, ledger.records, backbone_path))
        _Sweep(plan.jobs, executor, ledger, str(backbone_path), keep, run, quiet).go()
    found = latest(ledger.records)
    return [found[name] for name in plan.ids]


def attempt(run: Callable, trial: Trial, backbone_path: str, folder: str | None) -> dict:
    """What a worker does: run the trial, and report how it went. Exceptions are reported as text, which any
    process can read.

    So an exception that a future raises is never the trial's own: it is about the worker.
    """
    try:
        return {"status": "done", "result": run(trial, backbone_path, folder)}
    except Exception as error:
        return {"status": "failed", "error": f"{type(error).__name__}: {error}"}


class _Sweep:
    """The jobs that wait and those that run."""

    def __init__(self, jobs: list[Job], executor, ledger: Ledger, backbone_path: str, keep, run, quiet: bool):
        self.executor, self.ledger, self.backbone_path, self.keep, self.run = executor, ledger, backbone_path, keep, run
        self.waiting, self.running = deque(jobs), {}
        self.progress = _Progress(len(jobs), quiet)

    def go(self) -> None:
        """Run everything. Whatever ends it early, nothing more is handed over."""
        try:
            with self.progress:
                while self.waiting or self.running:
                    self._hand_over()
                    done, _ = wait(self.running, timeout=1, return_when=FIRST_COMPLETED)
                    with CtrlC():  # comes after the records: neither the ledger nor the lines are cut in two
                        for future in done:
                            self._finish(self.running.pop(future), future)
                        self.progress.show(self.waiting, self.running.values())
        except KeyboardInterrupt:
            done, total = self.progress.done, self.progress.total
            print(f"interrupted: {done} of {total} trials were run; the same command goes on", file=sys.stderr)
            raise
        finally:
            for future in self.running:
                future.cancel()

    def _hand_over(self) -> None:
        """Give the executor as many jobs as it runs together; all of them to one without such a number."""
        at_once = self._at_once()
        while self.waiting and len(self.running) < at_once:
            job = self.waiting.popleft()
            with CtrlC():
                self.progress.show(self.waiting, [*self.running.values(), job])
            folder = None if self.keep is None else os.path.abspath(Path(self.keep) / job.id)
            arguments = self.run, job.trial.located(), os.path.abspath(self.backbone_path), folder
            self.running[self.executor.submit(attempt, *arguments)] = job

    def _at_once(self) -> float:
        try:
            return getattr(self.executor, "at_once", float("inf"))
        except OSError as error:
            raise InputError(f"the cluster is gone ({error}); the same command goes on once it is back") from None

    def _finish(self, job: Job, future: Future) -> None:
        """Record how a job went; or let it wait again if its worker died."""
        if future.cancelled():
            raise InputError("the cluster gave up a trial or is gone; the same command goes on once it is back")
        error = future.exception()
        if error is None:
            self._record(job, future.result())
        elif isinstance(error, getattr(self.executor, "deaths", InProcess.deaths)):
            # Dask's scheduler has tried on its own before it reports: on allowed_failures workers and on one more.
            job.deaths += 1 + getattr(error, "allowed_failures", 0)
            if job.deaths > RETRIES:
                self._record(job, {"status": "failed", "error": f"its worker died {job.deaths} times: {error}"})
            else:
                self.progress.say(f"a worker died; {job.trial.describe()} is run again")
                self.waiting.append(job)
        elif isinstance(error, Exception):
            raise InputError(f"the workers cannot run trials: {error!r}. Is minibert installed there?") from error
        else:
            raise error  # a worker's KeyboardInterrupt

    def _record(self, job: Job, outcome: dict) -> None:
        found = outcome.get("result", {}).get("id", job.id)
        if found != job.id:  # its name is made of what the worker read
            outcome = {"status": "failed", "error": "the worker's data or backbone are not the ones that are here"}
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = {"id": job.id, "status": outcome["status"], "time": now, "trial": job.trial.to_dict()}
        self.ledger.append({**record, "deaths": job.deaths, "work": job.work, **outcome})
        self.progress.add(job, outcome)


class _Progress:
    """Trials done, running, failed, and the time left; a line for every trial."""

    def __init__(self, total: int, quiet: bool):
        self.total, self.quiet, self.done, self.failed = total, quiet, 0, 0
        self.predicted, self.start = 0.0, time.perf_counter()

    def __enter__(self) -> _Progress:
        hidden = self.quiet or not sys.stderr.isatty()
        form = "{n_fmt}/{total_fmt} trials |{bar}| {desc}"
        self.bar = tqdm(total=self.total, bar_format=form, disable=hidden, leave=False)
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def add(self, job: Job, outcome: dict) -> None:
        """Count a trial that is done or failed."""
        self.done += 1
        self.failed += outcome["status"] == "failed"
        self.predicted += job.seconds or 0
        result = outcome.get("result", {})
        seconds = format_seconds(result.get("wall_seconds", 0.0))
        what = outcome.get("error") or f"dev {format_scores(result.get('dev', {}))}, {seconds}"
        self.say(f"{self.done}/{self.total} {job.trial.describe()}: {what}")
        self.bar.update()

    def say(self, line: str) -> None:
        """Print a line beside the bar."""
        if not self.quiet:
            tqdm.write(line)
            sys.stdout.flush()

    def show(self, waiting, running) -> None:
        """Bring the bar up to date."""
        left = self._left([*waiting, *running], len(running))
        self.bar.set_description_str(f"{len(running)} running, {self.failed} failed, {left}")

    def _left(self, jobs: list[Job], at_once: int) -> str:
        """By what was predicted, corrected by how the prediction fared so far; else by the mean of what is done."""
        passed, predicted = time.perf_counter() - self.start, sum(job.seconds or 0 for job in jobs)
        if self.predicted and predicted:
            return f"about {format_seconds(passed * predicted / self.predicted)} left"
        if self.done:
            return f"about {format_seconds(passed * len(jobs) / self.done)} left"
        return f"{format_seconds(predicted / max(1, at_once))} predicted" if predicted else "time left not known yet"


def tell_plan(trials: list[Trial], ledger, args) -> None:
    """Print how many trials there are, and how long those will take that the ledger lacks."""
    records = read_ledger(ledger) if Path(ledger).exists() else []
    plan = make_plan(trials, args.backbone, records, args.retry_failed)
    print(plan.describe())
    if plan.jobs:
        with make_executor(args) as executor:
            print(plan.predict(executor, records, args.backbone))
