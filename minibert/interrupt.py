"""Ctrl-C that waits for the end of a training step, so that nothing is left half done, and that is never lost.

Python's own way is to raise KeyboardInterrupt wherever the program happens to be. In a `__del__` (arrays are freed all
the time here) or in a callback of the compiler such an exception is printed and forgotten, and the program goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import kernels


class CtrlC:
    """While this context is open, Ctrl-C is noted, and `check` raises KeyboardInterrupt. A second Ctrl-C does not wait.

    Only the main thread gets signals; opened in another one, the context changes nothing.
    """

    def __init__(self):
        self.pressed = False
        self._before = None

    def __enter__(self) -> CtrlC:
        self.pressed = False
        try:
            self._before = signal.signal(signal.SIGINT, self._note)
        except ValueError:
            self._before = None
        return self

    def __exit__(self, kind, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            if self.pressed and kind is None:  # nobody has checked since: whoever is around this context shall know
                signal.raise_signal(signal.SIGINT)

    def _note(self, *_) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.pressed:
            raise KeyboardInterrupt


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """While this context is open, SIGTERM, by which systems end a process, is the same as Ctrl-C. On Windows it is
    never sent. Only the main thread gets signals; opened in another one, the context changes nothing."""

    def press(number, frame) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):  # Ctrl-C is ignored, as in what a shell runs in the background
            raise KeyboardInterrupt
        handler(number, frame)

    try:
        before = signal.signal(signal.SIGTERM, press)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def compile_kernels(purpose: str = "train") -> None:
    """Compile the kernels for a purpose of `kernels.compile_for`, or load them from the cache. Ctrl-C waits for the end
    of one kernel."""
    with CtrlC() as ctrl_c:
        kernels.compile_for(purpose, between=ctrl_c.check)
