"""The command line as a user meets it: what it prints and writes, and that bad input is told before any work."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys

import h5py
import pytest
from tiny import random_texts, write_csv, write_tiny_backbone

from minibert.cli import commands, main
from minibert.model import Model
from minibert.params import FlatParams
from minibert.storage import RunFolder, read_bank

ODD_TEXTS = ["", " ", "\U0001f600\U0001f389" * 60, "\x07\x1b[31mred", "नमस्ते 漢字 العربية", "good " * 5000, "x" * 5000]
ODD_TEXTS += ["\u2028", "\ufeffgood", "a\rb", "two\nlines", "\ud7ff\ue000\U0010ffff"]


def run(capsys, *arguments):
    """(exit code, standard output, standard error) of a command in this process."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit_by_argparse:
        code = exit_by_argparse.code
    out, err = capsys.readouterr()
    return code, out, err


def snapshot(folder):
    """Every file below a folder and what is in it."""
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Backbones, data and trained runs that tests only read. What they write goes to their own tmp_path."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_backbone(place / "tiny.h5")
    write_tiny_backbone(place / "other.h5", seed=1)
    texts, labels = random_texts(60)
    write_csv(place / "data.csv", {"text": texts, "label": labels, "score": [str(i % 7 / 2) for i in range(60)]})
    pairs, labels = random_texts(60, pairs=True)
    first, second = zip(*(pair.split("\t") for pair in pairs), strict=True)
    write_csv(place / "pairs.csv", {"one": first, "two": second, "label": labels})
    write_csv(place / "odd.csv", {"text": ODD_TEXTS * 4, "label": ["no", "yes"] * (2 * len(ODD_TEXTS))})
    assert main([*train_arguments(place, place / "run"), "--quiet"]) == 0
    pair_columns = ["--text-column", "one", "--pair-column", "two"]
    assert main([*train_arguments(place, place / "pairs", "pairs.csv"), *pair_columns, "--quiet"]) == 0
    write_bad_files(place)
    return place


