"""`load_task`, `check_task`, `limit_train`, the built-in task and the reading of text, on small data made here."""

import json
import random
import re
import time

import numpy as np
import pytest

from minibert.data import TASK_NAMES, check_task, limit_train, load_task
from minibert.data import builtin as builtin_module
from minibert.data.builtin import opinion_kinds, opinions
from minibert.data.glue import GLUE
from minibert.data.reading import decode, encoding_note, parse_score, tab_rows
from minibert.data.releases import FURTHER
from minibert.data.task import Examples, Task
from minibert.errors import InputError


def complains(*parts):
    """pytest.raises for an InputError whose message holds all parts, in that order."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(re.escape(part) for part in parts))


def make_cola(root):
    (root / "CoLA").mkdir()
    (root / "CoLA/train.tsv").write_text("gj04\t1\t\tGood .\ngj04\t0\t*\tGood not .\n")
    (root / "CoLA/dev.tsv").write_text("gj04\t1\t\tFine .\n")


# --- load_task ---


def test_load_task_refuses_unknown_names_missing_data_and_foreign_options(tmp_path):
    with complains("no task 'cloa'", "cola", "csv", "opinions"):
        load_task("cloa", tmp_path)
    with complains("cola needs --data", "CoLA/", "minibert download cola"):
        load_task("cola")
    with complains("csv needs --data"):
        load_task("csv", text_column="a", label_column="b")
    with complains("--text-column cannot be used with task cola"):
        load_task("cola", tmp_path, text_column="text")
    with complains("no task has an option color"):
        load_task("csv", tmp_path, color="red")
    with complains("needs --label-column"):
        load_task("csv", tmp_path, text_column="text")
    with complains("opinions is built in", "leave out --data"):
        load_task("opinions", tmp_path)
    with complains("--split-seed cannot be used with task cola", "without a split of its own"):
        load_task("cola", tmp_path, split_seed=1)
    with complains("cf_emotion needs --data", "text_emotion.csv", "kaggle"):
        load_task("cf_emotion")
    assert set(TASK_NAMES) == {*GLUE, *FURTHER, "squad", "csv", "opinions"}


DAMAGED = {
    "latin-1": "text\tcaf\u00e9\n".encode("latin-1"),
    "utf-16": "text\tcaf\u00e9\n".encode("utf-16"),
    "nul": b"text\ta\0b\nx\ty\n",
    "empty": b"",
    "header": b"label,text\nham,x\nspam,y,z\n",
    "tabs": b"label\ttext\nham\tx\n",
    "wide": b"id\ttext\turl\tpublisher\tlabel\tstory\thost\ttime\n1\t2\n",
    "quote": b'label,text\nham,"x\n',
    "numbers": b"1\n2\n",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", [name for name in TASK_NAMES if name not in ("csv", "opinions", "newsgroups20")])
def test_errors_name_no_option_that_the_task_does_not_have(tmp_path, name, damage):
    if name in GLUE:
        files = GLUE[name].required()
    elif name == "squad":
        files = ("train-v1.1.json", "dev-v1.1.json")
    else:
        files = (FURTHER[name].file, *FURTHER[name].tests[:1])
    for file in files:
        (tmp_path / file).write_bytes(DAMAGED[damage])
    with pytest.raises(InputError) as error:
        load_task(name, tmp_path)
    assert set(re.findall(r"--[a-z][a-z-]*", str(error.value))) <= {"--out"}, str(error.value)  # of minibert download
    assert str(error.value).count("\n") == 0


def test_files_beside_those_of_squad_are_named(tmp_path):
    answer = {"id": "q", "question": "what ?", "answers": [{"text": "tea", "answer_start": 4}]}
    content = json.dumps({"data": [{"paragraphs": [{"context": "the tea was bad", "qas": [answer]}]}]})
    for split in ("train", "dev"):
        (tmp_path / f"{split}-v1.1.json").write_text(content)
    (tmp_path / "LICENSE").write_text("x")
    assert load_task("squad", tmp_path).notes == ()
    for name in ("train-v2.0.json", "dev-v2.0.json", "test-v1.1.json"):
        (tmp_path / name).write_text(content)
    (note,) = load_task("squad", tmp_path).notes
    read = "train-v1.1.json, dev-v1.1.json are"
    assert note == f"{tmp_path} also holds dev-v2.0.json, test-v1.1.json, train-v2.0.json: not read ({read})"


def test_options_that_are_none_or_false_count_as_not_given(tmp_path):
    make_cola(tmp_path)
    assert len(load_task("cola", tmp_path, text_column=None, regress=False).train) == 2


# --- check_task and limit_train ---


def small_task(train_labels=(0, 1, 0, 1), dev_labels=(0, 1), head="classify", labels=("a", "b")):
    def split(numbers):
        dtype = np.int64 if head == "classify" else np.float32
        return Examples([f"t{i}" for i in range(len(numbers))], None, np.array(numbers, dtype))

    return Task("small", head, labels, ("accuracy",), split(train_labels), {"dev": split(dev_labels)})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (small_task(train_labels=(1, 1)), "same class (b)"),
        (small_task(train_labels=()), "the train set is empty"),
        (small_task(dev_labels=()), "the dev set is empty"),
        (small_task(dev_labels=(0, 2)), "class numbers 0 to 2"),
        (small_task(dev_labels=(-1, 0)), "class numbers -1 to 0"),
        (small_task(labels=("a", "a")), "occurs twice"),
        (small_task(head="regress", labels=(), train_labels=(1, np.nan)), "train set is not finite"),
        (small_task(head="regress", labels=(), dev_labels=(1, np.inf)), "dev set is not finite"),
        (small_task(head="regress", labels=(), train_labels=(1, 1)), "all training scores are the same"),
    ],
)
def test_check_task_refuses(task, message):
    with complains(message):
        check_task(task)


def test_check_task_refuses_splits_that_do_not_fit_together():
    good = small_task()
    check_task(good)
    paired = Examples(["a"], ["b"], np.array([0]))
    with complains("dev set and the train set differ"):
        check_task(Task("t", "classify", ("a", "b"), (), good.train, {"dev": paired}))
    with complains("the dev set has no labels"):
        check_task(Task("t", "classify", ("a", "b"), (), good.train, {"dev": Examples(["a"], None, None)}))
    with complains("there is no dev set"):
        check_task(Task("t", "classify", ("a", "b"), (), good.train, {}))
    with complains("1 texts and labels of shape (2,)"):
        check_task(Task("t", "classify", ("a", "b"), (), good.train, {"dev": Examples(["a"], None, np.array([0, 1]))}))


def test_limit_train_draws_the_rows_of_pythons_shuffle():
    task = small_task(train_labels=[i % 2 for i in range(50)])
    rows = list(zip(task.train.texts, task.train.labels.tolist(), strict=True))
    random.Random(3).shuffle(rows)
    limited = limit_train(task, 20, seed=3)
    assert list(zip(limited.train.texts, limited.train.labels.tolist(), strict=True)) == rows[:20]
    assert limited.notes == ("training on 20 of 50 rows, drawn with seed 3",)
    assert limited.dev is task.dev and len(task.train) == 50
    assert limit_train(task, 20, seed=4).train.texts != limited.train.texts
    assert sorted(limit_train(task, 99).train.texts) == sorted(task.train.texts)


@pytest.mark.parametrize("rows", [0, -1, 2.0, True, "5"])
def test_limit_train_refuses_a_number_that_is_not_one(rows):
    with complains("whole number above 0"):
        limit_train(small_task(), rows)


def test_limit_train_refuses_to_leave_one_class():
    with complains("same class"):
        limit_train(small_task(), 1)


# --- opinions ---

OPINIONS = (
    "split\tlabel\tkind\ttext\n"
    "train\tpositive\tplain\tLovely.\n"
    "dev\tnegative\tirony\tOh, great.\n"
    "train\tnegative\tnegation\tNot good.\n"
    'test\tpositive\tcontrast\tSlow, yet "sweet".\n'
    "train\tpositive\tmixed\tHm.\n"
)


def give(monkeypatch, text):
    monkeypatch.setattr(builtin_module, "_raw", lambda: text.encode())


def test_opinions_and_their_kinds_are_in_the_same_order(monkeypatch):
    give(monkeypatch, OPINIONS)
    task = load_task("opinions")
    assert (task.name, task.head, task.labels, task.metrics) == (
        "opinions",
        "classify",
        ("negative", "positive"),
        ("accuracy",),
    )
    assert task.train.texts == ["Lovely.", "Not good.", "Hm."] and task.train.labels.tolist() == [1, 0, 1]
    assert task.dev["dev"].labels.tolist() == [0] and task.test.texts == ['Slow, yet "sweet".']
    assert opinion_kinds() == {"train": ["plain", "negation", "mixed"], "dev": ["irony"], "test": ["contrast"]}


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("split\tlabel", "label\tsplit", ("opinions.tsv, line 1", "split, label, kind, text")),
        ("irony\tOh", "ironic\tOh", ("opinions.tsv, line 3", "kind", "'ironic'")),
        ("dev\tneg", "valid\tneg", ("opinions.tsv, line 3", "split", "'valid'")),
        ("negative\tnegation", "bad\tnegation", ("opinions.tsv, line 4", "label", "'bad'")),
        ("\tNot good.", "", ("opinions.tsv, line 4", "expected 4 columns, found 3")),
    ],
)
def test_a_damaged_opinions_file_is_refused(monkeypatch, old, new, parts):
    assert old in OPINIONS
    give(monkeypatch, OPINIONS.replace(old, new))
    with complains(*parts):
        opinions()


def test_a_missing_opinions_file_is_told(monkeypatch):
    monkeypatch.setattr(builtin_module, "FILE", "not_there.tsv")
    with complains("not_there.tsv is missing", "install minibert again"):
        opinions()


# --- reading ---


def test_decode_names_unknown_encoding_and_recognises_utf16():
    with complains("no text encoding called 'utf-99'"):
        decode(b"x", "f", "utf-99")
    assert decode("text\nmore".encode("utf-16"), "f") == "text\nmore"  # the mark says so
    assert decode("a\tb".encode("utf-16"), "f", "utf-16") == "a\tb"
    assert decode(b"\xef\xbb\xbfx", "f", "utf-8") == decode(b"\xef\xbb\xbfx", "f", "utf-8-sig") == "x"


WINDOWS = ("utf-8", "cp1252", "latin-1")


@pytest.mark.parametrize(
    ("raw", "text", "note"),
    [
        ("é “ü”".encode(), "é “ü”", None),
        (b"\xef\xbb\xbf" + "é".encode(), "é", None),
        ("caf\u00e9 it\u2019s".encode("cp1252"), "café it’s", "it is not utf-8; all of it is read as cp1252"),
        (b"\x93\x81\x94", "“\x81”", "all of it is read as cp1252 (what that lacks, as latin-1)"),
        ("é\né ".encode() + b"\x92 \xe9", "é\né ’ é", "2 bytes are not utf-8, the first on line 2, and read as cp1252"),
        # A Windows file that looks like UTF-8 in one place: ß and a quotation mark
        ("„Spaß” – über".encode("cp1252"), "„Spaß” – über", "though 1 of its characters could be utf-8"),
        # The mark of UTF-8 decides
        (b"\xef\xbb\xbf\xe9 \xe9 " + "é".encode(), "é é é", "2 bytes are not utf-8, the first on line 1"),
    ],
)
def test_a_byte_reads_in_one_way_in_all_of_a_file(tmp_path, raw, text, note):
    assert decode(raw, "f", WINDOWS) == text
    (tmp_path / "f.csv").write_bytes(raw)
    told = encoding_note(tmp_path / "f.csv", WINDOWS)
    if note is None:
        assert told == []
    else:
        assert len(told) == 1 and told[0].startswith("f.csv: ") and note in told[0]


def test_a_latin_1_file_keeps_its_control_characters(tmp_path):
    assert decode(b"\x93 \xe9", "f", ("utf-8", "latin-1")) == "\x93 é"


def test_tab_rows_and_parse_score():
    assert list(tab_rows("a\tb\r\n\nc\t\n")) == [(1, ["a", "b"]), (3, ["c", ""])]
    numbers = {"1.5": 1.5, " 2 ": 2.0, "+3": 3.0, ".5": 0.5, "7.": 7.0, "-1E-3": -0.001, "0" * 5000 + "1": 1.0}
    assert [parse_score(text) for text in numbers] == list(numbers.values())


@pytest.mark.parametrize(
    "text", ["x", "", "inf", "NaN", "-1e400", "1_0", "٣", "0x1", "1,5", "1 2", "9" * 5000, "e5", "."]
)
def test_what_is_no_decimal_number_is_no_score(text):
    assert parse_score(text) is None


def test_a_long_row_of_digits_that_is_no_number_takes_no_time():
    began = time.process_time()
    assert parse_score("9" * 300_000 + "x") is None
    assert time.process_time() - began < 1
