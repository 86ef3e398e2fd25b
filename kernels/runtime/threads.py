"""How many threads the next kernel runs on: all, or one if its work is small.

Handing work to a second thread and waiting for it costs some microseconds if a core is free, and milliseconds if
another program occupies it: then a thread that waits for a core, and another that spins meanwhile, cost more time than
they save. So each operation estimates how long one thread would take (`share`), and below SMALL it runs on one thread.
The bits of a result do not depend on it, since no kernel's result depends on the number of threads.

Numba knows the number of threads, but takes 8 us to return it, behind a lock. Here it is remembered, for each Python
thread.
"""

from __future__ import annotations

import threading

import numba

# ns on one thread. To share work out costs 2 to 3 us on an idle machine: below this a second thread gains nothing.
SMALL = 15_000


class _State(threading.local):
    """For each Python thread: the number that the user chose, and the one that was last set in Numba."""

    def __init__(self):
        self.chosen = self.now = numba.config.NUMBA_NUM_THREADS


_state = _State()


def use_threads(n: int) -> None:
    """From now on kernels run on at most n threads."""
    numba.set_num_threads(n)
    _state.chosen = _state.now = n


def most_threads() -> int:
    """How many threads kernels run on at most: the last argument of `use_threads`, or all."""
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
