"""What both files share."""

import functools

import pytest
from checkpoint import run_command, write_checkpoint


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face folder."""
    return write_checkpoint(tmp_path / "model")


@pytest.fixture
def run(capsys):
    """A command of weights_convert, as `run_command`."""
    return functools.partial(run_command, capsys)