def write_bad_files(place):
    shutil.copytree(place / "run", place / "cut")
    data = (place / "run" / "bank.h5").read_bytes()
    (place / "cut" / "bank.h5").write_bytes(data[: len(data) // 2])
    data = (place / "tiny.h5").read_bytes()
    (place / "cut.h5").write_bytes(data[: len(data) // 2])
    (place / "text.h5").write_text("not HDF5")
    (place / "new.h5").write_bytes(data)
    with h5py.File(place / "new.h5", "r+") as file:
        file.attrs["version"] = 99
    (place / "empty.csv").write_text("")
    (place / "header.csv").write_text("text,label\n")
    (place / "one_class.csv").write_text("text,label\na,yes\nb,yes\nc,yes\n")
    (place / "fields.csv").write_text("text,label\na,yes\nb,no,more\n")
    (place / "no_label.csv").write_text("text,label\na,yes\nb,\n")
    (place / "latin.csv").write_bytes("text,label\na,yes\ncafé,no\n".encode("latin-1"))
    (place / "scores.csv").write_text("text,label\na,0.5\nb,nan\nc,1\n")
    (place / "folder").mkdir()
    write_csv(place / "folder" / "train.csv", {"text": ["a", "b"], "label": ["yes", "no"]})
    write_csv(place / "folder" / "dev.csv", {"text": ["a", "b"], "label": ["yes", "maybe"]})


def task_arguments(place, data="data.csv"):
    return ["--task", "csv", "--data", str(place / data), "--text-column", "text", "--label-column", "label"]


def train_arguments(place, out, data="data.csv"):
    files = ["train", "--backbone", str(place / "tiny.h5"), "--out", str(out)]
    return [*files, *task_arguments(place, data), "--max-length", "24", "--epochs", "2"]


def bank_arguments(place, command, bank):
    return [command, "--backbone", str(place / "tiny.h5"), "--bank", str(bank)]


# ------------------------------------------------------------------------------------------------------- bad input

# Later options win over those of train_arguments. {place} is the folder with the files, {tmp} one of this test.
BAD_TRAINING = {
    "no such backbone": ("--backbone {place}/none.h5", "no such file"),
    "truncated backbone": ("--backbone {place}/cut.h5", "damaged or cut short"),
    "backbone that is text": ("--backbone {place}/text.h5", "not an HDF5 file"),
    "backbone that is a bank": ("--backbone {place}/run/bank.h5", "is a task bank, expected a backbone"),
    "backbone that is a folder": ("--backbone {place}", "not a file"),
    "backbone of a later version": ("--backbone {place}/new.h5", "format version 99"),
    "unknown task": ("--task colla", "there is no task 'colla'"),
    "no data": ("--data {place}/none.csv", "does not exist"),
    "data of another task": ("--task opinions", "cannot be used with task opinions"),
    "empty file": ("--data {place}/empty.csv", "is empty"),
    "no row": ("--data {place}/header.csv", "no row"),
    "one class": ("--data {place}/one_class.csv", "only one class"),
    "one field too many": ("--data {place}/fields.csv", "line 3: found 3 fields, expected 2"),
    "empty label": ("--data {place}/no_label.csv", "line 3: the label"),
    "encoding": ("--data {place}/latin.csv", "line 3: byte 0xe9 is not utf-8"),
    "score that is none": ("--data {place}/scores.csv --regress", "line 3: the score is 'nan'"),
    "label that training does not show": ("--data {place}/folder", "dev.csv, line 3: no training row has the label"),
    "delimiter": ("--delimiter |", "It can be read if comma separates: --delimiter comma"),
    "delimiter of two characters": ("--delimiter ;;", "the delimiter must be one character"),
    "delimiter that is nowhere": ("--delimiter | --data {place}/one_class.csv", "no column 'text'"),
    "text column": ("--text-column txt", "no column 'txt'; the columns are 'text', 'label', 'score'"),
    "label column": ("--label-column lbl", "no column 'lbl'"),
    "pair column": ("--pair-column two", "no column 'two'"),
    "same column twice": ("--label-column text", "must be different"),
    "dev share": ("--dev-share 0", "share of rows for dev must be above 0"),
    "shares": ("--dev-share 0.5 --test-share 0.5", "leave no rows"),
    "rows": ("--train-rows 0", "number of training rows"),
    "rows of one class": ("--train-rows 1", "at least two classes"),
    "max length": ("--max-length 25", "max_length is 25, but this backbone has 24 positions"),
    "max length 0": ("--max-length 0", "max_length must be"),
    "epochs": ("--epochs -1", "epochs must be"),
    "epochs no number": ("--epochs x", "invalid int value: 'x'"),
    "lr": ("--lr nan", "learning rate (lr) must be"),
    "lr 0": ("--lr 0", "learning rate (lr) must be"),
    "batch": ("--batch-size 0", "batch_size must be"),
    "warmup": ("--warmup 1.5", "warmup must be"),
    "decay": ("--weight-decay -1", "weight_decay must be"),
    "clip": ("--clip inf", "clip_norm must be"),
    "seed": ("--seed -1", "seed must be"),
    "steps": ("--max-steps -1", "max_steps must be"),
    "adapter": ("--adapter-size 0", "adapter size must be"),
    "adapter in a layer that is not there": ("--adapter-layers 2", "adapter layers go from 0 to 1; got 2"),
    "init std": ("--init-std 0", "init_std must be"),
    "method": ("--method lora", "invalid choice: 'lora'"),
    "adapter size for another method": ("--method full --adapter-size 8", "need --method adapter"),
    "top k": ("--method top_k --top-k 3", "from 1 to 2; got 3"),
    "top k for another method": ("--top-k 1", "--top-k needs --method top_k"),
    "threads": ("--threads 0", "--threads must be from 1"),
    "too many threads": ("--threads 100000", "--threads must be from 1"),
    "unknown option": ("--colour", "unrecognized arguments: --colour"),
    "save minutes": ("--save-minutes -1", "--save-minutes must be a number of minutes from 0, got -1"),
    "save minutes nan": ("--save-minutes nan", "--save-minutes must be"),
    "out is a file": ("--out {place}/data.csv", "is a file; give a folder"),
    "out below a file": ("--out {place}/data.csv/run", "the folder cannot be made (Not a directory)"),
    "out is too long": ("--out {tmp}/" + 300 * "x", "File name too long"),
    "out holds a run": ("--out {place}/run", "holds a run already"),
    "out holds a run, and the data is wrong": ("--out {place}/run --force --data {place}/empty.csv", "is empty"),
    "a glue task without data": ("--task cola", "only task csv"),
}


def assert_refused(result, named):
    """Exit code 2, and exactly one line, which begins with error: and names what is wrong; of arguments that cannot be
    used, an example below it."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n(example: minibert [^\n]+\n)?", err), err
    assert named in err


@pytest.mark.parametrize(("options", "named"), BAD_TRAINING.values(), ids=BAD_TRAINING)
def test_bad_input_to_train(place, tmp_path, capsys, monkeypatch, options, named):
    def compile_kernels(*_):
        raise AssertionError("a minute of compilation would come before the message")

    monkeypatch.setattr(commands, "compile_kernels", compile_kernels)
    before = snapshot(place)
    options = options.format(place=place, tmp=tmp_path).split()
    assert_refused(run(capsys, *train_arguments(place, tmp_path / "out"), *options), named)
    assert snapshot(place) == before
    assert snapshot(tmp_path) == {}


EVAL = "eval --backbone {place}/tiny.h5 --bank {place}/run "
CSV = "--task csv --data {place}/data.csv --text-column text --label-column "
PREDICT = "predict --backbone {place}/tiny.h5 --bank {place}/"
BAD_COMMANDS = {
    "unknown command": ("tune", "invalid choice: 'tune'"),
    "glue data that is a file": (
        "train --backbone {place}/tiny.h5 --task cola --data {place}/data.csv --out {tmp}/out",
        "data.csv",
    ),
    "glue data without the task": (
        "train --backbone {place}/tiny.h5 --task cola --data {place}/folder --out {tmp}/out",
        "folder",
    ),
    "eval without a bank": ("eval --backbone {place}/tiny.h5 --bank {tmp} --task opinions", "no such file"),
    "eval of another kind of label": (EVAL + CSV + "score --regress", "does not fit task csv (regress"),
    "eval of other labels": (EVAL + "--task opinions", "does not fit task opinions"),
    "eval of labels that are not there": (EVAL + CSV + "score", "no row has one of the labels"),
    "eval of no task that the bank knows": (EVAL + "--task colla", "there is no task 'colla'"),
    "eval without data": (EVAL, "task csv needs --data"),
    "eval of all of a task with splits": (
        EVAL + CSV.replace("data.csv", "folder") + "label --split all",
        "has some here",
    ),
    "eval of part of dev and all": (EVAL + CSV + "label --split all --dev-rows 2", "--dev-rows is for the dev split"),
    "answers of another task": (EVAL + CSV + "label --predictions-out {tmp}/x", "needs --task squad"),
    "answers to all splits": (
        "eval --task squad --data {place} --predictions {place}/x --split all",
        "leave out --split all",
    ),
    "eval of pairs": (
        EVAL + CSV.replace("data.csv", "pairs.csv").replace("-column text", "-column one --pair-column two") + "label",
        "does not fit",
    ),
    "eval on another backbone": (EVAL.replace("tiny", "other") + CSV + "label", "was trained on the backbone"),
    "predict on another backbone": ((PREDICT + "run good").replace("tiny", "other"), "was trained on the backbone"),
    "predict with a truncated bank": (PREDICT + "cut good", "damaged or cut short"),
    "predict with a backbone as bank": (PREDICT + "tiny.h5 good", "is a backbone, expected a task bank"),
    "predict with a task that is not there": (PREDICT + "run --name sst2 good", "no task 'sst2'; it has csv"),
    "predict one text where pairs are read": (PREDICT + "pairs good", "one tab between"),
    "predict a file that is not there": (PREDICT + "run --file {tmp}/none.txt", "No such file"),
    "predict a folder": (PREDICT + "run --file {tmp}", "Is a directory"),
    "predict an empty file": (PREDICT + "run --file {place}/empty.csv", "is empty"),
    "predict a file of another encoding": (PREDICT + "run --file {place}/latin.csv", "line 3: byte 0xe9 is not utf-8"),
    "predict texts twice": (PREDICT + "run --file {place}/data.csv good", "not both"),
    "bank that is not there": ("bank {tmp}/none", "no such file"),
    "bank of nothing": ("bank {tmp}/all.h5 --add {tmp}/none", "no such file"),
    "bank with a task twice": ("bank {place}/run --add {place}/pairs", "has a task 'csv' already"),
    "bank with a task that cannot be named so": ("bank {place}/run --add {place}/pairs --as a/b", "cannot be named"),
    "bank without an ending": ("bank {tmp}/all --add {place}/run", "ends in .h5"),
    "bank of two names": ("bank {tmp}/all.h5 --add {place}/run {place}/pairs --as x", "--as names one task"),
    "params": ("params --adapter-size 0", "adapter size must be"),
    "classes": ("params --classes 1", "--classes must be at least 2"),
    "download": ("download nothing --out {tmp}/data", "nothing"),
}


@pytest.mark.parametrize(("command", "named"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_bad_input_to_other_commands(place, tmp_path, capsys, command, named):
    before = snapshot(place)
    arguments = command.format(place=place, tmp=tmp_path).split()
    assert_refused(run(capsys, *arguments), named)
    assert snapshot(place) == before
    assert snapshot(tmp_path) == {}


# ----------------------------------------------------------------------------------------------------------- train


def test_train_tells_what_is_trained_before_the_first_step(place, tmp_path, capsys):
    code, out, err = run(capsys, *train_arguments(place, tmp_path / "run"), "--adapter-size", 8)
    assert (code, err) == (0, "")
    table, first_epoch = out.index("group "), out.index("epoch 1/2")
    assert table < first_epoch
    assert re.search(r"^classes: no \(\d+\), yes \(\d+\)$", out[:table], re.MULTILINE)
    adapters = 2 * 2 * (2 * 32 * 8 + 32 + 8)
    assert re.search(rf"^adapters +{adapters:,} +{adapters:,} ", out[table:first_epoch], re.MULTILINE)
    assert re.search(r"^attention +8,448 +0 +0.00%$", out[table:first_epoch], re.MULTILINE)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["adapter_size"] == 8 and set(result["test"]) == {"accuracy"}
    assert (tmp_path / "run" / "history.csv").read_text().startswith("epoch,step,loss,accuracy,seconds\n1,")


def test_quiet_is_quiet(place, tmp_path, capsys):
    assert run(capsys, *train_arguments(place, tmp_path / "run"), "--quiet") == (0, "", "")


def test_force_replaces_a_run(place, tmp_path, capsys):
    shutil.copytree(place / "run", tmp_path / "run")
    code, _, _ = run(capsys, *train_arguments(place, tmp_path / "run"), "--force", "--seed", 5)
    assert code == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seed"] == 5


def test_force_leaves_nothing_of_the_run_before(place, tmp_path, capsys, monkeypatch):
    shutil.copytree(place / "run", tmp_path / "run")
    nothing = FlatParams({"x": (1,)}, "float32")
    monkeypatch.setattr(Model, "loss_and_grads", lambda *_, **__: (math.nan, nothing))
    code, _, err = run(capsys, *train_arguments(place, tmp_path / "run"), "--force")
    assert code == 1 and "no bank written" in err
    assert list((tmp_path / "run").iterdir()) == []


def test_a_loss_that_is_not_finite(place, tmp_path, capsys):
    wild = ["--lr", 10, "--clip", 0, "--weight-decay", 10, "--epochs", 100, "--batch-size", 4, "--quiet"]
    code, out, err = run(capsys, *train_arguments(place, tmp_path / "run"), *wild)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"error: training stopped at step \d+ of \d+ \(epoch \d+\): .*--lr\n", err)


def test_odd_texts_in_training_and_eval(place, tmp_path, capsys):
    arguments = train_arguments(place, tmp_path / "run", "odd.csv")
    code, out, err = run(capsys, *arguments, "--max-length", 16)
    assert (code, err) == (0, "")
    assert "rows have an empty text" in out
    assert re.search(r"note: \d+ of \d+ train texts are cut to 16 tokens", out)
    evaluate = bank_arguments(place, "eval", place / "run")
    code, out, err = run(capsys, *evaluate, *task_arguments(place, "odd.csv"))
    assert code == 0 and f"csv all ({4 * len(ODD_TEXTS)}): accuracy" in out
    assert re.search(r"^note: odd.csv: \d+ of 48 rows have an empty text$", err, re.MULTILINE)
    assert re.search(r"^note: \d+ of 48 texts are cut to 24 tokens$", err, re.MULTILINE)


def test_regression_and_pairs(place, tmp_path, capsys):
    arguments = train_arguments(place, tmp_path / "run")
    assert run(capsys, *arguments, "--label-column", "score", "--regress", "--quiet")[0] == 0
    assert set(json.loads((tmp_path / "run" / "result.json").read_text())["dev"]) == {"spearman", "pearson", "r2"}
    code, out, _ = run(capsys, *bank_arguments(place, "predict", tmp_path / "run"), "good tea")
    assert code == 0 and re.fullmatch(r"-?\d\.\d{4}\tgood tea\n", out)
    predict = bank_arguments(place, "predict", place / "pairs")
    code, out, _ = run(capsys, *predict, "good tea\tbad tea")
    assert code == 0 and re.fullmatch(r"(no|yes)\t0\.\d{4}\tgood tea\tbad tea\n", out)
    answer = json.loads(run(capsys, *predict, "--json", "good tea\tbad tea")[1])
    assert (answer["text"], answer["pair"]) == ("good tea", "bad tea")


# ---------------------------------------------------------------------------------------------- eval, predict, bank


def test_eval_gives_the_training_score_also_of_another_split(place, tmp_path, capsys):
    arguments = train_arguments(place, tmp_path / "run")
    assert run(capsys, *arguments, "--split-seed", 3, "--dev-share", 0.4, "--quiet")[0] == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    evaluate = [*bank_arguments(place, "eval", tmp_path / "run"), *task_arguments(place)]
    for split in ("dev", "test"):
        code, out, err = run(capsys, *evaluate, "--split", split, "--json")
        assert code == 0 and re.fullmatch(r"note: data.csv has no split of its own; .* with seed 3: .*\n", err)
        assert json.loads(out)["accuracy"] == result[split]["accuracy"]
        assert json.loads(out)["examples"] == (24 if split == "dev" else 6)


def test_predict_odd_texts_one_line_each(place, capsys):
    predict = bank_arguments(place, "predict", place / "run")
    code, out, err = run(capsys, *predict, *ODD_TEXTS)
    assert code == 0 and len(out.split("\n")) == len(ODD_TEXTS) + 1
    assert all(re.match(r"(no|yes)\t(0\.\d{4}|1\.0000)\t", line) for line in out.split("\n")[:-1])
    assert "\x1b" not in out
    assert err == "note: 3 of 12 rows have an empty text\nnote: 1 of 12 texts are cut to 24 tokens\n"
    code, out, _ = run(capsys, *predict, "--json", *ODD_TEXTS)
    answers = [json.loads(line) for line in out.split("\n")[:-1]]
    assert [answer["text"] for answer in answers] == ODD_TEXTS
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1) for answer in answers)


def test_predict_from_a_file(place, tmp_path, capsys):
    (tmp_path / "texts.txt").write_bytes("\ufeffgood tea\r\n\r\nbad\u2028tea\nlast".encode())
    predict = bank_arguments(place, "predict", place / "run")
    code, out, err = run(capsys, *predict, "--json", "--file", tmp_path / "texts.txt")
    assert (code, err) == (0, "note: 1 of 4 rows have an empty text\n")
    assert [json.loads(line)["text"] for line in out.split("\n")[:-1]] == ["good tea", "", "bad\u2028tea", "last"]


def test_two_tasks_in_one_bank(place, tmp_path, capsys):
    bank = tmp_path / "all.h5"
    assert run(capsys, "bank", bank, "--add", place / "run")[0] == 0
    code, out, _ = run(capsys, "bank", bank, "--add", place / "pairs", "--as", "pairs")
    assert code == 0 and re.findall(r"^\w+", out, re.MULTILINE) == ["csv", "pairs"]
    assert read_bank(bank)["csv"].params.keys() == read_bank(place / "run" / "bank.h5")["csv"].params.keys()
    evaluate = [*bank_arguments(place, "eval", bank), *task_arguments(place), "--json"]
    assert_refused(run(capsys, *evaluate), "choose one with --name (in Python: name=…): csv, pairs")
    code, out, _ = run(capsys, *evaluate, "--name", "csv")
    expected = json.loads((place / "run" / "result.json").read_text())["dev"]["accuracy"]
    assert (code, json.loads(out)["accuracy"]) == (0, expected)


# ------------------------------------------------------------------------------------------------ a process of its own


def start(*arguments, **options):
    """Start the program as `python -m minibert`."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "minibert", *map(str, arguments)], **(pipes | options))


def test_ctrl_c_to_the_process_and_resume(place, tmp_path, capsys):
    options = ["--epochs", "30", "--batch-size", "4"]
    process = start(*train_arguments(place, tmp_path / "stopped"), *options, text=True)
    assert any(line.startswith("epoch 1/30") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "interrupted at step" in out and "--resume" in out
    code, out, _ = run(capsys, *train_arguments(place, tmp_path / "stopped"), *options, "--resume")
    assert code == 0 and "going on after epoch" in out and "epoch 1/30" not in out
    assert run(capsys, *train_arguments(place, tmp_path / "whole"), *options)[0] == 0
    stopped, whole = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("stopped", "whole"))
    assert all(stopped[key] == whole[key] for key in whole.keys() - {"seconds", "tokens_per_second"})
    one, other = (read_bank(tmp_path / name / "bank.h5")["csv"].params for name in ("stopped", "whole"))
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.slow
def test_sigterm_is_as_ctrl_c_and_the_same_command_with_resume_goes_on(place, tmp_path, capsys):
    """With --force in it, and under another run that was in the folder before."""
    shutil.copytree(place / "run", tmp_path / "run")
    command = [*train_arguments(place, tmp_path / "run"), "--epochs", "30", "--batch-size", "4", "--force"]
    process = start(*command, text=True)
    assert any(line.startswith("epoch 2/30") for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    step = re.search(r"interrupted at step (\d+) of", out)[1]
    assert out.endswith("go on with the same command and --resume\n")
    code, out, _ = run(capsys, *command, "--resume")
    assert code == 0 and re.search(rf"^going on after epoch \d+, step {step}$", out, re.MULTILINE)
    result = (tmp_path / "run" / "result.json").read_bytes()
    assert json.loads(result)["finished"] is True
    code, out, err = run(capsys, *command, "--resume")
    assert (code, err) == (0, "") and "holds this run, finished" in out and "a larger --epochs" in out
    assert (tmp_path / "run" / "result.json").read_bytes() == result
    assert run(capsys, *command, "--resume", "--quiet") == (0, "", "")


def test_resume_before_anything_was_saved(place, tmp_path, capsys):
    code, out, _ = run(capsys, *train_arguments(place, tmp_path / "run"), "--resume")
    assert code == 0 and f"nothing of this run was saved yet in {tmp_path / 'run'}: starting from the beginning" in out
    assert read_bank(tmp_path / "run" / "bank.h5").keys() == {"csv"}


def test_resume_of_another_run(place, tmp_path, capsys):
    shutil.copytree(place / "run", tmp_path / "run")
    before = snapshot(tmp_path)
    command = [*train_arguments(place, tmp_path / "run"), "--epochs", 3, "--resume"]
    assert_refused(run(capsys, *command), "finished run: train/epochs was 2, now it is 3; to train longer, start a new")
    assert snapshot(tmp_path) == before
    (tmp_path / "run" / "result.json").unlink()
    assert_refused(run(capsys, *command), "state.h5 is not there, so the run in")
    assert run(capsys, *command, "--force")[0] == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 3


@pytest.mark.parametrize("last", [1, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
def test_resume_with_force_after_a_kill_while_the_folder_was_cleared(place, tmp_path, capsys, monkeypatch, last):
    """Of the same run, unfinished; last: the file that is just being removed."""
    command = [*train_arguments(place, tmp_path / "run"), "--epochs", 9]
    usual, steps = Model.loss_and_grads, []

    def loss_and_grads(*arguments, **keywords):
        steps.append(1)
        return (len(steps) == 9 and os.kill(os.getpid(), signal.SIGINT)) or usual(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "loss_and_grads", loss_and_grads)
        assert run(capsys, *command)[0] == 130
    for file in RunFolder(tmp_path / "run").files[:last]:
        file.unlink(missing_ok=file.name == "report.html")  # which only a finished run has
    code, out, _ = run(capsys, *command, "--force", "--resume")
    assert code == 0 and "starting from the beginning" in out and "epoch 1/9" in out


@pytest.mark.slow
def test_a_folder_is_one_run_s_at_a_time(place, tmp_path, capsys):
    """Of two that are started together one wins; the bank of one that runs can be used."""
    command = [*train_arguments(place, tmp_path / "run"), "--epochs", "60", "--batch-size", "4"]
    both = [start(*command, text=True), start(*command, text=True)]
    done = [(*process.communicate(timeout=100), process.returncode) for process in both]
    (out, err, code), (refused_out, refused_err, refused_code) = sorted(done, key=lambda each: each[2])
    assert (code, err) == (0, "") and "epoch 60/60" in out
    assert_refused((refused_code, refused_out, refused_err), "run")
    assert "is in use by another run" in refused_err or "holds a run already" in refused_err
    left = sorted(file.name for file in (tmp_path / "run").iterdir())
    assert left == ["bank.h5", "history.csv", "report.html", "result.json"]


def test_a_folder_in_use(place, tmp_path, capsys):
    shutil.copytree(place / "run", tmp_path / "run")
    process = start(*train_arguments(place, tmp_path / "run"), "--epochs", "2000", "--force", text=True)
    assert any(line.startswith("epoch 1/") for line in process.stdout)
    for option in ("--force", "--resume"):
        told = run(capsys, *train_arguments(place, tmp_path / "run"), option)
        assert_refused(told, f"{tmp_path / 'run'} is in use by another run (process {process.pid} on ")
    assert run(capsys, *bank_arguments(place, "predict", tmp_path / "run"), "good")[0] == 0
    process.kill()
    process.communicate()
    assert run(capsys, *train_arguments(place, tmp_path / "run"), "--force")[0] == 0


def test_standard_input_and_a_closed_pipe(place):
    predict = bank_arguments(place, "predict", place / "run")
    process = start(*predict, "--json", stdin=subprocess.PIPE)
    out, err = process.communicate("good tea\n\U0001f600\n".encode(), timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["good tea", "\U0001f600"]

    read_end, write_end = os.pipe()
    os.close(read_end)  # a reader such as `head` has gone
    process = start(*predict, "good", stdout=write_end)
    os.close(write_end)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


def test_a_terminal_that_cannot_show_a_text(place):
    predict = bank_arguments(place, "predict", place / "run")
    own = {**os.environ, "PYTHONIOENCODING": "ascii"}
    out, err = start(*predict, "\U0001f600", env=own).communicate(timeout=60)
    assert err == b"" and b"\\U0001f600" in out
    out, err = start(*predict, "--json", "\U0001f600", env=own).communicate(timeout=60)
    assert err == b"" and json.loads(out)["text"] == "\U0001f600"


def test_no_bar_without_a_terminal(place, tmp_path):
    process = start(*train_arguments(place, tmp_path / "run"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"\r" not in out


def test_help_tells_every_command_and_does_not_wait_for_numba(capsys):
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "")
    for command in ("train", "eval", "predict", "bank", "params", "gradcheck", "download", "env"):
        assert command in out
        code, out_of_command, _ = run(capsys, command, "--help")
        assert code == 0 and f"usage: minibert {command}" in out_of_command
    program = "import sys; from minibert.cli.arguments import build_parser as b; b(); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
