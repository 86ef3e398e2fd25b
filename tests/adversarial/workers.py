"""Processes that read many files each. One that crashes, hangs or takes too much memory is counted and replaced."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from random import Random

from .case import Result, judge
from .formats import FORMATS

HANG_SECONDS = 10.0  # for one file
START_SECONDS = 120.0  # for a process to start, and to make its first files
SHARE = 1000  # files that a worker is given at a time
Job = tuple[str, int, int, int]  # format, seed, the first number and the end of the numbers
ADDRESS_SPACE = 6 << 30  # bytes: a file that asks for more is counted as "memory", and the machine goes on


def run(
    jobs: Iterable[Job], processes: int, formats: dict[str, Callable] = FORMATS
) -> Iterator[tuple[str, int, Result]]:
    """Judge the files of each job: yields (format, number, result) as they come."""
    waiting = list(jobs)[::-1]
    workers: list[_Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                job = waiting.pop()
                workers.append(_Worker(job, formats[job[0]]))
            ready = wait([worker.pipe for worker in workers], timeout=0.5)
            for worker in list(workers):
                results, finished = worker.results(worker.pipe in ready)
                for number, result in results:
                    yield worker.format, number, result
                if finished:
                    workers.remove(worker)
                    if worker.rest():
                        waiting.append(worker.rest())
    finally:
        for worker in workers:
            worker.end()


def jobs_of(formats: Iterable[str], seed: int, files: int, share: int = SHARE) -> list[Job]:
    """The numbers 0 to files of each format in shares, format by format."""
    starts = range(0, files, share)
    return [(name, seed, start, min(start + share, files)) for name in formats for start in starts]


class _Worker:
    """One process, which judges one share."""

    def __init__(self, job: Job, prepare: Callable):
        self.format, self.seed, self.next, self.stop = job
        context = multiprocessing.get_context("spawn")
        self.folder = tempfile.mkdtemp(prefix="adversarial-")
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(theirs, self.folder, prepare, *job), daemon=True)
        self.process.start()
        theirs.close()
        self.deadline = time.monotonic() + START_SECONDS
        self.reading = False  # or making a file

    def results(self, ready: bool) -> tuple[list[tuple[int, Result]], bool]:
        """What the process sent, and whether it has ended."""
        found = []
        while ready and self.pipe.poll():
            try:
                message = self.pipe.recv()
            except EOFError:
                self.process.join()
                if self.next < self.stop and not (found and found[-1][1].outcome == "memory"):
                    found.append(self._lost("crash", _death(self.process.exitcode)))
                self.end()
                return found, True
            self.deadline = time.monotonic() + HANG_SECONDS
            self.reading = message is None
            if message is not None:
                found.append((self.next, message))
                self.next += 1
                if message.outcome == "memory":  # the peak of a process would hide the next
                    self.end()
                    return found, True
        if not found and time.monotonic() > self.deadline:
            self.end()
            return [self._lost("hang", f"more than {HANG_SECONDS:g} s")], True
        return found, False

    def _lost(self, outcome: str, how: str) -> tuple[int, Result]:
        self.next += 1
        return self.next - 1, Result(
            outcome, how + ("" if self.reading else ", and not in the program: in these tests")
        )

    def rest(self) -> Job | None:
        """What the process did not come to."""
        return (self.format, self.seed, self.next, self.stop) if self.next < self.stop else None

    def end(self) -> None:
        """End the process and remove its files."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _death(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _work(pipe, folder: str, prepare: Callable, name: str, seed: int, start: int, stop: int) -> None:
    _limit()
    make = prepare()
    for i in range(5):  # what the first readings import and keep is not counted as memory of a file
        judge(make(Random(i), _fresh(Path(folder, name)), mutate=False))
    for number in range(start, stop):
        case = make(generator(name, seed, number), _fresh(Path(folder, name)))
        pipe.send(None)  # what comes now is reading
        pipe.send(judge(case))
    pipe.close()


def generator(name: str, seed: int, number: int) -> Random:
    """The random numbers that one file is made from."""
    return Random(f"{name} {seed} {number}")


def _fresh(folder: Path) -> Path:
    """An empty folder in the place of what was there."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def _limit() -> None:
    """Limit memory where the system can, and keep the last words of crashing libraries from the table."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process lives)
    os.dup2(sys.stderr.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
