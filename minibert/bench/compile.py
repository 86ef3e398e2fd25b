"""`minibert bench compile`: the seconds that each kernel takes to compile, in one process with an empty cache."""

from __future__ import annotations

from collections.abc import Iterator

from kernels.runtime.compile_times import compile_times

HEADER = f"{'kernel':<40}{'versions':>10}{'CPU s':>10}"


def compile_rows() -> Iterator[dict]:
    """One row a kernel of a training run, the slowest first; then all of them together, and those of `predict`."""
    rows = compile_times()
    yield from rows
    yield {"kernel": "training", **_total(rows)}
    yield {"kernel": "prediction alone", **_total(compile_times(purpose="predict"))}


def _total(rows: list[dict]) -> dict:
    return {name: sum(row[name] for row in rows) for name in ("versions", "seconds")}


def compile_line(row: dict) -> str:
    """A row of the table."""
    return f"{row['kernel']:<40}{row['versions']:>10}{row['seconds']:>10.2f}"
