"""The command line: arguments in, calls out. The arguments stand in arguments.py, and what a command does in the module
that MODULES names."""

from __future__ import annotations

import importlib
import sys

from minibert import check_kernels
from minibert.cli.arguments import build_parser
from minibert.cli.parser import complete
from minibert.endings import ended, tell
from minibert.errors import InputError

MODULES = {
    **dict.fromkeys(("train", "eval", "predict"), "minibert.cli.commands"),
    "bank": "minibert.cli.bank",
    **dict.fromkeys(("params", "gradcheck", "download", "env"), "minibert.cli.reports"),
    **dict.fromkeys(("baseline", "ablate", "sweep"), "minibert.cli.experiments"),
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
        tell(error)
        return 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 1 if training failed; those of `ended` (endings.py) otherwise."""
    return ended(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = build_parser()
    complete(parser)
    args = parser.parse_args(arguments)
    if args.command is None:  # nothing was asked for, and nothing done
        parser.print_help(sys.stderr)
        return 2
    return _run(args)


if __name__ == "__main__":
    sys.exit(main())
