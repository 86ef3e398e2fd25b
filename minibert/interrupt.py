"""Ctrl-C that waits for the end of a training step, so that nothing is left half done, and that is never lost.

Python's own way is to raise KeyboardInterrupt wherever the program happens to be. In a `__del__` (arrays are freed all
the time here) or in a callback of the compiler such an exception is printed and forgotten, and the program goes on.
"""

from __future__ import annotations

import signal

import numpy as np

from kernels.runtime.warm_up import warm_up


class CtrlC:
    """While this context is open, Ctrl-C is noted, and `check` raises KeyboardInterrupt. A second Ctrl-C does not wait.

    Only the main thread gets signals; opened in another one, the context changes nothing.
    """

    def __init__(self):
        self.asked = False
        self._before = None

    def __enter__(self) -> CtrlC:
        self.asked = False
        try:
            self._before = signal.signal(signal.SIGINT, self._note)
        except ValueError:
            self._before = None
        return self

    def __exit__(self, kind, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            if self.asked and kind is None:  # nobody has checked since: whoever is around this context shall know
                signal.raise_signal(signal.SIGINT)

    def _note(self, *_) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.asked:
            raise KeyboardInterrupt


def compile_kernels(dtype=np.float32, purpose: str = "train") -> None:
    """Compile the kernels of a purpose ("predict" or "train"), or load them from the cache. Ctrl-C waits for the end of
    one kernel."""
    with CtrlC() as ctrl_c:
        warm_up(dtype, purpose, between=ctrl_c.check)
