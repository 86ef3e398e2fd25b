"""python -m tests.adversarial: read thousands of mutated files of each format, and print what became of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from .case import GOOD, OUTCOMES
from .formats import FORMATS
from .workers import generator, jobs_of, run

SHOWN = 400  # bytes of a file


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 if a file was not read right or refused clearly."""
    args = _parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # half a character cannot be printed
    if args.one:
        return _show_one(*args.one, args.seed, args.keep)
    unknown = set(args.formats) - set(FORMATS)
    if unknown:
        print(f"no format is called {', '.join(sorted(unknown))}; there is {', '.join(FORMATS)}", file=sys.stderr)
        return 2
    began, counts, failures = time.monotonic(), defaultdict(Counter), defaultdict(list)
    for name, number, result in run(jobs_of(args.formats, args.seed, args.files), args.processes):
        counts[name][result.outcome] += 1
        if result.outcome not in GOOD:
            failures[name, result.outcome, result.kind].append(number)
            if args.keep:
                build(name, args.seed, number, Path(args.keep))
        _progress(sum(map(Counter.total, counts.values())), args.files * len(args.formats))
    _print_table(args.formats, counts)
    _print_failures(failures, args.shown)
    print(f"{time.monotonic() - began:.0f} s, seed {args.seed}; a file again: --seed {args.seed} --one FORMAT NUMBER")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.adversarial", description=__doc__)
    parser.add_argument("--files", type=int, default=1000, metavar="N", help="of each format (default 1000)")
    parser.add_argument("--formats", type=lambda text: text.split(","), default=list(FORMATS), metavar="A,B")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--shown", type=int, default=5, metavar="N", help="numbers of files shown for a kind of failure"
    )
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "NUMBER"), help="make one file again and show it")
    parser.add_argument("--keep", metavar="DIR", help="keep the files that failed, or the one, in this folder")
    return parser


def build(name: str, seed: int, number: int, folder: Path):
    """Make one file in folder/FORMAT-SEED-NUMBER. Returns its Case."""
    place = folder / f"{name}-{seed}-{number}"
    place.mkdir(parents=True)
    return FORMATS[name]()(generator(name, seed, number), place)


def _show_one(name: str, number: str, seed: int, keep: str | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        case = build(name, seed, int(number), Path(keep or folder))
        print(f"{name}, seed {seed}, number {number}: {case.what}")
        for path in case.paths:
            for file in sorted([path] if path.is_file() else path.rglob("*")):
                data = file.read_bytes() if file.is_file() else b""
                print(f"{file}, {len(data):,} bytes: {data[:SHOWN]!r}{'…' if len(data) > SHOWN else ''}")
    ((_, _, result),) = run([(name, seed, int(number), int(number) + 1)], 1)
    print(f"{result.outcome}{': ' + result.kind if result.kind else ''}\n{result.detail}")
    return 0 if result.outcome in GOOD else 1


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty() and done % 100 == 0:
        print(f"\r{done:,} of {of:,}", end="", file=sys.stderr, flush=True)


def _print_table(formats: list[str], counts: dict[str, Counter]) -> None:
    print("format".ljust(14) + "".join(outcome.rjust(9) for outcome in OUTCOMES))
    for name in formats:
        print(name.ljust(14) + "".join(f"{counts[name][outcome]:>9,}" for outcome in OUTCOMES))


def _print_failures(failures: dict[tuple[str, str, str], list[int]], shown: int) -> None:
    for (name, outcome, kind), numbers in sorted(failures.items()):
        which = ", ".join(map(str, sorted(numbers)[:shown])) + (", …" if len(numbers) > shown else "")
        print(f"{name}: {outcome}: {kind}: {len(numbers)} ({which})")


if __name__ == "__main__":
    sys.exit(main())
