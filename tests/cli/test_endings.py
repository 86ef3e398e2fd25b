"""How the three programs end: after Ctrl-C, if the reader of a pipe has gone, on a full disk."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import write_tiny_backbone

import minibert.cli
import minibert.lessons.__main__
import weights_convert.cli
from minibert.cli import reports
from minibert.endings import ended
from minibert.errors import InputError
from minibert.lessons import going_on

PROGRAMS = {  # a command that prints and needs little; the program's main; what it calls
    "minibert": (["params", "--config", "bert-base"], minibert.cli.main, (reports, "params")),
    "minibert.lessons": (["hint", "gelu"], minibert.lessons.__main__.main, (going_on, "hint")),
    "weights_convert": (["verify", "tiny.h5"], weights_convert.cli.main, (weights_convert.cli, "verify")),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endings")
    write_tiny_backbone(folder / "tiny.h5")
    return folder


def run(program, arguments, stdout, place, unbuffered=False):
    """(exit code, standard error) of a process of its own. Usually Python keeps what is printed until it ends."""
    own = os.environ | {"PYTHONUNBUFFERED": "1" if unbuffered else ""}
    command = [sys.executable, "-m", program, *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, cwd=place, env=own)
    return done.returncode, done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c(program, monkeypatch, capsys):
    arguments, main, called = PROGRAMS[program]
    monkeypatch.setattr(*called, lambda *arguments, **options: signal.raise_signal(signal.SIGINT))
    assert main(arguments) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_closed_pipe(program, unbuffered, place):
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        assert run(program, PROGRAMS[program][0], write_end, place, unbuffered) == (141, "")
    finally:
        os.close(write_end)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full")
@pytest.mark.parametrize("arguments", [None, ["--help"]], ids=["command", "help"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_disk(program, arguments, place):
    with open("/dev/full", "w") as full:
        told = run(program, arguments or PROGRAMS[program][0], full, place)
    assert told == (2, f"error: [Errno {errno.ENOSPC}] No space left on device\n")


def test_what_was_printed_before_an_error_is_kept(capfd):
    def program():
        print("a result")
        raise OSError(errno.ENAMETOOLONG, "File name too long", "x\ny")

    assert ended(program) == 2
    assert capfd.readouterr() == ("a result\n", f"error: [Errno {errno.ENAMETOOLONG}] File name too long: 'x\\ny'\n")


def test_other_endings(capsys):
    def refused():
        raise InputError("a\nb")

    assert [ended(lambda: None), ended(lambda: 1), ended(refused)] == [0, 1, 2]
    assert capsys.readouterr().err == "error: a b\n"
    with pytest.raises(ZeroDivisionError):  # a mistake of ours is told whole
        ended(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        ended(lambda: sys.exit(0))
