"""How a program ends: with an exit code; and for what the user or the system did, one line and no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from minibert.errors import InputError, printable


def ended(program: Callable[[], int | None]) -> int:
    """Run a program. Returns the exit code: its own (None is 0); 2 for unusable input, or if the system refuses, as a
    full disk does; 130 after Ctrl-C; 141 if the reader of our output went away."""
    _let_any_text_be_printed()
    try:
        try:
            return program() or 0
        finally:
            sys.stdout.flush()  # when Python itself ends, nobody could tell why this fails
    except InputError as error:
        tell(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        _let_go_of_output()
        return 141
    except OSError as error:  # a full disk, a name that is too long, ...
        _let_go_of_output()
        tell(error)
        return 2


def tell(error: object) -> None:
    """Print one line: what a message quotes from a file may hold line ends."""
    print(f"error: {printable(str(error))}", file=sys.stderr)


def _let_any_text_be_printed() -> None:
    """A text that the terminal's encoding cannot show is printed with escapes, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _let_go_of_output() -> None:
    """What standard output does not take is dropped: Python itself would try again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
