"""The short form of `python -m tests.kills`, which kills and resumes training as often as one likes."""

import subprocess
import sys

import pytest
from tiny import ROOT, environment


@pytest.mark.slow
def test_a_few_kills():
    command = [sys.executable, "-m", "tests.kills", "--kills", "4", "--rows", "200", "--epochs", "4", "--seed", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kills in " in done.stdout and " 0 wrong; " in done.stdout
