"""The command line: arguments in, calls out. The arguments stand in arguments.py, and what a command does in the module
that MODULES names."""

from __future__ import annotations

import importlib
import os
import sys

from minibert import check_kernels
from minibert.cli.arguments import build_parser
from minibert.cli.parser import complete
from minibert.errors import InputError, printable

MODULES = {
    **dict.fromkeys(("train", "eval", "predict"), "minibert.cli.commands"),
    "bank": "minibert.cli.bank",
    **dict.fromkeys(("params", "gradcheck", "download", "env"), "minibert.cli.reports"),
    **dict.fromkeys(("baseline", "ablate"), "minibert.cli.experiments"),
    "sweep": "minibert.lab.sweep",
    "reproduce": "minibert.lab.reproduce",
    "bench": "minibert.bench.command",
}


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    import numba

    import kernels

    if not 1 <= threads <= numba.config.NUMBA_NUM_THREADS:
        raise InputError(f"--threads must be from 1 to {numba.config.NUMBA_NUM_THREADS} here, got {threads}")
    kernels.use_threads(threads)


def _run(args) -> int:
    try:  # only now: `minibert --help` and a wrong argument need not wait for Numba
        check_kernels()
        module = importlib.import_module(MODULES[args.command])
        from minibert.evaluate import NonFiniteLoss
    except (ImportError, ValueError) as error:  # other kernels, MINIBERT_KERNELS is wrong, Numba refuses its settings
        raise InputError(f"minibert cannot start: {error}") from error
    _set_threads(getattr(args, "threads", None))
    try:
        return getattr(module, args.command)(args) or 0
    except NonFiniteLoss as error:
        _tell(error)
        return 1


def _tell(error: object) -> None:
    """Print one line: what a message quotes from a file may hold line ends."""
    print(f"error: {printable(str(error))}", file=sys.stderr)


def _let_any_text_be_printed() -> None:
    """A text that the terminal's encoding cannot show is printed with escapes, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 2 for unusable input; 1 if training failed; 130 after Ctrl-C; 141 if
    the reader of our output went away."""
    _let_any_text_be_printed()
    parser = build_parser()
    complete(parser)
    args = parser.parse_args(arguments)
    if args.command is None:  # nothing was asked for, and nothing done
        parser.print_help(sys.stderr)
        return 2
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except InputError as error:
        _tell(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python itself flushes at exit
        return 141
    except OSError as error:  # a full disk, a name that is too long, ...
        _tell(error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
