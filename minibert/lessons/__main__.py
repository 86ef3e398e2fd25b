"""python -m minibert.lessons: what a learner, a teacher or an author of lessons runs."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from minibert.endings import ended, tell
from minibert.errors import InputError
from minibert.lessons import checker, going_on
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.setting import MODEL

SOURCES = Path("notebooks", "src")
LEAST_CAUGHT = 0.99  # of the mutants that change a result


def start(args) -> int:
    """Write the learner's files."""
    from minibert.lessons import own_files

    for path in own_files.start(args.folder):
        print(path)
    first = args.folder / f"{own_files.module_of(5)}.py"
    print(f"next: write a function, such as gelu in {first}, and check it: pytest {args.folder} -m gelu")
    return 0


def status(args) -> int:
    """Print how far each learner is. 2 if a folder cannot be read; the others are printed all the same."""
    from minibert.lessons import own, own_import

    code = 0
    for folder in args.folders:
        if len(args.folders) > 1:
            print(f"{folder}:", flush=True)
        try:
            print(own.table(own.standings(own_import.load(folder))), flush=True)
        except InputError as error:
            tell(error)
            code = 2
    return code


def hint(args) -> int:
    """Print a hint of an exercise, and the command for the next one."""
    print(going_on.hint(args.name, args.number))
    if args.number < len(checker.find(args.name).hints):
        print(f"  the next: python -m minibert.lessons hint {args.name} {args.number + 1}")
    return 0


def assemble(args) -> int:
    """1 if a function is wrong."""
    from minibert.lessons import assemble, weights

    return int(not assemble.assemble(args.folder, args.backbone or weights(), args.max_steps))


def mutate(args) -> int:
    """1 if too few mutants were caught."""
    from minibert.lessons.mutate import run

    return int(run([checker.find(name).name for name in args.names] or list(EXERCISES)) < LEAST_CAUGHT)


def lint(args) -> int:
    """1 if a lesson lacks something that it must have."""
    from minibert.lessons import lint

    return int(lint.run(args.folder) > 0)


def pack(args) -> int:
    """Write a course for laptops without a network."""
    from minibert.lessons import pack, weights
    from minibert.lessons.wheels import targets

    course = pack.Course(pack.project(), args.backbone or weights(), targets(args.systems, args.python))
    pack.pack(course, args.out)
    return 0


def serve(args) -> int:
    """Offer a packed course to the room."""
    from minibert.lessons import serve

    serve.serve(args.folder, args.port)
    return 0


def fetch(args) -> int:
    """Take notebooks and weights of a course that is served."""
    from minibert.lessons import serve

    serve.fetch(args.url, args.folder)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    program = argparse.ArgumentParser(prog="python -m minibert.lessons", description=__doc__)
    commands = program.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, what: str, folder: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=what, description=what)
        added.set_defaults(run=run)
        if folder:
            added.add_argument("folder", type=Path, metavar="DIR", help=folder)
        return added

    command(start, "write your own files: a stub for each exercise, and tests", "a new folder")
    folders = command(status, "which exercises are right")
    folders.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folders with a mine.py")
    hints = command(hint, "a hint of an exercise: the first is a question, the last nearly the line")
    hints.add_argument("name", metavar="EXERCISE", help="such as layernorm")
    hints.add_argument("number", type=int, nargs="?", default=1, metavar="N", help="which one, from 1; default 1")
    whole = command(assemble, "your functions compute a real BERT, and train its adapters", "the folder with mine.py")
    whole.add_argument("--backbone", type=Path, metavar="FILE", help=f"default {MODEL.as_posix()}")
    whole.add_argument("--max-steps", type=int, default=0, metavar="N", help="of training; default 0: all five epochs")
    course = command(pack, "a course for laptops without a network: wheels, notebooks, weights")
    course.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    course.add_argument("--systems", default="", help="of linux,windows,macos those of the laptops; default this one")
    course.add_argument(
        "--python", default="", metavar="VERSIONS", help="of Python, such as 3.11,3.12; default this one"
    )
    course.add_argument("--backbone", type=Path, metavar="FILE", help=f"default {MODEL.as_posix()}")
    served = command(serve, "offer a packed course to everyone in the network, over HTTP", "what pack wrote")
    served.add_argument("--port", type=int, default=8000, help="default 8000")
    fetched = command(fetch, "take notebooks and weights of a course that is served")
    fetched.add_argument("--from", dest="url", required=True, metavar="URL", help="what serve printed")
    fetched.add_argument("folder", type=Path, nargs="?", default=Path(), metavar="DIR", help="default this folder")
    sources = command(lint, "does each lesson have what it must have?")
    sources.add_argument("folder", type=Path, nargs="?", default=SOURCES, metavar="DIR", help=f"default {SOURCES}")
    names = command(mutate, "change every solution mechanically: is each mistake caught?")
    names.add_argument("names", nargs="*", metavar="EXERCISE", help=f"default all: {', '.join(EXERCISES)}")
    return program


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0; 1 if something was found that is not as it must be; those of `ended`
    (endings.py) otherwise."""
    return ended(lambda: _run(parser().parse_args(arguments)))


def _run(args) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mutants, and unfinished functions, divide by zero
        return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
