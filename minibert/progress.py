"""How far a run has come: what its state file keeps beside the arrays of Adam, and when it is written."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from minibert.errors import InputError
from minibert.json_values import check_fields
from minibert.storage import read_state, write_state

WRITING_SHARE = 0.02  # of the time, at most, goes into writing states within an epoch
LOSSES = "losses"  # the array of the epoch under way, beside those of Adam
START_AGAIN = "give --force instead of --resume to start the run again"


@dataclass(frozen=True)
class Progress:
    """How far a run had come after its last whole epoch."""

    epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0
    best_dev: dict | None = None
    history: tuple[dict, ...] = ()


@dataclass
class Epoch:
    """The epoch under way: the losses of its steps so far, and what they took."""

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0


class Saving:
    """When the state is written within an epoch; it is always written at its end, and on Ctrl-C.

    minutes: so long after it was written last (0: not within an epoch), but never so often that writing takes more than
    WRITING_SHARE of the time. steps: every so many steps instead, for tests. Raises InputError.
    """

    def __init__(self, minutes: float = 5.0, steps: int = 0):
        if not 0 <= minutes < math.inf:
            raise InputError(f"--save-minutes must be a number of minutes from 0, got {minutes}")
        self.minutes, self.steps = minutes, steps
        self._last, self._cost = time.monotonic(), 0.0

    def is_due(self, step: int) -> bool:
        """Whether the state is to be written after that step, counted from 1."""
        if self.steps:
            return step % self.steps == 0
        pause = max(60 * self.minutes, self._cost / WRITING_SHARE)
        return self.minutes > 0 and time.monotonic() - self._last >= pause

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around writing the state."""
        start = time.monotonic()
        yield
        self._last = time.monotonic()
        self._cost = self._last - start


def write_progress(path: Path, arrays: dict[str, np.ndarray], progress: Progress, epoch: Epoch, settings: dict) -> None:
    """Write the state file. arrays: those of Adam, none before the first step. Losses are kept as float64, so that
    their mean has the same bits."""
    meta = {"progress": asdict(progress), "settings": settings}
    meta["epoch"] = {"tokens": epoch.tokens, "seconds": epoch.seconds}
    losses = {LOSSES: np.array(epoch.losses, np.float64)} if epoch.losses else {}
    write_state(path, arrays | losses, meta)


def read_progress(path: Path) -> tuple[dict[str, np.ndarray], Progress, Epoch, dict]:
    """Read (arrays, progress, epoch, settings) as they were given to `write_progress`. A state of version 1 was only
    written between epochs. Raises InputError for the first thing that is wrong."""
    arrays, meta = read_state(path)
    losses = arrays.pop(LOSSES, np.zeros(0)).tolist()
    progress = Progress(**check_fields(Progress, meta.get("progress"), f"{path}, progress", complete=True))
    under_way = meta.get("epoch", {"tokens": 0, "seconds": 0.0})
    under_way = {**under_way, "losses": losses} if isinstance(under_way, dict) else under_way
    epoch = Epoch(**check_fields(Epoch, under_way, f"{path}, epoch", complete=True))
    settings = meta.get("settings")
    if not isinstance(settings, dict):
        raise InputError(f"{path}: has no settings of a run; {START_AGAIN}")
    return arrays, progress, epoch, settings
