"""The kernel cache: damaged, incomplete, full, or not to be trusted."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import kernels
from kernels.runtime import cache, sealed, warm_up

sys.path.insert(0, str(tiny.ROOT))
from tests.kernel_cache import DAMAGES, compute, files_of

pytestmark = pytest.mark.skipif(not kernels.COMPILED, reason="the reference is not compiled")

TWO_KERNELS = """
import numpy as np, kernels
x = np.linspace(-3, 3, 50, dtype=np.float32).reshape(5, 10)
print(*kernels.gelu(x.copy())[0].ravel(), kernels.squared_norm(x))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cache of two kernels, and what they give."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, compute(folder, TWO_KERNELS).stdout


@pytest.mark.parametrize("kind", [".nbi", ".nbc"])
@pytest.mark.parametrize(
    "how",
    [DAMAGES[0], *(pytest.param(how, marks=pytest.mark.slow) for how in DAMAGES[1:])],
    ids=lambda how: how.__name__,
)
def test_a_damaged_file_is_compiled_anew_and_replaced(whole, tmp_path, how, kind):
    folder, expected = whole
    shutil.copytree(folder, tmp_path / "copy")
    file = next(file for file in files_of(tmp_path / "copy") if file.suffix == kind and "_squared_norm" in file.name)
    how(file, random.Random(0))
    first = compute(tmp_path / "copy", TWO_KERNELS)
    assert (first.returncode, first.stdout) == (0, expected), first.stderr
    assert "compiling" in first.stderr and "Traceback" not in first.stderr
    if how.__name__ == "replace_by_folder":
        assert re.search(r"^warning: compiled kernels cannot be kept in .*NUMBA_CACHE_DIR", first.stderr, re.MULTILINE)
    else:
        second = compute(tmp_path / "copy", TWO_KERNELS)
        assert (second.stdout, second.stderr) == (expected, "")


def test_a_file_of_another_kernel_is_none_of_this_one(whole):
    files = [file for file in files_of(whole[0]) if file.suffix == ".nbc"]
    assert all(map(sealed.is_whole, files)) and len(files) == 2
    content = files[0].read_bytes()
    other = files[0].with_name("other.nbc")
    other.write_bytes(content)
    assert not sealed.is_whole(other)
    other.unlink()
    assert not sealed.is_whole(other)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="ulimit")
def test_a_full_folder_is_reported_once_and_not_by_each_process_that_compiles(tmp_path):
    program = """
import resource, numpy as np
resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
import kernels
kernels.ensure_compiled("float32", "predict")
print(kernels.squared_norm(np.ones(9, np.float32)))
"""
    done = compute(tmp_path, program)
    assert (done.returncode, done.stdout) == (0, "9.0\n"), done.stderr
    assert done.stderr.count("warning: ") == done.stderr.count("warning: compiled kernels cannot be kept") == 1


def test_a_mark_is_believed_as_long_as_all_that_it_lists_is_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(warm_up, "CACHE_FOLDER", tmp_path)
    mark, file = tmp_path / "x.complete", tmp_path / "a.nbc"

    def has_all_files():
        sealed.write_sealed(file, b"machine code")
        sealed.write_sealed(mark, b"a.nbc")
        return warm_up._has_all_files(mark)

    assert has_all_files() and warm_up._has_all_files(mark)
    for spoil in (lambda: file.unlink(), lambda: file.write_bytes(b"machine"), lambda: mark.write_bytes(b"")):
        assert has_all_files()
        spoil()
        assert not warm_up._has_all_files(mark) and not mark.exists()
        assert re.fullmatch(r"note: 1 files in .* compiled anew\n", capsys.readouterr().err)
    assert not warm_up._has_all_files(mark) and capsys.readouterr().err == ""


