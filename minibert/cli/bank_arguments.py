"""The arguments of `minibert bank`: a subcommand for each thing that is done to a bank, and the form of earlier
versions, which named none."""

from __future__ import annotations

import argparse

from minibert.cli.exchange_arguments import exchange_arguments

EXAMPLES = """\
examples:
  minibert bank add all.h5 runs/mrpc runs/sst2
  minibert bank add all.h5 runs/other --as mrpc2
  minibert bank show all.h5 mrpc
  minibert bank rename all.h5 mrpc2 paraphrase
  minibert bank remove all.h5 sst2
  minibert bank extract all.h5 mrpc --out mrpc.h5
  minibert bank export runs/mrpc --to adapterhub mrpc-adapter
  minibert bank import mrpc-adapter --backbone models/minilm-l6.h5 --out all.h5

BANK is a bank file or a run folder. `minibert bank BANK` lists its tasks, too
(a folder that is called as a subcommand is written ./list).
"""
EARLIER = "of-earlier-versions"  # a subcommand that nobody types: `minibert bank BANK [--add RUN ...]`


def add_bank(commands) -> None:
    """The command, and its subcommands. args.action is the name of one; cli/bank.py has a function for each."""
    p = commands.add_parser(
        "bank",
        help="list, show, add, copy, rename, remove, extract, export or import the tasks of a bank",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    _list_and_show(actions)
    _add(actions)
    _edit(actions)
    exchange_arguments(actions)
    _earlier(actions)
    p.usual, p.subcommands = EARLIER, tuple(actions.choices)


def _action(actions, name: str, told: str, examples: str) -> argparse.ArgumentParser:
    p = actions.add_parser(name, help=told, epilog=f"example: minibert bank {name} {examples}", description=f"{told}.")
    p.add_argument("bank", metavar="BANK", help="a run folder or a bank file")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    return p


def _list_and_show(actions) -> None:
    _action(actions, "list", "one line a task", "all.h5")
    p = _action(actions, "show", "all that a bank knows of its tasks", "all.h5 mrpc")
    p.add_argument("names", nargs="*", metavar="TASK", help="default: all")


def _add(actions) -> None:
    p = _action(actions, "add", "add the tasks of other runs or banks; make the bank if it is new", "all.h5 runs/mrpc")
    p.add_argument("add", nargs="+", metavar="RUN", help="run folders or banks whose tasks are added")
    p.add_argument("--name", metavar="TASK", help="add this task alone")
    _names_of_added(p)


def _names_of_added(p: argparse.ArgumentParser) -> None:
    p.add_argument("--as", dest="new_name", metavar="NAME", help="what to call the one task that is added")
    p.add_argument("--replace", action="store_true", help="a task of the same name is replaced")


def _edit(actions) -> None:
    for name, told in {"copy": "give a task a second entry, under another name", "rename": "rename a task"}.items():
        p = _action(actions, name, told, "all.h5 mrpc paraphrase")
        p.add_argument("name", metavar="TASK", help="a task of the bank")
        p.add_argument("new_name", metavar="NEW", help="a name that the bank does not have yet")
    p = _action(actions, "remove", "remove tasks: the file is written anew without them", "all.h5 mrpc sst2")
    p.add_argument("names", nargs="+", metavar="TASK", help="tasks of the bank; one must be left")
    p = _action(actions, "extract", "write some of the tasks to a new bank", "all.h5 mrpc --out mrpc.h5")
    p.add_argument("names", nargs="+", metavar="TASK", help="tasks of the bank; they stay there, too")
    p.add_argument("--out", required=True, metavar="FILE.h5", help="the new bank")


def _earlier(actions) -> None:
    p = actions.add_parser(EARLIER, prog="minibert bank")  # without help=, so no help lists it
    p.add_argument("bank", metavar="BANK")
    p.add_argument("--add", nargs="+", default=[], metavar="RUN")
    p.set_defaults(name=None)
    _names_of_added(p)
    p.add_argument("--json", action="store_true")
