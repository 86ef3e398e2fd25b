"""The command line: `main` is the program `minibert`."""

from minibert.cli.main import main

__all__ = ["main"]