OF_TRAINING = """
import kernels
from kernels.runtime import sealed, warm_up
from kernels.runtime.compiling import KERNELS
kernels.ensure_compiled("float32", "train")
listed = warm_up._mark("float32", "train").read_bytes()[: -sealed.SEAL].decode().splitlines()
assert all(sealed.is_whole(warm_up.CACHE_FOLDER / name) for name in listed)
kernels.compile_for("train")
loaded = {kernel.__name__ for kernel in KERNELS if kernel.signatures}
assert len(loaded) > 15 and all(any(f".{name}-" in file for file in listed) for name in loaded)
"""


def test_the_mark_lists_every_kernel_of_training():
    """In a process of its own: other tests load other kernels, too."""
    done = subprocess.run([sys.executable, "-c", OF_TRAINING], env=tiny.environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="ulimit")
def test_a_full_folder_is_one_line_and_kernels_are_compiled_in_memory(whole, tmp_path):
    program = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900)){TWO_KERNELS}"
    done = compute(tmp_path, program)
    assert (done.returncode, done.stdout) == (0, whole[1]), done.stderr
    compiling, warning = done.stderr.splitlines()
    assert compiling.startswith("compiling") and warning.startswith(
        f"warning: compiled kernels cannot be kept in {tmp_path}"
    )
    assert not [file for file in Path(tmp_path).rglob("*") if "tmp" in file.suffix]


def test_a_kernel_whose_folder_cannot_be_made_is_compiled_in_memory(whole, tmp_path):
    """Not in the folder that Numba would take instead, which knows nothing of our versions."""
    shutil.copytree(whole[0], tmp_path / "copy")
    folder = next((tmp_path / "copy").rglob("adam-*"))
    shutil.rmtree(folder)
    folder.write_text("a file of that name")
    program = TWO_KERNELS + "from kernels.runtime import warm_up; warm_up._is_complete('float32', 'train')"
    done = compute(tmp_path / "copy", program)
    assert (done.returncode, done.stdout) == (0, whole[1]), done.stderr
    assert done.stderr.count("warning: compiled kernels cannot be kept") == 1 and folder.name in done.stderr


def test_a_cache_that_was_moved_is_still_complete(monkeypatch, tmp_path):
    before = warm_up._mark("float32", "train").name
    moved = {str(tmp_path.joinpath(*Path(folder).parts[-2:])) for folder in warm_up._kernel_folders()}
    monkeypatch.setattr(warm_up, "_kernel_folders", lambda: moved)
    assert warm_up._mark("float32", "train").name == before


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_folder_that_everyone_can_write_to_is_not_used(tmp_path):
    folder = tmp_path / "minibert" / "kernels"
    assert cache._why_not(folder) == ""
    folder.chmod(0o777)
    assert "every user can write there" in cache._why_not(folder)


def test_machine_code_is_kept_apart_for_python_o_and_settings_of_the_compiler():
    def target(*options, **environment):
        program = "from kernels.runtime import cache; print(cache._target())"
        command = [sys.executable, *options, "-c", program]
        return subprocess.run(
            command, env=tiny.environment(**environment), capture_output=True, text=True, check=True
        ).stdout

    targets = [target(), target("-O"), target(PYTHONOPTIMIZE="2"), target(NUMBA_OPT="1"), target(NUMBA_BOUNDSCHECK="1")]
    assert len(set(targets)) == 5 and target() == targets[0]


def test_a_compiler_runs_under_the_flags_of_its_program():
    program = "from kernels.runtime import warm_up; print(warm_up.command_of_compiler('warm_up', 'f()')[1:-2])"
    command = [sys.executable, "-OO", "-c", program]
    done = subprocess.run(command, env=tiny.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "['-O', '-O']\n"


def test_what_a_killed_process_left_beside_a_file_is_removed_once_it_is_old(tmp_path):
    old, young = tmp_path / "kernel.nbc.1.tmp", tmp_path / "kernel.nbc.2.tmp"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    sealed.write_sealed(tmp_path / "kernel.nbc", b"machine code")
    assert sealed.is_whole(tmp_path / "kernel.nbc") and young.exists() and not old.exists()
