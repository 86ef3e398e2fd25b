"""A packed course, served and fetched, without a network: pip is a stand-in that writes small wheels."""

import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny import write_tiny_backbone

from minibert.backbone import load_backbone
from minibert.errors import InputError
from minibert.lessons import course_backbone, pack, serve
from minibert.lessons.__main__ import main
from minibert.lessons.wheels import Target, missing, targets
from minibert.storage import sha256_of

pytest.importorskip("packaging")

REQUIRES = {
    "minibert": [
        "numpy",
        "jupytext; extra == 'notebooks'",
        "jupyterlab; extra == 'notebooks'",
        "nothing; extra == 'other'",
    ],
    "jupytext": ["Some_Thing>=1; python_version >= '3.10'"],
    "jupyterlab": ["pywinpty; sys_platform == 'win32'", "pexpect; sys_platform != 'win32'"],
    "pywinpty": ["for-pywinpty"],
}


def write_wheel(folder, name):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl", "w") as wheel:
        lines = [f"Requires-Dist: {text}" for text in REQUIRES.get(name, [])]
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join([f"Name: {name}", *lines, "", ""]))


class Pip:
    """As pip: conditions are judged by the system that it runs on, a Linux."""

    def __init__(self, lost=()):
        self.calls, self.lost = [], lost

    def __call__(self, module, arguments):
        self.calls.append(arguments)
        if module == "sphinx":
            Path(arguments[-1]).mkdir(parents=True)
            (Path(arguments[-1]).parent / "jupyter_execute").mkdir()
            return (Path(arguments[-1]) / "index.html").write_text(f"made of {arguments[-2]}")
        if arguments[0] == "wheel":
            assert Path(arguments[-1], "setup.cfg").is_file()
            return write_wheel(Path(arguments[arguments.index("--wheel-dir") + 1]), "minibert")
        folder = Path(arguments[arguments.index("--dest") + 1])
        known = [a for a in arguments if a in ("pywinpty", "for-pywinpty")]
        if any(a.endswith(".whl[notebooks]") for a in arguments):
            known += ["minibert", "numpy", "jupytext", "jupyterlab", "some-thing", "pexpect"]
        for name in set(known) - set(self.lost):
            write_wheel(folder, name)
        return None


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "project"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "setup.cfg").write_text("")
    (folder / "notebooks" / "01_a.ipynb").write_text('{"cells": [{"source": ["the film ", "was dull"]}]}')
    return pack.Course(folder, write_tiny_backbone(tmp_path / "b.h5"), targets("windows,linux", "3.12"))


@pytest.fixture
def packed(course, tmp_path):
    pack.pack(course, tmp_path / "out", lambda line: None, Pip())
    return tmp_path / "out"


def test_what_is_packed(course, packed):
    names = {path.name for path in (packed / "wheels").iterdir()}
    assert "pywinpty-1.0-py3-none-any.whl" in names and "for_pywinpty-1.0-py3-none-any.whl" in names
    assert (packed / "notebooks" / "01_a.ipynb").read_bytes() == (course.project / "notebooks/01_a.ipynb").read_bytes()
    readme = (packed / "README.txt").read_text()
    assert 'pip install --no-index --find-links wheels "minibert[notebooks]"\n' in readme
    assert (
        "Python 3.12" in readme
        and "windows on AMD64 or linux on x86_64" in readme
        and "word pieces, in float16" in readme
    )
    sums = serve.read_sums((packed / "SHA256SUMS").read_text(), "here")
    files = {path.relative_to(packed).as_posix(): path for path in packed.rglob("*") if path.is_file()}
    assert sums.keys() == files.keys() - {"SHA256SUMS"}
    assert all(sha256_of(files[name]) == digest for name, digest in sums.items())
    assert not list(packed.parent.glob(".out*"))


def test_nothing_is_written_over(course, packed, capsys):
    before = (packed / "SHA256SUMS").read_bytes()
    with pytest.raises(InputError, match="is there already; nothing was written"):
        pack.pack(course, packed, run=Pip())
    assert (packed / "SHA256SUMS").read_bytes() == before
    (packed.parent / "empty").mkdir()
    pack.pack(course, packed.parent / "empty", run=Pip())
    assert (packed.parent / "empty" / "README.txt").exists() and "MB" in capsys.readouterr().out


