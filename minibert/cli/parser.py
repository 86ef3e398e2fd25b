"""argparse as people expect it of a command: errors in a line, with the command as an example, and what a mistyped word
was meant to be."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version

from minibert.errors import did_you_mean

_CHOICE = re.compile(r"invalid choice: (?P<given>'.*?'|\S+) \(choose from (?P<names>.*)\)", re.DOTALL)


def version_of(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed (it runs from its folder)"


class Parser(argparse.ArgumentParser):
    """An argument that cannot be used is reported in one line; argparse would print the whole usage before it. example:
    a whole command, which is printed below it. usual: of a command with subcommands, the one that is meant where the
    first argument names none."""

    example = ""
    usual: str | None = None
    subcommands: Collection[str] = ()
    given: tuple[str, ...] = ()

    def parse_known_args(self, args=None, namespace=None):
        """As that of argparse; but a command reports the options that it does not know itself, and one whose
        subcommands came later knows its old form."""
        if self.usual is not None and not (args and args[0] in (*self.subcommands, "-h", "--help")):
            self._check_no_slip(args)
            args = [self.usual, *args]
        self.given = tuple(sys.argv[1:] if args is None else args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self.example and "_ARGCOMPLETE" not in os.environ:  # completion asks for half a line
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def _check_no_slip(self, args: list[str]) -> None:
        """End with an error if the first argument is no path, but nearly a subcommand."""
        word = args[0] if args else ""
        if not re.fullmatch(r"\w[\w-]*", word) or os.path.lexists(word):
            return
        if meant := did_you_mean(word, [name for name in self.subcommands if name != self.usual]):
            self.error(f"there is no subcommand and no file {word!r}.{meant}")

    def error(self, message: str):
        """Print the message and end with exit code 2."""
        message = f"{' '.join(message.split())}.{self._meant(message)}".removesuffix(".")
        example = f"example: {self.example}\n" if self.example else ""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n{example}")

    def _meant(self, message: str) -> str:
        """What a choice, or an option that is not known, was likely meant to be."""
        choice = _CHOICE.search(message)
        if choice:
            return did_you_mean(choice["given"].strip("'"), re.findall(r"[\w.-]+", choice["names"]))
        known = self._option_string_actions
        words = (word.partition("=")[0] for word in self.given if word.startswith("--") and len(word) > 2)
        unknown = [word for word in words if not any(option.startswith(word) for option in known)]
        meant = ((word, did_you_mean(word, known)) for word in unknown)
        return next((f" There is no {word}.{told}" for word, told in meant if told), "")


class Version(argparse.Action):
    """Print the versions of what computes, which are looked up only now, and end."""

    def __init__(self, option_strings, dest, **rest):
        super().__init__(option_strings, dest, nargs=0, **rest)

    def __call__(self, parser, namespace, values, option_string=None):
        beside = ", ".join(f"{package} {version_of(package)}" for package in ("numpy", "numba"))
        print(f"minibert {version_of('minibert')} ({beside}, Python {platform.python_version()})")
        parser.exit()


def complete(parser: argparse.ArgumentParser) -> None:
    """If a shell asks how a line may go on, answer, and end; by the package argcomplete, if it is there."""
    if "_ARGCOMPLETE" in os.environ:
        try:
            import argcomplete
        except ImportError:
            return
        argcomplete.autocomplete(parser)
