"""Arguments as people mistype them, versions, help, and completion."""

import os
import subprocess
import sys

import numpy
import pytest
from tiny import environment

from minibert.cli import main
from minibert.cli.arguments import EXAMPLES, build_parser
from minibert.data.delimited import Format, read_delimited
from minibert.errors import InputError, did_you_mean

EVAL = "eval --backbone x --bank y "


def refused(capsys, command):
    """What is printed of arguments that cannot be used."""
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    return err.splitlines()


@pytest.mark.parametrize(
    ("command", "meant", "example"),
    [
        ("trian --out x", "Did you mean 'train'?", None),
        (EVAL + "--splt test", "There is no --splt. Did you mean '--split'?", "eval"),
        (EVAL + "--splt=test", "unrecognized arguments: --splt=test. There is no --splt. Did you", "eval"),
        (EVAL + "--split tset", "Did you mean 'test'?", "eval"),
        ("train --bakbone x --out y --task csv", "There is no --bakbone. Did you mean '--backbone'?", "train"),
        ("train --backbone x --out y --task csv --method Adaptor", "Did you mean 'adapter'?", "train"),
    ],
)
def test_what_was_meant(capsys, command, meant, example):
    first, *more = refused(capsys, command)
    assert first.startswith("error: ") and meant in first
    assert more == ([f"example: {EXAMPLES[example]}"] if example else [])


def test_a_list_with_a_line_end_outside_of_quotes(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--backbone", "x", "--out", "y", "--task", "csv", "--class-weights", "up=1,a\nb=2"])
    assert "is no comma-separated list: put a name with a line end into double quotes" in capsys.readouterr().err


def test_a_mistyped_subcommand_is_no_bank(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command, meant in (("bank ad x.h5", "add"), ("bank lst", "list"), ("bank remvoe x.h5 a", "remove")):
        assert f"no file {command.split()[1]!r}. Did you mean {meant!r}? (see" in refused(capsys, command)[0]
    (tmp_path / "ad").write_text("no bank")
    for command in ("bank ad", "bank list.h5", "bank ./lst", "bank mine"):  # a file, or names of one
        assert main(command.split()) == 2 and "Did you mean" not in capsys.readouterr().err


def test_nothing_is_guessed_without_reason(capsys):
    assert "Did you" not in refused(capsys, EVAL + "--zzzz")[0]
    assert "Did you" not in refused(capsys, "zzzz")[0]
    assert "Did you" not in refused(capsys, "train --back x")[0]  # short for --backbone
    assert did_you_mean("TEXT", ["id", "text"]) == " Did you mean 'text'?" and did_you_mean("x", []) == ""


def test_tasks_and_columns(capsys, tmp_path):
    assert main(["baseline", "--task", "opinion"]) == 2
    assert capsys.readouterr().err.endswith("squad, csv, opinions. Did you mean 'opinions'?\n")
    (tmp_path / "a.csv").write_text("id,txet\n1,2\n")
    with pytest.raises(InputError, match=r"no column 'text'; the columns are 'id', 'txet'\. Did you mean 'txet'\?$"):
        read_delimited(tmp_path / "a.csv", Format()).column("text")


def test_every_example_is_a_command():
    assert set(EXAMPLES) == set(build_parser()._subparsers._group_actions[0].choices)
    for name, example in EXAMPLES.items():
        words = example.replace('"', "").split()
        assert build_parser().parse_args(words[1:]).command == name == words[1]


def test_version_and_no_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "") and out.startswith("minibert ") and f"numpy {numpy.__version__}" in out
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage: minibert ") and "tune a backbone" in err


def test_completion(tmp_path):
    package = pytest.importorskip("argcomplete")
    line, file = "minibert eval --predictions-", tmp_path / "found"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(file), "MORE": os.path.dirname(os.path.dirname(package.__file__))}
    program = "import os, sys; sys.argv[0] = 'minibert'; sys.path.append(os.environ['MORE'])"
    program += "; from minibert.cli import main; main()"
    subprocess.run([sys.executable, "-c", program], env=environment(**asked), check=False)
    assert file.read_text().strip() == "--predictions-out"
