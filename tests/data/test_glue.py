"""Readers of the GLUE folder layout, on small files made here."""

import re
from dataclasses import replace

import numpy as np
import pytest

from minibert.data import load_task
from minibert.data.glue import GLUE, find_folder, read_glue
from minibert.errors import InputError

ENTAILMENT = ["entailment", "not_entailment"]

# For every task whose files have a header: the columns of the real release, and where text, pair and label stand.
HEADED = {
    "sst2": (["sentence", "label"], 0, None, 1, ["0", "1"]),
    "mrpc": (["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], 3, 4, 0, ["0", "1"]),
    "stsb": (
        ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2", "score"],
        7,
        8,
        9,
        ["0.000", "5.000"],
    ),
    "qqp": (["id", "qid1", "qid2", "question1", "question2", "is_duplicate"], 3, 4, 5, ["0", "1"]),
    "mnli": (
        [
            "index",
            "promptID",
            "pairID",
            "genre",
            *"abcd",
            "sentence1",
            "sentence2",
            "label1",
            "gold_label",
        ],  # abcd: parses
        8,
        9,
        11,
        ["contradiction", "entailment", "neutral"],
    ),
    "qnli": (["index", "question", "sentence", "label"], 1, 2, 3, ENTAILMENT),
    "rte": (["index", "sentence1", "sentence2", "label"], 1, 2, 3, ENTAILMENT),
    "wnli": (["index", "sentence1", "sentence2", "label"], 1, 2, 3, ["0", "1"]),
}


def headed_rows(name, n=4):
    """Header and n rows; labels go round the classes."""
    header, text, pair, label, written = HEADED[name]
    rows = [header]
    for i in range(n):
        row = [f"c{i}"] * len(header)
        row[text] = f"first {i}"
        if pair is not None:
            row[pair] = f"second {i}"
        row[label] = written[i % len(written)]
        rows.append(row)
    return rows


def tsv(rows):
    return "".join("\t".join(row) + "\n" for row in rows)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def make_task(root, name, n=4):
    folder = root / GLUE[name].folder
    for file in GLUE[name].required():
        write(folder / file, tsv(headed_rows(name, n)))
    return folder


def make_cola(root, train="gj04\t1\t\tGood .\ngj04\t0\t*\tGood not .\n", dev="gj04\t1\t\tFine .\n"):
    write(root / "CoLA/train.tsv", train)
    write(root / "CoLA/dev.tsv", dev)
    return root / "CoLA"


def complains(*parts):
    """pytest.raises for an InputError whose message holds all parts, in that order."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(re.escape(part) for part in parts))


def told(task):
    """The notes of a task but for that on the number of its rows, which are few here."""
    return [note for note in task.notes if "labelled rows; the release has" not in note]


@pytest.mark.parametrize("name", HEADED)
def test_every_task_with_a_header_is_read_from_both_kinds_of_folder(tmp_path, name):
    folder = make_task(tmp_path, name, n=6)
    for data in (tmp_path, folder, str(folder)):
        task = load_task(name, data)
        assert task.name == name
        assert task.metrics == GLUE[name].metrics
        assert task.train.texts == [f"first {i}" for i in range(6)]
        assert task.train.pairs == (None if HEADED[name][2] is None else [f"second {i}" for i in range(6)])
        assert task.test is None
        assert task.notes == (f"train.tsv: 6 labelled rows; the release has {GLUE[name].rows:,}",)
        if name == "stsb":
            assert task.head == "regress" and task.labels == () and task.train.labels.dtype == np.float32
            assert task.train.labels.tolist() == [0, 5, 0, 5, 0, 5]
        else:
            classes = len(HEADED[name][4])
            assert task.head == "classify" and len(task.labels) == classes and task.train.labels.dtype == np.int64
            assert task.train.labels.tolist() == [i % classes for i in range(6)]


def test_class_names_and_metrics_are_as_published():
    assert {name: (*task.classes.values(),) for name, task in GLUE.items()} == {
        "cola": ("unacceptable", "acceptable"),
        "sst2": ("negative", "positive"),
        "mrpc": ("not_equivalent", "equivalent"),
        "stsb": (),
        "qqp": ("not_duplicate", "duplicate"),
        "mnli": ("contradiction", "entailment", "neutral"),
        "qnli": ("entailment", "not_entailment"),
        "rte": ("entailment", "not_entailment"),
        "wnli": ("not_entailment", "entailment"),
    }
    first = {name: task.metrics[0] for name, task in GLUE.items()}
    assert first["cola"] == "matthews" and first["mrpc"] == first["qqp"] == "f1" and first["stsb"] == "spearman"


def test_cola_has_no_header_and_its_test_file_has_one(tmp_path):
    make_cola(tmp_path)
    write(tmp_path / "CoLA/test.tsv", "index\tsentence\n0\tBill whistled .\n")
    task = load_task("cola", tmp_path)
    assert task.train.texts == ["Good .", "Good not ."] and task.train.labels.tolist() == [1, 0]
    assert task.test.texts == ["Bill whistled ."] and task.test.labels is None


def test_quotes_carriage_returns_odd_breaks_and_byte_order_mark(tmp_path):
    train = 'a\t1\t\t"An open quote\r\nb\t0\t*\tline\u2028separator and \x0c form feed\r\n'
    make_cola(tmp_path, train=b"\xef\xbb\xbf" + train.encode(), dev="a\t0\t\tdoes n't \"end")
    task = load_task("cola", tmp_path)
    assert task.train.texts == ['"An open quote', "line\u2028separator and \x0c form feed"]
    assert task.dev["dev"].texts == ["does n't \"end"]


def test_mrpc_dev_with_mark_and_labelled_test_comes_first(tmp_path):
    folder = make_task(tmp_path, "mrpc")
    write(folder / "dev.tsv", b"\xef\xbb\xbf" + tsv(headed_rows("mrpc", 3)).encode())
    write(folder / "test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tx\ty\n")
    task = load_task("mrpc", tmp_path)
    assert len(task.dev["dev"]) == 3
    assert task.test.texts == ["x"] and task.test.pairs == ["y"] and task.test.labels is None
    write(folder / "msr_paraphrase_test.txt", tsv(headed_rows("mrpc", 2)))
    assert load_task("mrpc", tmp_path).test.labels.tolist() == [0, 1]


@pytest.mark.parametrize("place", ["sts-test.tsv", "original/sts-test.tsv"])
def test_stsb_test_with_scores_has_rows_of_two_widths(tmp_path, place):
    folder = make_task(tmp_path, "stsb")
    write(folder / "test.tsv", tsv([HEADED["stsb"][0][:-1], ["x"] * 9]))
    assert load_task("stsb", tmp_path).test.labels is None
    write(folder / place, "news\tMSR\t2012\t1\t2.500\tone\ttwo\nnews\tMSR\t2012\t2\t4\tthree\tfour\thttp:a\thttp:b\n")
    test = load_task("stsb", tmp_path).test
    assert test.texts == ["one", "three"] and test.pairs == ["two", "four"] and test.labels.tolist() == [2.5, 4.0]
    write(folder / place, "news\tMSR\t2012\t1\t2.500\tone\ttwo\tthree\n")
    with complains(place, "line 1", "expected 7 or 9 columns", "found 8"):
        load_task("stsb", tmp_path)


def test_mnli_has_two_dev_sets_and_leaves_out_rows_without_gold_label(tmp_path):
    folder = make_task(tmp_path, "mnli", n=6)
    rows = headed_rows("mnli", 5)
    rows[2][-1] = "-"
    write(folder / "dev_matched.tsv", tsv(rows))
    write(folder / "test_matched.tsv", tsv([row[:10] for row in headed_rows("mnli", 2)]))
    task = load_task("mnli", tmp_path)
    assert list(task.dev) == ["matched", "mismatched"]
    assert task.dev["matched"].texts == ["first 0", "first 2", "first 3", "first 4"]
    assert task.dev["matched"].labels.tolist() == [0, 2, 0, 1]
    assert len(task.dev["mismatched"]) == 6 and len(task.test) == 2 and task.test.labels is None
    assert told(task) == [
        "dev_matched.tsv: left out 1 row on whose label the annotators did not agree",
        "test_matched.tsv has no labels: it is not scored",
    ]


@pytest.mark.parametrize("hidden", ["-", "", "-1", "hidden", "?"])
@pytest.mark.parametrize("name", ["mnli", "sst2", "rte", "stsb"])
def test_a_test_file_with_hidden_labels_is_told_and_stops_nothing(tmp_path, name, hidden):
    folder, file = make_task(tmp_path, name, n=6), GLUE[name].tests[-1][0]
    rows = headed_rows(name, 3)
    for row in rows[1:]:
        row[HEADED[name][3]] = hidden
    write(folder / file, tsv(rows))
    task = load_task(name, tmp_path)
    assert task.test.texts == ["first 0", "first 1", "first 2"] and task.test.labels is None
    assert told(task) == [f"{file} has no labels: it is not scored"]
    rows[1][HEADED[name][3]] = HEADED[name][4][1]  # one label is there: then the others are faults, or left out
    write(folder / file, tsv(rows))
    if hidden == "hidden":
        with complains(f"{file}, line 3", repr(hidden)):
            load_task(name, tmp_path)
    else:
        task = load_task(name, tmp_path)
        assert len(task.test) == 1 and [note for note in task.notes if note.startswith(f"{file}: left out 2")]


@pytest.mark.parametrize("content", ["", "\n\n", "sentence\tlabel\n"])
def test_an_empty_test_file_is_told_and_stops_nothing(tmp_path, content):
    write(make_task(tmp_path, "sst2", n=6) / "test.tsv", content)
    task = load_task("sst2", tmp_path)
    assert task.test is None and told(task) == ["test.tsv has no rows: it is not scored"]


def test_an_empty_labelled_test_file_gives_way_to_the_next(tmp_path):
    folder = make_task(tmp_path, "mrpc")
    write(folder / "msr_paraphrase_test.txt", "")
    write(folder / "test.tsv", tsv(headed_rows("mrpc", 2)))
    task = load_task("mrpc", tmp_path)
    assert len(task.test) == 2 and told(task) == ["msr_paraphrase_test.txt has no rows: it is not scored"]


def test_a_class_that_stands_in_all_test_rows_is_pointed_out(tmp_path):
    folder = make_task(tmp_path, "sst2")
    write(folder / "test.tsv", "sentence\tlabel\na\t0\nb\t0\n")
    task = load_task("sst2", tmp_path)
    assert task.test.labels.tolist() == [0, 0]
    assert told(task) == ["test.tsv: all rows have the label negative; if it stands for none, their score says nothing"]


def test_missing_classes_and_another_number_of_rows_are_told(tmp_path, monkeypatch):
    folder = make_task(tmp_path, "mnli", n=6)
    write(folder / "train.tsv", tsv([row for row in headed_rows("mnli", 9) if row[-1] != "neutral"]))
    assert load_task("mnli", tmp_path).notes == (
        "train.tsv: the rows show 2 of the 3 labels of the release; missing: neutral",
        "train.tsv: 6 labelled rows; the release has 392,702",
    )
    make_task(tmp_path, "mnli", n=95)
    for rows, tells in ((100, False), (105, False), (106, True), (87, False), (86, True)):
        monkeypatch.setitem(GLUE, "mnli", replace(GLUE["mnli"], rows=rows))
        assert bool(load_task("mnli", tmp_path).notes) is tells, rows


def test_only_qqp_leaves_out_rows_with_too_few_columns(tmp_path):
    rows = headed_rows("qqp", 4)
    rows.insert(2, ["7", "8", "9", "a question that"])
    rows.insert(3, ["goes on", "other", "1"])
    folder = make_task(tmp_path, "qqp")
    write(folder / "train.tsv", tsv(rows))
    task = load_task("qqp", tmp_path)
    assert len(task.train) == 4
    assert "train.tsv: left out 2 lines" in task.notes[0] and "line 3, 4" in task.notes[0]
    rows.append(["x"] * 7)
    write(folder / "train.tsv", tsv(rows))
    with complains("train.tsv, line 8", "expected 6 columns", "found 7"):
        load_task("qqp", tmp_path)
    folder = make_task(tmp_path, "rte")
    write(folder / "dev.tsv", tsv([*headed_rows("rte", 2), ["7", "a premise", "entailment"]]))
    with complains("dev.tsv, line 4", "expected 4 columns", "found 3"):
        load_task("rte", tmp_path)


@pytest.mark.parametrize(
    ("name", "place", "value", "parts"),
    [
        ("sst2", 1, "2", ("train.tsv, line 3", "the label is '2'", "0, 1")),
        ("sst2", 1, "", ("train.tsv, line 3", "the label is ''")),
        ("rte", 3, "neutral", ("train.tsv, line 3", "'neutral'", "entailment, not_entailment")),
        ("mnli", 11, "maybe", ("train.tsv, line 3", "'maybe'", "contradiction, entailment, neutral")),
        ("stsb", 9, "high", ("train.tsv, line 3", "the score is 'high'", "expected a number")),
        ("stsb", 9, "nan", ("train.tsv, line 3", "the score is 'nan'")),
        ("stsb", 9, "1e39", ("train.tsv, line 3", "the score is '1e39'")),
    ],
)
def test_bad_label_names_file_line_found_and_expected(tmp_path, name, place, value, parts):
    folder = make_task(tmp_path, name)
    rows = headed_rows(name)
    rows[2][place] = value
    write(folder / "train.tsv", tsv(rows))
    with complains(*parts):
        load_task(name, tmp_path)


def test_blank_lines_are_skipped_and_still_counted(tmp_path):
    make_cola(tmp_path, train="a\t1\t\tx\n\n\r\nb\t0\t\ty\nc\t1\tz\n")
    with complains("train.tsv, line 5", "expected 4 columns", "found 3"):
        load_task("cola", tmp_path)


def test_missing_header_column_is_named(tmp_path):
    write(tmp_path / "SST-2/train.tsv", "text\tlabel\nx\t1\n")
    write(tmp_path / "SST-2/dev.tsv", "sentence\tlabel\nx\t1\n")
    with complains("train.tsv, line 1", "no column 'sentence'", "text, label"):
        load_task("sst2", tmp_path)


def test_a_header_that_names_a_column_twice_is_refused(tmp_path):
    folder = make_task(tmp_path, "sst2")
    write(folder / "dev.tsv", "sentence\tlabel\tlabel\nx\t1\t0\n")
    with complains("dev.tsv, line 1", "2 columns are called 'label'", "sentence, label, label"):
        load_task("sst2", tmp_path)


@pytest.mark.parametrize(
    ("train", "shown"),
    [
        ("sent\x1b[2J\tlabel\nx\t1\n", r"'sent\x1b[2J', label"),
        ("\t".join(f"column {i}" for i in range(10_000)) + "\n", "column 19 and 9980 more"),
        ("x" * 100_000 + "\tlabel\nx\t1\n", "x" * 59 + "…, label"),
        ("sentence\tlabel\nx\t1\x1b[2J\n", r"the label is '1\x1b[2J'"),
        ("sentence\tlabel\nx\t" + "1" * 100_000 + "\n", "the label is '" + "1" * 59 + "…'"),
    ],
)
def test_what_a_message_quotes_is_printable_and_short(tmp_path, train, shown):
    folder = make_task(tmp_path, "sst2")
    write(folder / "train.tsv", train)
    with complains("train.tsv, line", shown) as error:
        load_task("sst2", tmp_path)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


def test_undecodable_byte_nul_and_empty_file_name_the_line(tmp_path):
    make_cola(tmp_path, dev=b"a\t1\t\tx\na\t1\t\tcaf\xe9\n")
    with complains("dev.tsv, line 2", "0xe9", "utf-8", "minibert download", "iconv -f LATIN1") as error:
        load_task("cola", tmp_path)
    assert "--encoding" not in str(error.value)
    make_cola(tmp_path, dev=b"a\t1\t\tx\na\t1\t\ty\na\t1\t\t\x00\n")
    with complains("dev.tsv, line 3", "NUL"):
        load_task("cola", tmp_path)
    make_cola(tmp_path, dev=b"")
    with complains("dev.tsv is empty"):
        load_task("cola", tmp_path)


def test_folder_not_found_says_what_was_looked_for_and_how_to_get_it(tmp_path):
    with complains("nowhere does not exist", "nowhere/CoLA", "train.tsv, dev.tsv", "minibert download cola --out DIR"):
        load_task("cola", tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with complains("does not hold it", "minibert download mnli"):
        load_task("mnli", tmp_path / "other")
    with complains("is not a folder"):
        load_task("sst2", write(tmp_path / "file.txt", "x"))
    (make_cola(tmp_path) / "dev.tsv").unlink()
    for data in (tmp_path, tmp_path / "CoLA"):
        with complains("CoLA has no dev.tsv", "minibert download cola"):
            find_folder("cola", data)


def test_header_without_rows_and_one_class_only_are_refused(tmp_path):
    folder = make_task(tmp_path, "sst2")
    write(folder / "dev.tsv", "sentence\tlabel\n")
    with complains(f"task sst2 from {tmp_path}", "the dev set is empty"):
        load_task("sst2", tmp_path)
    make_task(tmp_path, "sst2")
    write(folder / "train.tsv", "sentence\tlabel\nx\t1\ny\t1\n")
    with complains(f"task sst2 from {tmp_path}", "same class (positive)"):
        load_task("sst2", tmp_path)


def test_read_glue_keeps_rows_in_the_order_of_the_file(tmp_path):
    make_task(tmp_path, "sst2", n=100)
    assert read_glue("sst2", tmp_path).train.texts == [f"first {i}" for i in range(100)]


def test_what_a_folder_holds_beside_is_named(tmp_path):
    folder = make_task(tmp_path, "mnli", n=6)
    write(folder / "test_matched.tsv", tsv(headed_rows("mnli", 3)))
    for name in ("README.txt", "train.jsonl", "dev_matched.jsonl", "original/x", "diagnostic.tsv"):  # of the release
        write(folder / name, "x")
    assert told(load_task("mnli", tmp_path)) == []
    for name in ("test_mismatched.tsv", "dev.csv", "train_extra.tsv"):
        write(folder / name, "x")
    read = "train.tsv, dev_matched.tsv, dev_mismatched.tsv are"
    (note,) = told(load_task("mnli", tmp_path))
    assert note == f"{folder} also holds dev.csv, test_mismatched.tsv, train_extra.tsv: not read ({read})"


@pytest.mark.parametrize(("name", "place"), [("sst2", 0), ("mrpc", 3), ("mrpc", 4)])
def test_quoted_texts_are_told(tmp_path, name, place):
    folder, rows = make_task(tmp_path, name, n=6), headed_rows(name, 6)
    rows[2][place] = f'"she said ""{rows[2][place]}"""'
    write(folder / "train.tsv", tsv(rows))
    (note,) = told(load_task(name, tmp_path))
    assert note.startswith("train.tsv: 1 of 6 texts look quoted; the quotes are read as a part of them (line 3: ")


def test_scores_beyond_those_of_the_release_are_told(tmp_path):
    folder, rows = make_task(tmp_path, "stsb", n=6), headed_rows("stsb", 6)
    rows[2][9], rows[4][9] = "6", "-0.5"
    write(folder / "train.tsv", tsv(rows))
    (note,) = told(load_task("stsb", tmp_path))
    assert note == "train.tsv: 2 of 6 scores are not from 0 to 5, as those of the release, such as 6"
