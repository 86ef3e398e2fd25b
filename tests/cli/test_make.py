"""make.py, which does what `make` does where there is no make."""

import importlib.util
import re
import sys

import pytest
from tiny import ROOT


@pytest.fixture
def make(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("make", ROOT / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def test_make_and_its_file_know_the_same_targets(make):
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony.split() == [name for name in make.TARGETS if name in phony.split()]
    assert set(phony.split()) == set(make.TARGETS)


def test_an_old_python_is_refused_in_one_line(make, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make.py", "demo"])
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    monkeypatch.setattr(make, "run", lambda *_: pytest.fail("something was run"))
    with pytest.raises(SystemExit, match=r"^minibert needs Python 3\.10 or later, and [^\n]*$"):
        make.main()


def test_an_environment_is_set_up_once_and_again_when_requirements_change(make, monkeypatch, tmp_path):
    done = []
    for file in ("setup.cfg", "pyproject.toml"):
        (tmp_path / file).write_text("")
    monkeypatch.setattr(make, "run", lambda *command: done.append(command))
    monkeypatch.setattr(make.venv, "create", lambda folder, with_pip: (tmp_path / folder).mkdir())
    python = make.environment(".venv", "first", ".[test]")
    assert [command[-1] for command in done] == ["first", ".[test]"] and done[0][0] == python
    assert "--editable" in done[1] and "--editable" not in done[0]
    make.environment(".venv", "first", ".[test]")
    assert len(done) == 2
    stamp = next((tmp_path / ".venv").iterdir()).stat().st_mtime
    make.os.utime("setup.cfg", (stamp + 10, stamp + 10))
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("")
    make.environment(".venv", "first", ".[test]")
    assert len(done) == 4


def test_the_demo_is_the_commands_of_the_readme(make, monkeypatch):
    done = []
    monkeypatch.setattr(make, "backbone", lambda: "python")
    monkeypatch.setattr(make, "run", lambda *command: done.append(command[3]))
    make.demo()
    assert done == ["train", "train", "eval", "eval", "predict"]
