"""`minibert bank export` and `minibert bank import`: what they print, and what they refuse."""

import json

import numpy as np
import pytest
from tiny import FIXTURES, write_tiny_backbone

from minibert import AdapterConfig, Model, load_backbone
from minibert.cli import main
from minibert.gradcheck import away_from_identity
from minibert.storage import add_task, read_bank, write_bank


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a backbone, and a bank of two tasks."""
    folder = tmp_path_factory.mktemp("exchange")
    backbone = load_backbone(write_tiny_backbone(folder / "tiny.h5"))
    tasks = {}
    for name, head, labels in (("half", "classify", ["no", "yes"]), ("length", "regress", [])):
        model = Model(backbone, head, len(labels) or 1, adapter=AdapterConfig(4, reads_norm=head == "regress"))
        away_from_identity(model)
        settings = {"pairs": head == "regress", "train": {"max_length": 20}}
        tasks[name] = model.to_record(name, labels, settings, {"accuracy": 0.5} if labels else {})
    write_bank(folder / "two.h5", tasks)
    return folder


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_out_and_in_again(place, tmp_path, capsys):
    code, out, err = run(
        capsys, "bank", "export", place / "two.h5", "--to", "adapterhub", tmp_path / "half", "--name", "half"
    )
    assert code == 0 and out.startswith(f"{tmp_path / 'half'}: adapter_config.json, pytorch_adapter.bin")
    assert err == "note: the task is called task_half there: the library cannot load the name half\n"
    command = ["bank", "import", tmp_path / "half", "--backbone", place / "tiny.h5", "--out"]
    code, out, err = run(capsys, *command, tmp_path / "new.h5")
    assert (code, err) == (0, "")
    assert out.startswith(
        f"{tmp_path / 'new.h5'}: task half, 4 units in attention and feed_forward, head classify (no, yes)"
    )
    ours, theirs = read_bank(place / "two.h5")["half"], read_bank(tmp_path / "new.h5")["half"]
    assert all(np.array_equal(array, theirs.params[name]) for name, array in ours.params.items())

    code, out, err = run(capsys, *command, tmp_path / "new.h5")
    assert code == 2 and "has a task 'half' already" in err
    assert run(capsys, *command, tmp_path / "new.h5", "--replace")[0] == 0
    assert run(capsys, *command, tmp_path / "new.h5", "--as", "other", "--pairs")[0] == 0
    assert {n: r.training["pairs"] for n, r in read_bank(tmp_path / "new.h5").items()} == {"half": False, "other": True}
    code, out, err = run(capsys, "predict", "--backbone", place / "tiny.h5", "--bank", tmp_path / "new.h5",
                         "--name", "half", "good film")  # fmt: skip
    assert code == 0 and out.split("\t")[0] in ("no", "yes")


def test_a_task_without_a_score_is_told(place, tmp_path, capsys):
    code, _, err = run(
        capsys, "bank", "export", place / "two.h5", "--to", "adapterhub", tmp_path / "o", "--name", "length"
    )
    assert code == 0 and "task length has no score in the bank" in err
    assert json.loads((tmp_path / "o" / "adapter_config.json").read_text())["minibert"]["pairs"] is True


@pytest.mark.parametrize("arguments, message", [
    ("export {place}/two.h5 --to adapterhub {tmp}/o", "holds 2 tasks; choose one with --name"),
    ("export {place}/two.h5 --to adapterhub {place} --name half", "is not empty; give a new folder"),
    ("export {place}/two.h5 --to adapterhub {place}/tiny.h5 --name half", "cannot be written"),
    ("export {place}/two.h5 --to adapterhub {tmp}/o --name half --backbone b.h5", "--backbone is for --to onnx"),
    ("export {place}/two.h5 --to adapterhub {tmp}/o --name none", "has no task 'none'"),
    ("import {place} --backbone {place}/tiny.h5 --out {tmp}/b.h5", "has no adapter_config.json"),
    ("import {fixtures}/adapterhub/seq_bn --backbone {place}/tiny.h5 --out {tmp}/b.h5", "hidden_size is 24, and the"),
    ("import {place} --backbone {place}/tiny.h5 --out {tmp}/b", "the name of a new bank ends in .h5"),
    ("import {place} --backbone {place}/tiny.h5 --out {tmp}/b.h5 --as d,e", "cannot be named 'd,e': a list of tasks"),
])  # fmt: skip
def test_what_cannot_be_done_is_an_error_and_writes_nothing(place, tmp_path, capsys, arguments, message):
    before = sorted(path.name for path in place.iterdir())
    words = arguments.format(place=place, tmp=tmp_path, fixtures=FIXTURES).split()
    code, out, err = run(capsys, "bank", *words)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == before and not list(tmp_path.iterdir())


def test_a_bank_of_another_backbone_takes_no_task(place, tmp_path, capsys):
    assert (
        run(capsys, "bank", "export", place / "two.h5", "--to", "adapterhub", tmp_path / "o", "--name", "half")[0] == 0
    )
    write_tiny_backbone(tmp_path / "other.h5", seed=1)
    code, _, err = run(
        capsys, "bank", "import", tmp_path / "o", "--backbone", tmp_path / "other.h5", "--out", tmp_path / "b.h5"
    )
    assert code == 2 and "was exported from the backbone" in err and not (tmp_path / "b.h5").exists()
    add_task(tmp_path / "mixed.h5", Model(load_backbone(tmp_path / "other.h5")).to_record("tea", ["a", "b"]))
    code, _, err = run(
        capsys, "bank", "import", tmp_path / "o", "--backbone", place / "tiny.h5", "--out", tmp_path / "mixed.h5"
    )
    assert code == 2 and "was trained on the backbone" in err
