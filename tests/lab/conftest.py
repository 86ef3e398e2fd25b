"""What the tests of sweeps share."""

import pytest
from sweeping import RUNS, seeds_run, write_place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A backbone and a data set that are only read."""
    return write_place(tmp_path_factory.mktemp("place"))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The seeds of the trials that were run by `noted` or one that calls it, in their order."""
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    return seeds_run
