"""On how many threads the next kernel runs: all, or one if its work is small, or if the cores are taken.

Handing work to a second thread and waiting for it costs some microseconds if a core is free, and milliseconds if
another program occupies it: then a thread that waits for a core, and another that spins meanwhile, cost more time than
they save. So each operation estimates how long one thread would take (`share`), and below SMALL it runs on one thread.
And while our threads wait for cores that other programs hold, all work runs on one thread.
The bits of a result do not depend on it, since no kernel's result depends on the number of threads.

Numba knows the number of threads, but takes 8 us to return it, behind a lock. Here it is remembered, for each Python
thread.
"""

from __future__ import annotations

import os
import threading
import time

import numba

# ns on one thread. To share work out costs 2 to 3 us on an idle machine: below this a second thread gains nothing.
SMALL = 15_000
# Busy cores: over LOOK seconds our threads waited for a core for more than WAITED of the time. Then one thread computes
# for FIRST_REST seconds, and all try again; if they wait again, it computes for twice as long, and so on, up to
# REST seconds. So a moment's wait costs a moment, and a core that stays taken is tried seldom.
LOOK, WAITED, FIRST_REST, REST = 0.2, 0.15, 1.0, 4.0


def seconds_waited() -> float:
    """How long the threads of this process have been ready to run, but had no core, in all; 0 where it is not known.

    Linux gives it in nanoseconds, as the second number of /proc/PID/task/TID/schedstat.
    """
    folder, total = "/proc/self/task", 0
    try:
        for task in os.listdir(folder):
            with open(f"{folder}/{task}/schedstat", "rb") as file:
                total += int(file.read().split()[1])
    except (OSError, ValueError, IndexError):  # another system, or a thread that has just ended
        return 0.0
    return 1e-9 * total


class _Look:
    """Whether the cores are taken, by the last look; the same for all Python threads."""

    def __init__(self):
        self.next, self.last, self.waited, self.is_busy, self.rest = 0.0, 0.0, 0.0, False, FIRST_REST

    def again(self, now: float) -> None:
        """Decide it from how long our threads waited for a core since the last look."""
        waited, before = seconds_waited(), self.waited
        share_waited = (waited - before) / max(now - self.last, 1e-9) if 0 < before < waited else 0.0
        if self.is_busy and now - self.next < REST:  # the rest has just ended: all threads try again
            self.is_busy, self.rest = False, min(2 * self.rest, REST)
        elif share_waited > WAITED:
            self.is_busy = True
        else:
            self.is_busy, self.rest = False, FIRST_REST
        self.last, self.waited, self.next = now, waited, now + (self.rest if self.is_busy else LOOK)


class _State(threading.local):
    """For each Python thread: how many threads were chosen in it (0: as in the last that chose), and the number that
    was last set in Numba."""

    def __init__(self):
        self.chosen, self.now = 0, numba.config.NUMBA_NUM_THREADS


_state, _look = _State(), _Look()
_last_chosen = numba.config.NUMBA_NUM_THREADS


def use_threads(n: int) -> None:
    """From now on kernels run on at most n threads: those of this Python thread, and of all that chose no number."""
    global _last_chosen
    numba.set_num_threads(n)
    _state.chosen = _state.now = _last_chosen = n
    _look.is_busy, _look.rest = False, FIRST_REST  # until the next look


def most_threads() -> int:
    """How many threads kernels run on at most: the last argument of `use_threads`, or all."""
    return _state.chosen or _last_chosen


def n_threads() -> int:
    """How many threads the next kernel runs on."""
    return _state.now


def share(ns: float) -> int:
    """Set on how many threads the next kernels run, and return it. ns: what one thread would take, in nanoseconds."""
    wanted = 1
    if ns >= SMALL and (most := _state.chosen or _last_chosen) > 1:
        now = time.perf_counter()
        if now > _look.next:
            _look.again(now)
        wanted = 1 if _look.is_busy else most
    if wanted != _state.now:
        numba.set_num_threads(wanted)
        _state.now = wanted
    return wanted
