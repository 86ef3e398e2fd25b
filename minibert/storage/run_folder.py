"""The folder RUN/ that a training run leaves: result.json, history.csv, the trained task in bank.h5, and state.h5
until the end."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from minibert.config import InputError
from minibert.storage.atomic import write_rows, write_text


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

    @property
    def files(self) -> tuple[Path, ...]:
        """All that a run writes."""
        return self.result, self.history, self.bank, self.state

    def check_free(self, force: bool, resume: bool) -> None:
        """Raise InputError if a run would overwrite another, if there is nothing to resume, or if the place cannot be
        written. Called before any work; changes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--out {self.path} is a file; give a folder")
        if resume and not self.state.exists():
            raise InputError(f"{self.state} is not there: there is no unfinished run to resume in {self.path}")
        if not (force or resume) and any(file.exists() for file in self.files):
            goes_on = "--resume it, " if self.state.exists() else ""
            raise InputError(f"{self.path} holds a run already; give another --out, {goes_on}or --force to replace it")
        self._check_writable()

    def _check_writable(self) -> None:
        there = self.path
        while not there.exists():
            there = there.parent
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise InputError(f"--out {self.path}: {there} cannot be written ({error.strerror})") from None

    def create(self) -> None:
        """Make the folder. Raises InputError if it cannot be made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {self.path}: the folder cannot be made ({error.strerror})") from None

    def clear(self) -> None:
        """Remove the files of an earlier run, as --force asks for."""
        for file in self.files:
            file.unlink(missing_ok=True)

    def write_result(self, result: dict) -> None:
        """result.json"""
        write_text(self.result, json.dumps(result, indent=2) + "\n")

    def write_history(self, rows: list[dict]) -> None:
        """history.csv, one row an epoch"""
        write_rows(self.history, rows)