def test_a_pack_that_fails_leaves_nothing(course, tmp_path):
    with pytest.raises(InputError, match="pip got no wheel of for-pywinpty for windows"):
        pack.pack(course, tmp_path / "out", run=Pip(lost=["for-pywinpty"]))
    (course.project / "notebooks" / "02_b.ipynb").write_text("{}")
    with pytest.raises(InputError, match=r"02_b.ipynb: is no notebook"):
        pack.pack(course, tmp_path / "out", run=Pip())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        pack.pack(course, tmp_path / "file" / "out", run=Pip())
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_what_a_killed_pack_left_is_removed_by_the_next(course, tmp_path):
    killed = """
import os, sys
from pathlib import Path
from minibert.scratch import temporary_folder
with temporary_folder(".out-", Path(sys.argv[1])) as work:
    (work / "ready").mkdir()
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    assert list(tmp_path.glob(".out-*"))
    pack.pack(course, tmp_path / "out", run=Pip())
    (tmp_path / "usual").mkdir()
    assert not list(tmp_path.glob(".out*"))
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_the_current_folder_is_not_replaced(course, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = Pip()
    for name in (".", "../here"):
        with pytest.raises(InputError, match=f"^{name} is the folder that you are in"):
            pack.pack(course, Path(name), run=run)
    assert not run.calls and not list((tmp_path / "here").iterdir())


def test_the_site_goes_with_it_where_it_can_be_built(course, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "find_spec", lambda name: name)
    pack.pack(course, tmp_path / "with", lambda line: None, Pip())
    folders = {path.name for path in (tmp_path / "with").iterdir() if path.is_dir()}
    assert folders == {"models", "notebooks", "site", "wheels"}
    assert (tmp_path / "with" / "site" / "index.html").read_text() == f"made of {course.project}"
    assert "site/index.html is the course's site" in (tmp_path / "with" / "README.txt").read_text()
    assert "  site/index.html\n" in (tmp_path / "with" / "SHA256SUMS").read_text()
    said = []
    monkeypatch.setattr(pack, "find_spec", lambda name: None if name == "myst_nb" else name)
    pack.pack(course, tmp_path / "without", said.append, Pip())
    assert not (tmp_path / "without" / "site").exists() and "the extra docs" in " ".join(said)
    assert "site/" not in (tmp_path / "without" / "README.txt").read_text()


def test_pip_itself_when_it_fails(tmp_path):
    with pytest.raises(InputError) as caught:
        pack.run_module("pip", ["download", "--no-index", "--dest", str(tmp_path), "no-such-package-at-all"])
    assert "pip download failed: " in str(caught.value) and "\n" not in str(caught.value)


def test_what_pip_is_told():
    windows, linux = targets("windows,linux", "3.12")
    assert windows.options == ["--platform", "win_amd64", "--python-version", "3.12", "--implementation", "cp"]
    assert "manylinux_2_28_x86_64" in linux.options and "manylinux2014_x86_64" in linux.options
    (this,) = targets()
    assert this.options == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("solaris", ""), "expected linux, windows, macos"),
        (("linux", "2.7"), "from 3.10 on"),
        (("", "3.12"), "give --s"),
    ],
)
def test_targets_that_are_unknown(given, said):
    with pytest.raises(InputError, match=said):
        targets(*given)


def test_missing_follows_extras_and_conditions(tmp_path):
    for name in ("minibert", "numpy", "jupytext", "jupyterlab"):
        write_wheel(tmp_path, name)
    wanted = ["minibert[notebooks]"]
    assert missing(tmp_path, Target("windows", "3.12"), wanted) == ["Some_Thing>=1", "pywinpty"]
    assert missing(tmp_path, Target("macos", "3.12"), wanted) == ["Some_Thing>=1", "pexpect"]
    (tmp_path / "x-1-py3-none-any.whl").write_text("no zip")
    with pytest.raises(InputError, match="is no wheel"):
        missing(tmp_path, Target("macos", "3.12"), wanted)


# --------------------------------------------------------------------------------------------------- course backbone


def test_a_course_backbone_cuts_its_texts_as_before(tmp_path):
    source = load_backbone(write_tiny_backbone(tmp_path / "b.h5"))
    texts = ["the film was dull", "badly, books!"]
    n = course_backbone.write(tmp_path / "b.h5", tmp_path / "small.h5", texts, 0)
    small = load_backbone(tmp_path / "small.h5")
    assert n == small.config.vocab_size < source.config.vocab_size
    before, after = source.encode(texts, max_length=24), small.encode(texts, max_length=24)
    assert source.tokenizer.words(before) == small.tokenizer.words(after)
    states = source.forward(before)
    assert 0 < np.abs(small.forward(after) - states).max() < 2e-3 * np.abs(states).max()
    assert course_backbone.write(tmp_path / "b.h5", tmp_path / "all.h5", texts, 1000) == source.config.vocab_size
    assert (tmp_path / "all.h5").stat().st_size < 0.6 * (tmp_path / "b.h5").stat().st_size


# ------------------------------------------------------------------------------------------------------ serve, fetch


@contextmanager
def served(folder):
    with serve.server(folder, 0, "127.0.0.1") as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_course_is_fetched_once(packed, tmp_path, capsys):
    with served(packed) as url:
        assert main(["fetch", "--from", url + "/", str(tmp_path / "mine")]) == 0
        for name in ("models/minilm-l6.h5", "notebooks/01_a.ipynb"):
            assert (tmp_path / "mine" / name).read_bytes() == (packed / name).read_bytes()
        assert not (tmp_path / "mine" / "wheels").exists()
        (tmp_path / "mine" / "notebooks" / "01_a.ipynb").write_text("my work")
        capsys.readouterr()
        assert main(["fetch", "--from", url, str(tmp_path / "mine")]) == 0
    told = capsys.readouterr().out
    assert "models/minilm-l6.h5: there already" in told and "01_a.ipynb: kept as it is; it differs" in told
    assert (tmp_path / "mine" / "notebooks" / "01_a.ipynb").read_text() == "my work"


def test_a_file_that_is_not_what_was_packed_is_refused(packed, tmp_path, capsys):
    with open(packed / "models" / "minilm-l6.h5", "r+b") as file:
        file.write(b"x")
    with served(packed) as url:
        assert main(["fetch", "--from", url, str(tmp_path / "mine")]) == 2
        error = capsys.readouterr().err
        assert "models/minilm-l6.h5: has the SHA-256" in error and "nothing was written" in error
        assert not list((tmp_path / "mine" / "models").iterdir())
        (packed / "models" / "minilm-l6.h5").unlink()
        assert main(["fetch", "--from", url, str(tmp_path / "mine")]) == 2
        assert "the server says 404" in capsys.readouterr().err
    assert main(["fetch", "--from", url, str(tmp_path / "mine")]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["fetch", "--from", "file:///etc", str(tmp_path / "mine")]) == 2
    assert "expected an address" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:/x", "a\\b", "a\tb", "", "."])
def test_sums_that_lead_out_of_the_folder(name):
    with pytest.raises(InputError, match="line 1 of SHA256SUMS"):
        serve.read_sums(f"{'0' * 64}  {name}\n", "here")


def test_what_cannot_be_served(packed, tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 2
    assert "no packed course" in capsys.readouterr().err
    with served(packed) as url:
        port = url.rsplit(":", 1)[1]
        with pytest.raises(InputError, match=f"port {port} cannot be served"):
            serve.server(packed, int(port), "127.0.0.1")
    with pytest.raises(InputError, match="port 70000"):
        serve.server(packed, 70000)
    said = serve.instructions("10.0.0.7", 8000)
    assert '--trusted-host 10.0.0.7 --find-links http://10.0.0.7:8000/wheels/ "minibert[notebooks]"\n' in said
