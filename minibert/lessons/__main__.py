"""python -m minibert.lessons: what a teacher or an author of lessons runs."""

from __future__ import annotations

import argparse
import sys
import warnings

from minibert.errors import InputError
from minibert.lessons.checker import find
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.mutate import run

LEAST_CAUGHT = 0.99  # of the mutants that change a result


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 1 if too few mutants were caught; 2 for unusable input."""
    parser = argparse.ArgumentParser(prog="python -m minibert.lessons", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    mutate = commands.add_parser("mutate", help="change every solution mechanically: is each mistake caught?")
    mutate.add_argument("names", nargs="*", metavar="EXERCISE", help=f"default all: {', '.join(EXERCISES)}")
    args = parser.parse_args(arguments)
    try:
        names = [find(name).name for name in args.names] or list(EXERCISES)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mutants divide by zero
        return int(run(names) < LEAST_CAUGHT)


if __name__ == "__main__":
    sys.exit(main())
