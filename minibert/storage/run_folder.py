"""The folder RUN/ that a training run leaves: result.json, history.csv, the trained task in bank.h5, report.html
about it, and state.h5 until the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minibert.errors import InputError
from minibert.scratch import remove_abandoned
from minibert.storage.atomic import write_rows, write_text
from minibert.storage.locks import locked

LOCK = ".run.lock"  # there as long as a run is (a temporary folder has a .lock of its own)


def bank_file(path) -> Path:
    """The bank that a run folder holds, or the bank file itself."""
    path = Path(path)
    return path / "bank.h5" if path.is_dir() else path


class RunFolder:
    """Where the files of a run are."""

    def __init__(self, path):
        self.path = Path(path)
        self.result, self.history = self.path / "result.json", self.path / "history.csv"
        self.bank, self.state = self.path / "bank.h5", self.path / "state.h5"
        self.report = self.path / "report.html"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that a run writes, in the order in which it may be removed: without its state no run seems resumable."""
        return self.state, self.result, self.history, self.report, self.bank

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the folder for one run: other processes and threads that ask for it get an InputError.

        The folder is made, and is gone afterwards if nothing was put into it. The lock is the operating system's own,
        so that it ends with the process, however that ends; only its file is left by a process that is killed.
        Temporary files of such a process are removed. Raises InputError if the folder cannot be made or written.
        """
        made = self._make()
        try:
            busy = "is in use by another run ({}); wait for its end, or give another --out"
            with locked(self.path / LOCK, self.path, 0, busy):
                for file in self.files:
                    remove_abandoned(self.path, f".{file.name}.", ".tmp")
                yield
        finally:
            for folder in made:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()

    def _make(self) -> list[Path]:
        """Make the folder, and return what had to be made, innermost first."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"--out {self.path} is a file; give a folder")
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            return missing
        except OSError as error:
            raise InputError(f"--out {self.path}: the folder cannot be made ({error.strerror})") from None

    def check_free(self) -> None:
        """Raise InputError if a run would overwrite another."""
        if any(file.exists() for file in self.files):
            goes_on = "--resume it, " if self.state.exists() else ""
            raise InputError(f"{self.path} holds a run already; give another --out, {goes_on}or --force to replace it")

    def clear(self) -> None:
        """Remove the files of an earlier run, as --force asks for."""
        for file in self.files:
            file.unlink(missing_ok=True)

    def read_result(self) -> dict:
        """What result.json holds; {} if it is not there, or damaged: a run that goes on writes it again."""
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return result if isinstance(result, dict) and isinstance(result.get("settings"), dict) else {}

    def write_result(self, result: dict) -> None:
        """result.json"""
        write_text(self.result, json.dumps(result, indent=2) + "\n")

    def write_history(self, rows: list[dict]) -> None:
        """history.csv, one row an epoch"""
        write_rows(self.history, rows)
