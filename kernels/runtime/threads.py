"""On how many threads the next kernel runs: all, or one if its work is small.

To hand work to a second thread and to wait for it costs some microseconds where a core is free, and milliseconds where
another program holds it: then a thread that waits for a core, and one that spins meanwhile, cost more than they give.
So each operation tells roughly how long one thread would take (`share`), and below SMALL one thread does it. Bits do
not depend on it: no kernel's result depends on the number of threads.

Numba knows the number of threads, but answers behind a lock in 8 us. Here it is remembered, for each Python thread.
"""

from __future__ import annotations

import threading

import numba

SMALL = 50_000  # ns on one thread; below it, a second thread gains little on an idle machine, and loses on a busy one


class _State(threading.local):
    """Of each Python thread: the number that the user chose, and the one that Numba was told last."""

    def __init__(self):
        self.chosen = self.now = numba.config.NUMBA_NUM_THREADS


_state = _State()


def use_threads(n: int) -> None:
    """From now on kernels run on at most n threads."""
    numba.set_num_threads(n)
    _state.chosen = _state.now = n


def most_threads() -> int:
    """On how many threads kernels run at most: what `use_threads` was given last, or all."""
    return _state.chosen


def n_threads() -> int:
    """How many threads the next kernel runs on."""
    return _state.now


def share(ns: float) -> int:
    """Set on how many threads the next kernels run, and return it. ns: what one thread would take, in nanoseconds."""
    wanted = _state.chosen if ns >= SMALL else 1
    if wanted != _state.now:
        numba.set_num_threads(wanted)
        _state.now = wanted
    return wanted
