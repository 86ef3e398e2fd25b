"""What a learner's function may take: an endless loop is stopped, where the system has a timer that can do it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 20.0  # for a call of what a learner wrote, which takes milliseconds
AGAIN = 1.0  # seconds until it is raised once more, should it be lost: in a `__del__` errors are printed, and no more
SOON = 1e-3  # a timer that ran out meanwhile


class DoesNotEnd(BaseException):
    """What ran took longer than `seconds`. No Exception: a loop that goes on after `except Exception` ends, too."""

    def __init__(self, seconds: float):
        super().__init__(f"it did not end within {seconds:g} s")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise DoesNotEnd in the body once it has taken so long. Without such a timer (Windows, a browser), or in another
    thread than the main one, the body takes what it takes. A timer that runs already goes on afterwards."""
    if not hasattr(signal, "setitimer") or sys.platform == "emscripten" or not _is_main_thread():
        yield
        return

    over, start = False, time.monotonic()

    def stop(*_) -> None:
        if not over:
            raise DoesNotEnd(seconds)

    handler = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        over = True  # an alarm that comes now comes too late
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)  # None: set by what is not Python
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), SOON), interval)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
