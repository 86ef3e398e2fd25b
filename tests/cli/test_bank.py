"""`minibert bank` as a user meets it: its subcommands, and the form of earlier versions."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from test_cli import assert_refused, run, snapshot
from tiny import write_tiny_backbone

from minibert import AdapterConfig, Model, load_backbone
from minibert.cli import main
from minibert.storage import RunFolder, add_task, read_bank, write_bank

NEW_NAME = "a name; $(of) two *words*"


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A task with all that a bank can know of one."""
    backbone = load_backbone(write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.h5"))
    model = Model(backbone, n_out=2, adapter=AdapterConfig(3, activation="relu"), train_layernorm=False)
    rows = {"train": np.arange(70, dtype=np.uint64), "dev": np.arange(9, dtype=np.uint64)}
    training = {"task": "csv", "pairs": False, "train": {"lr": 0.003, "epochs": 7}, "data_whole": "d" * 64}
    return model.to_record("reviews", ("bad", "good"), training, {"accuracy": 0.875, "f1": 0.5}, rows)


@pytest.fixture
def place(tmp_path, record):
    """A run folder with the task, and a bank of two."""
    write_bank(tmp_path / "run" / "bank.h5", {"reviews": record})
    add_task(tmp_path / "all.h5", replace(record, name="one"), replace(record, name="two", dev={"accuracy": 0.25}))
    return tmp_path


def names(path):
    return list(read_bank(path))


def test_list_is_what_the_command_without_a_subcommand_prints(place, capsys):
    for options in ([], ["--json"]):
        listed = run(capsys, "bank", "list", place / "all.h5", *options)
        assert listed[0] == 0 and listed == run(capsys, "bank", place / "all.h5", *options)
        assert listed == run(capsys, "bank", *options, place / "all.h5")
    assert re.fullmatch(
        r"one +adapter +[\d,]+ parameters +dev accuracy 0.8750, f1 0.5000\ntwo .*0.2500\n",
        run(capsys, "bank", "list", place / "all.h5")[1],
    )


def test_show_tells_everything(place, capsys, record):
    code, out, err = run(capsys, "bank", "show", place / "run")
    assert (code, err) == (0, "")
    adapters, head = sum(a.size for n, a in record.params.items() if "/adapter/" in n), 32 * 2 + 2
    for told in (
        r"task +reviews",
        r"head +classify",
        r"labels +bad, good",
        r"method +adapter",
        r"  size +3",
        r"  activation +relu",
        r"  layers +all",
        r"rows, each different one once",
        r"  train_layernorm +no",
        r"  accuracy +0.875",
        r"  train +lr 0.003, epochs 7",
        r"  train +70",
        rf"  adapters +{adapters:,}",
        rf"  head +{head}",
        rf"  total +{adapters + head:,}",
        rf"bytes +{4 * (adapters + head) + 8 * 79:,}",
        rf"  fingerprint +{record.backbone_fingerprint}",
        rf"  tokenizer +{record.backbone_tokenizer}",
        r"  config +.*hidden_size 32, n_layers 2",
    ):
        assert re.search(rf"^{told}", out, re.MULTILINE), told
    found = json.loads(run(capsys, "bank", "show", "--json", place / "run", "reviews")[1])
    assert found["labels"] == ["bad", "good"] and found["adapter"]["activation"] == "relu"
    assert found["training"] == record.training and found["dev"] == record.dev
    assert found["rows"] == {"train": 70, "dev": 9} and found["parameters"]["total"] == adapters + head


def test_show_of_some_of_the_tasks(place, capsys):
    def shown(*tasks):
        return re.findall(r"^task +(.*)$", run(capsys, "bank", "show", place / "all.h5", *tasks)[1], re.MULTILINE)

    assert shown() == ["one", "two"] and shown("two") == ["two"] and shown("two", "one") == ["two", "one"]


def test_add_copy_rename_remove_extract(place, capsys):
    bank = place / "all.h5"
    size = bank.stat().st_size
    for command, told, left in (
        (["add", bank, place / "run"], "added reviews; ", ["one", "reviews", "two"]),
        (["add", bank, place / "run", "--as", "mine"], "added mine; ", ["mine", "one", "reviews", "two"]),
        (["remove", bank, "mine", "reviews"], "removed mine, reviews; ", ["one", "two"]),
        (["copy", bank, "one", NEW_NAME], f"copied one to {NEW_NAME}; ", [NEW_NAME, "one", "two"]),
        (["rename", bank, NEW_NAME, "three"], f"renamed {NEW_NAME} to three; ", ["one", "three", "two"]),
        (["remove", bank, "three"], "removed three; ", ["one", "two"]),
    ):
        code, out, err = run(capsys, "bank", *command)
        assert (code, err, names(bank)) == (0, "", left)
        n = f"{len(left)} tasks"
        assert re.fullmatch(re.escape(f"{told}{bank}: {n}, ") + r"[\d.]+ MB, before [\d.]+ MB\n", out)
    assert bank.stat().st_size == size
    code, out, _ = run(capsys, "bank", "extract", bank, "two", "--out", place / "new" / "two.h5", "--json")
    new = place / "new" / "two.h5"
    assert (code, names(new), names(bank)) == (0, ["two"], ["one", "two"])
    told = {"bank": str(new), "done": "extracted", "names": ["two"], "tasks": ["two"], "bytes": new.stat().st_size}
    assert json.loads(out) == told


def test_add_of_one_task_of_a_bank_and_of_one_that_is_there(place, capsys):
    assert run(capsys, "bank", "add", place / "new.h5", place / "all.h5", "--name", "two")[0] == 0
    assert names(place / "new.h5") == ["two"]
    assert_refused(run(capsys, "bank", "add", place / "new.h5", place / "all.h5"), "has a task 'two' already")
    assert names(place / "new.h5") == ["two"]
    changed = replace(read_bank(place / "all.h5")["two"], dev={"accuracy": 1.0})
    write_bank(place / "other.h5", {"two": changed})
    assert run(capsys, "bank", "add", place / "new.h5", place / "other.h5", "--replace")[0] == 0
    assert read_bank(place / "new.h5")["two"].dev == {"accuracy": 1.0}


REFUSED = {
    "nothing": ("", "arguments are required: BANK (see minibert bank --help)"),
    "list of nothing": ("list", "arguments are required: BANK"),
    "show of no task": ("show {place}/all.h5 three", "all.h5 has no task 'three'; it has one, two"),
    "add of nothing": ("add {place}/all.h5", "arguments are required: RUN"),
    "add of no task": ("add {place}/all.h5 {place}/run --name one", "has no task 'one'; it has reviews"),
    "add of two of one name": ("add {place}/all.h5 {place}/run {place}/run/bank.h5 --replace", "are called 'reviews'"),
    "add to a new folder": ("add {place}/none {place}/run", "ends in .h5"),
    "copy over a task": ("copy {place}/all.h5 one two", "has a task 'two' already"),
    "copy to a path": ("copy {place}/all.h5 one ../two", "cannot be named '../two'"),
    "rename without a name": ("rename {place}/all.h5 one", "arguments are required: NEW"),
    "add as a list": ("add {place}/all.h5 {place}/run --as d,e", "cannot be named 'd,e': a list of tasks"),
    "rename to nothing": ("rename {place}/all.h5 one .", "cannot be named '.'"),
    "rename in no bank": ("rename {place}/none.h5 one two", "no such file"),
    "remove the last": ("remove {place}/run reviews", "no task would be left, and a bank has at least one; delete"),
    "remove what is not there": ("remove {place}/all.h5 one three", "has no task 'three'"),
    "extract to nowhere": ("extract {place}/all.h5 one", "arguments are required: --out"),
    "extract over a file": ("extract {place}/all.h5 one --out {place}/run/bank.h5", "is there already"),
    "extract without an ending": ("extract {place}/all.h5 one --out {place}/new", "ends in .h5"),
    "earlier form without add": ("{place}/all.h5 --as x", "give --add"),
}


@pytest.mark.parametrize(("command", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_changes_nothing(place, capsys, command, told):
    before = snapshot(place)
    assert_refused(run(capsys, "bank", *command.format(place=place).split()), told)
    assert snapshot(place) == before


def test_the_bank_of_a_run_in_use(place, capsys):
    run_folder = place / "run"
    add_task(run_folder / "bank.h5", replace(read_bank(run_folder / "bank.h5")["reviews"], name="more"))
    with RunFolder(run_folder).in_use(), ThreadPoolExecutor(1) as other:
        for command in (
            ["remove", run_folder, "more"],
            ["rename", run_folder, "more", "x"],
            ["copy", run_folder, "more", "x"],
        ):
            assert other.submit(main, ["bank", *map(str, command)]).result() == 2
            assert "is the bank of a run that is in use" in capsys.readouterr().err
        for command in (
            ["list", run_folder],
            ["show", run_folder],
            ["extract", run_folder, "more", "--out", place / "x.h5"],
        ):
            assert other.submit(main, ["bank", *map(str, command)]).result() == 0
    assert names(run_folder / "bank.h5") == ["more", "reviews"]


def test_every_subcommand_has_a_help_with_an_example_and_no_help_names_the_earlier_form(capsys):
    code, out, _ = run(capsys, "bank", "--help")
    listed = re.findall(r"^    (\w+) ", out, re.MULTILINE)
    assert code == 0 and {"list", "show", "add", "copy", "rename", "remove", "extract"} <= set(listed)
    assert "earlier" not in out
    for action in listed:
        code, out, _ = run(capsys, "bank", action, "--help")
        assert code == 0 and f"example: minibert bank {action} " in " ".join(out.split())


def test_a_folder_called_as_a_subcommand_is_reached_by_its_path(place, capsys, monkeypatch):
    (place / "run").rename(place / "list")
    monkeypatch.chdir(place)
    assert run(capsys, "bank", "./list")[1] == run(capsys, "bank", "list", "list")[1] != ""
