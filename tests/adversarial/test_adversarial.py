"""Forty mutated files of each format are read right or refused clearly (python -m tests.adversarial: thousands).

And the judge can fail: a reader that is wrong, unclear, hungry, hangs or dies is told from one that is right.
"""

from __future__ import annotations

import os
import time
from functools import partial
from random import Random

import h5py
import pytest

from minibert.errors import InputError

from . import workers
from .case import GOOD, Case, difference, judge
from .formats import FORMATS
from .hdf5_files import with_block_checksums, write_small_backbone
from .mutations import Doubled, mutate_json, strict_json

FILES, SEED, PROCESSES = 40, 18, 2


@pytest.fixture(scope="module")
def failures():
    """{format: [what failed, and how to make the file again]} of all formats, read by two processes."""
    found: dict[str, list[str]] = {name: [] for name in FORMATS}
    for name, number, result in workers.run(workers.jobs_of(FORMATS, SEED, FILES), PROCESSES):
        if result.outcome not in GOOD:
            again = f"python -m tests.adversarial --seed {SEED} --one {name} {number}"
            found[name].append(f"{result.outcome}: {result.kind}: {again}")
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_are_read_right_or_refused_in_one_clear_line(failures, name):
    assert not failures[name], "\n".join(failures[name])


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_are_not_mutated_are_read_right(tmp_path, name):
    make = FORMATS[name]()
    for i in range(12):
        (tmp_path / str(i)).mkdir()
        result = judge(make(Random(i), tmp_path / str(i), mutate=False))
        assert result.outcome == "right", result.detail


@pytest.mark.parametrize("name", FORMATS)
def test_a_number_gives_the_same_file_again(tmp_path, name):
    makers = {again: FORMATS[name]() for again in ("a", "b")}
    for number in range(15):
        files = []
        for again, make in makers.items():
            folder = tmp_path / f"{number}{again}"
            (folder / "x").mkdir(parents=True)
            case = make(workers.generator(name, SEED, number), folder / "x")
            parts = sorted(path for path in (folder / "x").rglob("*") if path.is_file())
            # A link may hold the name of the folder it lies in.
            bytes_of = {p.relative_to(folder): p.read_bytes().replace(bytes(folder), b"") for p in parts}
            files.append(
                (case.what.replace(str(folder), ""), len(bytes_of), bytes_of if "HDF5" not in case.what else None)
            )
        assert files[0] == files[1]


# ------------------------------------------------------------------------------------- readers with every kind of fault


def _wrong(path):
    return "another text"


def _unnamed(path):
    raise InputError("something is wrong")


def _two_lines(path):
    raise InputError(f"{path}: is wrong\nin two lines")


def _escapes(path):
    raise InputError(f"{path}: is wrong \x1b[31m")


def _bare(path):
    return {}["missing"]


def _hungry(path):
    return len(bytearray(b"x") * (64 << 20)) and path.read_text()


def _asks_for_too_much(path):
    return bytearray(1 << 50)


def _hangs(path):
    time.sleep(60)


def _dies(path):
    os.abort()


def _right(path):
    return path.read_text()


def _clear(path):
    raise InputError(f"{path}, line 1: is wrong")


READERS = {
    _right: "right",
    _clear: "clear",
    _unnamed: "unclear",
    _two_lines: "unclear",
    _escapes: "unclear",
    _bare: "unclear",
    _wrong: "wrong",
    _hungry: "memory",
    _asks_for_too_much: "memory",
    _hangs: "hang",
    _dies: "crash",
}


def _prepare(reader):
    """A format whose mutated files are read by `reader`."""

    def make(rng: Random, folder, mutate: bool = True) -> Case:
        path = folder / "x.txt"
        path.write_text("a text")
        read = reader if mutate else _right
        return Case([path], "a fault", lambda: read(path), lambda: ["a text"], difference)

    return make


@pytest.mark.slow
def test_every_kind_of_fault_is_told_and_the_other_files_are_read_all_the_same(monkeypatch):
    monkeypatch.setattr(workers, "HANG_SECONDS", 1.0)
    formats = {reader.__name__: partial(_prepare, reader) for reader in READERS}
    found = [(name, number, result.outcome) for name, number, result in workers.run(
        [(name, 0, 0, 2) for name in formats], PROCESSES, formats)]  # fmt: skip
    assert sorted(found) == sorted((reader.__name__, i, outcome) for reader, outcome in READERS.items() for i in (0, 1))


def test_a_fault_of_the_generator_is_not_put_down_to_the_reader():
    ((_, _, result),) = workers.run([("x", 0, 0, 1)], 1, {"x": partial(_prepare_badly)})
    assert result.outcome == "crash" and "in these tests" in result.kind


def _prepare_badly():
    raise OSError("no good files")


def test_blocks_with_new_checksums_are_believed_by_hdf5(tmp_path):
    """The file that was not damaged stays as it is; a flipped bit in an attribute is read as it stands."""
    write_small_backbone(tmp_path / "x.h5")
    data = (tmp_path / "x.h5").read_bytes()
    assert with_block_checksums(data) == data
    place = data.index(b"random 0")
    (tmp_path / "x.h5").write_bytes(with_block_checksums(data[:place] + b"R" + data[place + 1 :]))
    with h5py.File(tmp_path / "x.h5") as file:
        assert file.attrs["source"] == b"Random 0"


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_json_value_is_another_text(seed):
    text, what = mutate_json(Random(seed), {"a": [1, {"b": "x"}], "c": None})
    assert isinstance(text, str) and what.startswith("JSON: ")


def test_doubled_keys_are_told():
    assert strict_json('{"a": 1, "a": 1}') == {"a": 1}
    with pytest.raises(Doubled):
        strict_json('[{"a": 1, "a": 2}]')
    assert strict_json('{"a": 1, "a": 2}', once={"b"}) == {"a": 2}
