"""How much slower the program gets while another one holds a core, as in a classroom where a browser is open.

Threads that wait for a core which is not theirs cost more than they give. Three pieces of work are timed, idle and busy
in turns: the prediction of one text, the gradient check of a tiny model, and training steps of the workload natural.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import NamedTuple

import numpy as np

from kernels.runtime.threads import REST
from minibert.bench.workloads import open_workload, training_step
from minibert.gradcheck import check_gradients, tiny_batch, tiny_model
from minibert.model import Model
from minibert.text import pack

SETTLE = 0.3  # seconds after the other program has started, before anything is timed
TOKENS, BATCHES = 12, 8  # of the one text; batches of the workload that are one call

# A program that computes and never waits. It ends with the one that started it, and after ten minutes in any case.
OTHER_PROGRAM = """
import os, sys, time
end = time.monotonic() + 600
while os.getppid() == int(sys.argv[1]) and time.monotonic() < end:
    for i in range(1_000_000):
        pass
"""


class Work(NamedTuple):
    """A piece of work, and how many times its idle time it may take when busy."""

    call: Callable[[], object]
    most: float


@contextmanager
def other_programs(cores: int) -> Iterator[None]:
    """While this is open, that many processes of plain Python compute without a pause."""
    running = [Popen([sys.executable, "-c", OTHER_PROGRAM, str(os.getpid())]) for _ in range(cores)]
    try:
        time.sleep(SETTLE)
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
        time.sleep(SETTLE + REST)  # until the kernels try all threads again


def busy_rows(backbone, cores: int, seconds: float, turns: int) -> Iterator[dict]:
    """A row for each piece of work: milliseconds of a call, idle and busy (medians over the turns), and their ratio."""
    for name, (call, most) in _works(backbone).items():
        call()  # not counted: it loads kernels and starts the threads
        idle, busy = [], []
        for _ in range(turns):
            idle.append(_median_seconds(call, seconds))
            with other_programs(cores):
                busy.append(_median_seconds(call, seconds))
        ratio = statistics.median(b / i for b, i in zip(busy, idle, strict=True))
        times = {"idle_ms": 1e3 * statistics.median(idle), "busy_ms": 1e3 * statistics.median(busy)}
        yield {"bench": "busy", "work": name, "cores": cores, **times, "ratio": ratio, "most": most}


def _works(backbone) -> dict[str, Work]:
    workload, model = open_workload("natural", backbone)
    step = training_step(model)
    batches = workload.batches[:BATCHES]
    one_text = _one_text(model)
    tiny = tiny_model("adapter", "classify")
    checked = tiny_batch(tiny.config, "classify")
    return {
        "prediction of one text": Work(lambda: model.predict(one_text), 3.0),
        "gradient check of a tiny model": Work(lambda: check_gradients(tiny, *checked, 0), 2.0),
        "training steps, natural": Work(lambda: [step(*batch) for batch in batches], 1 / 0.45),
    }


def _one_text(model: Model):
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, TOKENS).tolist()
    return pack([ids], [[0] * TOKENS])


def _median_seconds(call: Callable, seconds: float) -> float:
    """Of all calls that fit into the time, at least one. The median: what another program delays is to be seen."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


HEADER = f"{'work':<34}{'idle ms':>10}{'busy ms':>10}{'ratio':>8}{'at most':>9}"


def busy_line(row: dict) -> str:
    """A row for people."""
    times = f"{row['idle_ms']:>10.2f}{row['busy_ms']:>10.2f}"
    return f"{row['work']:<34}{times}{row['ratio']:>8.2f}{row['most']:>9.2f}"
