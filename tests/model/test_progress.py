"""When the state of a run is written, and that what it holds comes back bit for bit."""

import math

import numpy as np
import pytest

from minibert import progress as module
from minibert.errors import InputError
from minibert.progress import Epoch, Progress, Saving, read_progress, write_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still: clock[0] is its time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def save(saving, clock, seconds):
    with saving.timed():
        clock[0] += seconds


def test_so_many_minutes_after_it_was_written_last(clock):
    saving = Saving(minutes=5)
    clock[0] += 299
    assert not saving.is_due(1)
    clock[0] += 1
    assert saving.is_due(2)
    save(saving, clock, 1)
    assert not saving.is_due(3)
    clock[0] += 300
    assert saving.is_due(4)


def test_writing_takes_a_small_share_of_the_time(clock):
    saving = Saving(minutes=1)
    save(saving, clock, 10)
    clock[0] += 10 / 0.02 - 1
    assert not saving.is_due(1)
    clock[0] += 1
    assert saving.is_due(1)


def test_zero_is_never_within_an_epoch(clock):
    saving = Saving(minutes=0)
    clock[0] += 1e9
    assert not saving.is_due(1)


def test_every_so_many_steps():
    assert [step for step in range(1, 8) if Saving(steps=3).is_due(step)] == [3, 6]


@pytest.mark.parametrize("minutes", [-1, math.nan, math.inf])
def test_minutes_that_are_none(minutes):
    with pytest.raises(InputError, match="--save-minutes must be a number of minutes from 0"):
        Saving(minutes)


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    losses = np.random.default_rng(0).standard_normal(1000).tolist()
    arrays = {"params/head/W": np.arange(6, dtype=np.float32).reshape(2, 3)}
    progress = Progress(2, 40, 1.25, 900, 0.1 + 0.2, 1, {"accuracy": 0.1 + 0.2}, ({"epoch": 1, "loss": 1 / 3},))
    write_progress(tmp_path / "state.h5", arrays, progress, Epoch(losses, 77, 0.1), {"a": 1})
    read_arrays, read, epoch, settings = read_progress(tmp_path / "state.h5")
    assert read_arrays.keys() == arrays.keys() and (read_arrays["params/head/W"] == arrays["params/head/W"]).all()
    assert (list(read.history), epoch, settings) == (list(progress.history), Epoch(losses, 77, 0.1), {"a": 1})
    assert (read.best_score, read.best_dev) == (progress.best_score, progress.best_dev)
