"""Task csv: the user's own delimited files, and the split made for files that have none."""

import csv
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibert.data import load_labelled, load_task
from minibert.data.delimited import Format, read_delimited
from minibert.data.split import stratified_split
from minibert.data.table import read_table
from minibert.data.task import UNKNOWN
from minibert.errors import InputError

COLUMNS = {"text_column": "text", "label_column": "label"}


def complains(*parts):
    """pytest.raises for an InputError whose message holds all parts, in that order."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(re.escape(part) for part in parts))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(n=20, labels=("no", "yes")):
    return "".join(f"text {i},{labels[i % len(labels)]}\n" for i in range(n))


def read(path, **options):
    return load_task("csv", path, **{**COLUMNS, **options})


def all_texts(task):
    return task.train.texts + task.dev["dev"].texts + (task.test.texts if task.test else [])


# --- what is read ---


def test_a_file_is_split_and_the_split_is_told(tmp_path):
    path = write(tmp_path / "mine.csv", "text,label\n" + rows(40))
    task = read(path)
    assert (task.name, task.head, task.labels, task.metrics) == ("csv", "classify", ("no", "yes"), ("accuracy",))
    assert (len(task.train), len(task.dev["dev"]), len(task.test)) == (32, 4, 4)
    assert sorted(all_texts(task)) == sorted(f"text {i}" for i in range(40))
    assert task.notes == ("mine.csv has no split of its own; split by class with seed 0: train 32, dev 4, test 4",)
    assert read(path).dev["dev"].texts == task.dev["dev"].texts
    assert read(path, split_seed=1).dev["dev"].texts != task.dev["dev"].texts
    assert read(path, test_share=0.0).test is None
    assert len(read(path, dev_share=0.5).dev["dev"]) == 20


def test_quoted_fields_hold_delimiters_quotes_and_line_breaks(tmp_path):
    content = 'label,text\nno,"one, two"\nyes,"say ""hi""\nthere"\n' + "".join(f"{c},x\n" for c in ["no", "yes"] * 5)
    texts = all_texts(read(write(tmp_path / "f.csv", content)))
    assert "one, two" in texts and 'say "hi"\nthere' in texts


def test_quotes_are_ordinary_where_tabs_separate(tmp_path):
    content = 'ham\tan inch is 1" and\r\nspam\t"open quote\r\n' + "ham\tx\r\nspam\ty\r\n" * 4
    for name in ("f.tsv", "SMSCollection"):
        task = read(write(tmp_path / name, content), columns="label,text")
        assert task.labels == ("ham", "spam") and len(all_texts(task)) == 10
        assert '"open quote' in all_texts(task) and 'an inch is 1" and' in all_texts(task)
    with complains("f.tsv", "line 2", "--quoting none"):
        read(tmp_path / "f.tsv", columns=["label", "text"], quoting="csv")


def test_quoting_can_be_chosen_against_the_ending(tmp_path):
    content = "text,label\n" + 'it is 5" long,yes\n"half,no\n' * 5
    assert len(all_texts(read(write(tmp_path / "f.csv", content), quoting="none"))) == 10
    content = 'text\tlabel\n"a\tb"\tyes\nc\tno\n' + "d\tno\ne\tyes\n" * 4
    assert "a\tb" in all_texts(read(write(tmp_path / "f.tsv", content), quoting="csv"))


@pytest.mark.parametrize(
    ("name", "delimiter", "written"),
    [
        ("f.csv", None, ","),
        ("f.tsv", None, "\t"),
        ("f.txt", None, "\t"),
        ("f.txt", None, ","),
        ("f.csv", ";", ";"),
        ("f.csv", "semicolon", ";"),
        ("f.csv", "tab", "\t"),
        ("f.csv", "\\t", "\t"),
    ],
)
def test_delimiters(tmp_path, name, delimiter, written):
    content = ("text,label\n" + rows()).replace(",", written)
    assert len(all_texts(read(write(tmp_path / name, content), delimiter=delimiter))) == 20


@pytest.mark.parametrize(
    ("encoding", "written"), [("utf-8", "utf-8-sig"), ("cp1252", "cp1252"), ("utf-16", "utf-16"), ("UTF8", "utf-8-sig")]
)
def test_encodings_and_byte_order_marks(tmp_path, encoding, written):
    content = "text,label\ncafé,no\n" + rows()
    assert "café" in all_texts(read(write(tmp_path / "f.csv", content.encode(written)), encoding=encoding))


def test_class_names_are_sorted_as_numbers_only_if_all_are(tmp_path):
    header = "text,label\n"
    assert read(write(tmp_path / "a.csv", header + rows(40, ("10", "9", "0", "1")))).labels == ("0", "1", "9", "10")
    assert read(write(tmp_path / "b.csv", header + rows(40, ("10", "9", "x")))).labels == ("10", "9", "x")
    assert read(write(tmp_path / "c.csv", header + rows(40, ("1.0", "0.0")))).labels == ("0.0", "1.0")
    task = read(write(tmp_path / "d.csv", header + rows(40, (" yes", "no "))))
    assert task.labels == ("no", "yes")


def test_labels_stay_with_their_texts(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\n" + rows(60, ("a", "b", "c"))))
    for split in (task.train, task.dev["dev"], task.test):
        assert split.labels.dtype == np.int64
        assert [int(text.split()[1]) % 3 for text in split.texts] == split.labels.tolist()


def test_pairs(tmp_path):
    content = "text,second,label\n" + "".join(f"a{i},b{i},{i % 2}\n" for i in range(20))
    task = read(write(tmp_path / "f.csv", content), pair_column="second")
    assert [text.replace("a", "b") for text in task.train.texts] == task.train.pairs
    assert task.test.pairs is not None
    with complains("must be different", "text, text, label"):
        read(tmp_path / "f.csv", pair_column="text")


def test_regress(tmp_path):
    content = "text,label\n" + "".join(f"t{i},{i / 4}\n" for i in range(20))
    task = read(write(tmp_path / "f.csv", content), regress=True)
    assert (task.head, task.labels, task.metrics) == ("regress", (), ("spearman", "pearson", "r2"))
    assert task.train.labels.dtype == np.float32
    assert [int(text[1:]) / 4 for text in task.train.texts] == task.train.labels.tolist()
    assert "split at random" in task.notes[0]


def test_empty_texts_are_kept_and_counted(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\n,yes\n  ,no\n" + rows()))
    assert len(all_texts(task)) == 22 and "f.csv: 2 of 22 rows have an empty text" in task.notes


def test_fields_longer_than_the_limit_of_csv_are_read_and_the_limit_is_put_back(tmp_path):
    before = csv.field_size_limit(1000)
    try:
        task = read(write(tmp_path / "f.csv", "text,label\n" + "x" * 200_000 + ",yes\n" + rows()))
        assert max(map(len, all_texts(task))) == 200_000 and csv.field_size_limit() == 1000
    finally:
        csv.field_size_limit(before)


# --- folders ---


def test_a_folder_with_all_splits_is_taken_as_it_is(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows(6))
    write(tmp_path / "dev.tsv", "label\ttext\nyes\td\n")
    write(tmp_path / "test.csv", "text\nunlabelled\n")
    task = read(tmp_path)
    assert len(task.train) == 6 and task.dev["dev"].texts == ["d"] and task.dev["dev"].labels.tolist() == [1]
    assert task.test.texts == ["unlabelled"] and task.test.labels is None
    assert task.notes == ("test.csv has no column 'label': its rows are not scored",)


def test_a_folder_without_dev_gets_one_from_train_and_keeps_its_test(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows(20))
    task = read(tmp_path)
    assert (len(task.train), len(task.dev["dev"]), task.test) == (18, 2, None)
    assert "train 18, dev 2" in task.notes[0] and "test" not in task.notes[0]
    write(tmp_path / "test.csv", "text,label\nmine,no\n")
    task = read(tmp_path)
    assert (len(task.train), len(task.dev["dev"]), task.test.texts) == (18, 2, ["mine"])


@pytest.mark.parametrize("name", ["dev.csv", "val.csv", "valid.tsv", "validation.csv", "Dev.CSV", "VAL.csv"])
def test_the_dev_set_has_several_names(tmp_path, name):
    write(tmp_path / "Train.csv", "text,label\n" + rows(6))
    write(tmp_path / name, "text\tlabel\nd\tyes\n" if name.endswith("tsv") else "text,label\nd,yes\n")
    task = read(tmp_path)
    assert len(task.train) == 6 and task.dev["dev"].texts == ["d"] and task.test is None
    assert task.notes == (() if name.lower() == "dev.csv" else (f"{name} is the dev set",))


def test_two_files_for_a_split_are_refused(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows(6))
    write(tmp_path / "dev.csv", "text,label\nd,yes\n")
    write(tmp_path / "validation.tsv", "text\tlabel\nd\tyes\n")
    with complains("holds both dev.csv and validation.tsv; keep one"):
        read(tmp_path)


def test_other_files_of_a_folder_are_named(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    for name in ("test_1.csv", "unlabelled.jsonl", "dev.csv.gz", "train.txt", "extra", "train.csv.bak"):
        write(tmp_path / name, "x")
    for name in ("README.md", "readme.txt", "LICENSE", ".DS_Store", "train.py", "a.png", "sub/test.csv"):
        write(tmp_path / name, "x")
    (note, _) = read(tmp_path).notes
    assert note.startswith(
        f"{tmp_path} also holds dev.csv.gz, extra, test_1.csv, train.csv.bak, train.txt, unlabelled.jsonl: not read"
    )
    (tmp_path / "train.csv").unlink()
    with complains("neither train.csv nor train.tsv (it holds dev.csv.gz, extra, test_1.csv"):
        read(tmp_path)


def test_whatever_may_hold_data_is_named_and_folders_called_as_a_split(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    for name in ("a.pkl", "b.dat", "c.sav", "d.csv~", "_e.orc", "dev/dev.csv", "test/part-0.csv", "notes/x", "f.log"):
        write(tmp_path / name, "x")
    (note, _) = read(tmp_path).notes
    assert note.startswith(f"{tmp_path} also holds _e.orc, a.pkl, b.dat, c.sav, d.csv~, dev/, test/: not read")
    (tmp_path / "train.csv").rename(tmp_path / "dev" / "train.csv")
    with complains("neither train.csv nor train.tsv (it holds", "dev/, test/)"):
        read(tmp_path)


def test_options_that_do_nothing_in_a_folder_are_refused(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    with complains("only a dev set is cut", "leave out --test-share"):
        read(tmp_path, test_share=0.2)
    assert len(read(tmp_path, dev_share=0.5, split_seed=3).dev["dev"]) == 10
    write(tmp_path / "val.csv", "text,label\nd,yes\n")
    with complains("has a dev set", "leave out --dev-share and --test-share and --split-seed"):
        read(tmp_path, dev_share=0.4, test_share=0.1, split_seed=0)
    for option in ({"dev_share": 0.1}, {"test_share": 0.1}, {"split_seed": 5}):
        with complains("has a dev set", f"--{next(iter(option)).replace('_', '-')}"):
            read(tmp_path, **option)


def test_a_test_set_with_another_header_is_told(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "test.csv", "text,Label\nt,yes\n")
    task = read(tmp_path)
    assert task.test.labels is None
    assert task.notes[0] == "test.csv has no column 'label' (it has 'Label'): its rows are not scored"


@pytest.mark.parametrize("labels", [("", ""), ("?", "?"), ("", "-1"), ("hidden", "secret")])
def test_a_test_set_without_labels_does_not_stop_training(tmp_path, labels):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "test.csv", "text,label\n" + "".join(f"t,{label}\n" for label in labels))
    for options in ({}, {"drop_label": ("?", "")} if "?" in labels and "" in labels else {}):
        task = read(tmp_path, **options)
        assert task.test.labels is None and task.test.texts == ["t", "t"]
        assert task.notes[0].startswith("test.csv: no row has a label of the training rows (found ")
        assert task.notes[0].endswith("): its rows are not scored") and repr(labels[1]) in task.notes[0]


def test_a_test_set_without_scores_does_not_stop_training(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + "".join(f"t{i},{i / 4}\n" for i in range(20)))
    write(tmp_path / "test.csv", "text,label\nt,nan\nu,\n")
    task = read(tmp_path, regress=True)
    assert task.test.labels is None and "no row has a number (found '', 'nan')" in task.notes[0]


def test_a_test_set_with_some_labels_is_no_set_without(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "test.csv", "text,label\nt,yes\nu,?\n")
    task = read(tmp_path)
    assert task.test.labels.tolist() == [1, -1]
    assert "test.csv: 1 of 2 rows have labels that the task does not know ('?'): counted as wrong" in task.notes
    task = read(tmp_path, drop_label="?")
    assert task.test.texts == ["t"] and "test.csv: left out 1 of 2 rows (1 with label '?')" in task.notes


def test_rows_of_a_test_set_without_a_label_are_left_out(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "test.csv", "text,label\nt,yes\nu, \nv,no\nw,\n")
    task = read(tmp_path)
    assert task.test.texts == ["t", "v"] and task.test.labels.tolist() == [1, 0]
    assert [note for note in task.notes if note.startswith("test.csv: left out 2 of 4 rows, whose label is empty")]
    write(tmp_path / "dev.csv", "text,label\nt,yes\nu,\n")
    with complains("dev.csv, line 3: the label (column 'label') is empty"):
        read(tmp_path)


def test_rows_of_a_test_set_without_a_score_are_left_out(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + "".join(f"t{i},{i / 4}\n" for i in range(20)))
    write(tmp_path / "test.csv", "text,label\nt,nan\nu,-1\nv,\n")
    task = read(tmp_path, regress=True)
    assert task.test.texts == ["u"] and task.test.labels == [-1] and "left out 2 of 3 rows" in "".join(task.notes)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text,label\n", "test.csv has no rows: it is not scored"),
        ("Text,label\na,no\n", "test.csv: there is no column 'text'; the columns are 'Text', 'label'. Did you mean "
         "'Text'? It is not scored"),
        ("words,label\na,no\n", "--columns. It is not scored"),
    ],
)  # fmt: skip
def test_a_test_set_that_cannot_be_scored_does_not_stop_training(tmp_path, content, told):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "test.csv", content)
    task = read(tmp_path)
    assert task.test is None and task.notes[0].endswith(told)
    write(tmp_path / "test.csv", "text,label\na,b,no\n")
    with complains("test.csv, line 2: found 3 fields"):
        read(tmp_path)


def test_a_scored_file_without_labels_is_told_of_predict(tmp_path):
    path = write(tmp_path / "f.csv", "text\na\nb\n")
    with complains("no column 'label'", "To label rows that have none: predict --data"):
        load_labelled("csv", path, ("no", "yes"), **COLUMNS)
    with pytest.raises(InputError) as raised:
        read(path)
    assert "predict" not in str(raised.value)


@pytest.mark.parametrize("written", ["Yes", "YES", "yes\u200b", "'yes'"])
def test_a_split_that_spells_a_class_in_another_way_is_refused(tmp_path, written):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "test.csv", f"text,label\nt,{written}\n")
    with complains("test.csv, line 2", f"no training row has the label {written!a}", "there it is written 'yes'"):
        read(tmp_path)


def test_a_split_that_spells_a_number_in_another_way_is_refused(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows(20, ("0", "1")))
    write(tmp_path / "test.csv", "text,label\nt,0.0\nu,1.0\n")
    with complains("test.csv, line 2", "the label '0.0'; there it is written '0'"):
        read(tmp_path)


def test_options_of_another_file_may_do_nothing_where_a_trained_task_is_scored(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "dev.csv", "text,label\nd,yes\n")
    options = {"test_share": 0.2, "split_seed": 3, "drop_label": ["?"], **COLUMNS}
    task = read_table("csv", tmp_path, ("maybe", "no", "yes"), **options)
    assert task.labels == ("maybe", "no", "yes") and task.dev["dev"].labels.tolist() == [2]
    with complains("leave out --test-share and --split-seed"):
        read_table("csv", tmp_path, **options)


def test_folders_that_cannot_be_used(tmp_path):
    with complains("does not exist"):
        read(tmp_path / "nowhere.csv")
    with complains("neither train.csv nor train.tsv"):
        read(tmp_path)
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "train.tsv", "text\tlabel\n")
    with complains("both train.csv and train.tsv"):
        read(tmp_path)


def test_a_label_that_training_lacks_is_refused_in_dev_and_counted_as_wrong_in_test(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "dev.csv", "text,label\nx,no\ny,yes\n")
    write(tmp_path / "test.csv", "text,label\nx,no\ny,maybe\n")
    task = read(tmp_path)
    assert task.test.labels.tolist() == [0, -1] and any("('maybe'): counted as wrong" in note for note in task.notes)
    write(tmp_path / "test.csv", "text,label\nx,no\ny,Yes\n")
    with complains("test.csv, line 3", "'Yes'; there it is written 'yes'"):
        read(tmp_path)
    write(tmp_path / "dev.csv", "text,label\nx,no\ny,maybe\n")
    with complains("dev.csv, line 3", "'maybe'", "no, yes"):
        read(tmp_path)


def test_dev_needs_labels(tmp_path):
    write(tmp_path / "train.csv", "text,label\n" + rows())
    write(tmp_path / "dev.csv", "text\nx\n")
    with complains("dev.csv", "no column 'label'"):
        read(tmp_path)


# --- labels and cells that are told ---


def test_rows_with_a_label_to_drop_are_left_out_and_told(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\n" + rows(40) + "a,-\nb, - \nc,\nd, \ne,n/a\n")
    with complains("line 44: the label (column 'label') is empty, as in 2 of 45 rows", "--drop-label="):
        read(path)
    task = read(path, drop_label=["- ", " "])
    assert task.labels == ("n/a", "no", "yes") and not {"a", "b", "c", "d"} & set(all_texts(task))
    assert "f.csv: left out 4 of 45 rows (2 with label '-', 2 with label '')" in task.notes
    assert any(note.startswith("f.csv: 1 row has the label 'n/a'") for note in task.notes)
    assert sorted(all_texts(read(path, drop_label=("-", "", "n/a")))) == sorted(f"text {i}" for i in range(40))
    with complains("no row has the label 'N/A' of --drop-label in column 'label'"):
        read(path, drop_label=["-", "", "N/A"])
    with complains("--drop-label leaves no row"):
        read(path, drop_label=["-", "", "n/a", "yes", "no"])
    with complains("must be texts"):
        read(path, drop_label=[1])


def test_rows_without_a_score_are_left_out(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\nx,nan\ny,\n" + "".join(f"t{i},{i / 4}\n" for i in range(20)))
    with complains("line 3", "is empty"):
        read(path, regress=True)
    with complains("line 2", "score is 'nan'", "--drop-label=nan"):
        read(path, regress=True, drop_label="")
    assert len(all_texts(read(path, regress=True, drop_label=("", "nan")))) == 20


def test_two_spellings_of_a_number_are_no_classes(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\n" + rows(40, ("0", "1", "1.0")))
    with complains("f.csv: the labels '1' (13 rows, first on line 3) and '1.0' (13 rows, first on line 4)", "one way"):
        read(path)


def test_spellings_and_missing_labels_are_told(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\n" + rows(40, ("yes", "Yes", "no", "?"))))
    assert task.labels == ("?", "Yes", "no", "yes")
    assert task.notes[0].startswith("f.csv: labels 'yes' (10) and 'Yes' (10) differ only in upper and lower case")
    assert task.notes[1].startswith("f.csv: 10 rows have the label '?'") and "--drop-label='?'" in task.notes[1]


def test_spaces_around_labels_are_told(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\n" + rows(40, (" yes", "no", "\xa0yes"))))
    assert task.labels == ("no", "yes")
    assert task.notes[0] == "f.csv: spaces around 27 labels are dropped (line 2: ' yes')"


def test_cells_that_look_quoted_are_told_where_quotes_are_ordinary(tmp_path):
    content = 'text\tsecond\tlabel\n"say ""a"""\tp\t"no"\n"b" or "c"\t"q"\tyes\n' + "t\tu\tno\nv\tw\tyes\n" * 9
    task = read(write(tmp_path / "f.tsv", content), pair_column="second")
    told = "cells look quoted; the quotes are read as a part of them. If they enclose fields: --quoting csv"
    assert task.notes[:3] == (
        f'f.tsv, column \'text\': 1 of 20 {told} (line 2: \'"say ""a"""\')',
        f"f.tsv, column 'second': 1 of 20 {told} (line 3: '\"q\"')",
        f"f.tsv, column 'label': 1 of 20 {told} (line 2: '\"no\"')",
    )
    assert task.notes[3].startswith("f.tsv: labels '\"no\"' (1) and 'no' (9) differ only in quotes")
    assert '"say ""a"""' in all_texts(task) and '"b" or "c"' in all_texts(task)


def test_both_ways_to_write_a_file_read_alike(tmp_path):
    texts = [f'she said "number {i}", twice' for i in range(20)]
    for name, delimiter in (("f.csv", ","), ("f.tsv", "\t")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([("text", "label"), *((text, ["no", "yes"][i % 2]) for i, text in enumerate(texts))])
    assert all_texts(read(tmp_path / "f.csv")) == all_texts(read(tmp_path / "f.tsv", quoting="csv"))
    assert sorted(all_texts(read(tmp_path / "f.csv"))) == sorted(texts)


def test_a_quote_in_a_label_is_told(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\n" + rows(40, ('5"', "no"))))
    assert task.labels == ('5"', "no")
    assert task.notes[0].startswith("f.csv, column 'label': 20 of 40 cells hold a double quote")


@pytest.mark.parametrize("header", ["\ufefftext,label", " Text , LABEL "])
def test_a_header_that_is_repeated_in_another_way_is_told(tmp_path, header):
    content = "text,label\n" + rows(20) + f"{header}\n" + rows(20)
    note = read(write(tmp_path / "f.csv", content)).notes[0] + read(tmp_path / "f.csv").notes[1]
    assert "f.csv: rows that repeat the header: 1 (line 22), read as any other" in note


def test_a_header_that_is_read_as_a_row_is_told(tmp_path):
    named = {"columns": "a,b", "text_column": "a", "label_column": "b"}
    told = (
        "f.csv, line 1 looks like a header ('text', 'label'), and is read as a row. If it is one, leave out --columns"
    )
    notes = read(write(tmp_path / "f.csv", "text,label\n" + rows(20)), **named).notes
    assert any(note.startswith(told) for note in notes)
    for first in ("it was a good film,label", "text,yes", "Paris,France"):
        notes = read(write(tmp_path / "f.csv", f"{first}\n" + rows(20)), **named).notes
        assert not any("looks like a header" in note for note in notes)


def test_rows_that_an_open_quote_swallows_are_told(tmp_path):
    swallowed = '"open,yes\n' + rows(6) + 'she said ",no\n'
    for content in ("text,label\n" + rows(9) + swallowed + rows(9), "text,label\n" + swallowed + rows(30)):
        task = read(write(tmp_path / "f.csv", content))
        line = 11 if content.startswith("text,label\ntext 0") else 2
        (note,) = [note for note in task.notes if "could be rows" in note]
        assert note.startswith(f"f.csv: the row that begins on line {line} spans 8 lines, and 7 of them could be rows")
    letter = '"Dear all,\nit was good, thanks\nno, really\nBye",no\n'
    assert len(read(write(tmp_path / "f.csv", "text,label\n" + letter * 9 + rows(30))).notes) == 1


def test_rows_that_an_open_quote_swallows_are_told_of_scores(tmp_path):
    scored = [f"text {i},{i / 7:.2f}\n" for i in range(40)]
    content = 'text,label\n"open,0.11\n' + "".join(scored[:5]) + 'she said ",0.23\n' + "".join(scored[5:])
    notes = read(write(tmp_path / "f.csv", content), regress=True).notes
    assert any("spans 7 lines, and 6 of them could be rows" in note for note in notes)


def test_a_label_in_every_row_is_asked_about(tmp_path):
    names = [str(i) for i in range(30)]
    (note, *_) = read(write(tmp_path / "f.csv", "text,label\n" + rows(30, names))).notes
    assert note == "f.csv, column 'label': 30 of 30 rows have a label that no other row has; is it the label column?"
    few = read(write(tmp_path / "f.csv", "text,label\n" + rows(45, names))).notes
    assert not any("is it the label column" in note for note in few)


@pytest.mark.parametrize("missing", ["nan", "?", "-"])
def test_scores_with_missing_ones_are_no_classes(tmp_path, missing):
    with complains("such as 0.5: these look like scores, use --regress with --drop-label="):
        read(write(tmp_path / "f.csv", "text,label\n" + rows(20, ("0.5", "1.5", missing))))
    assert read(write(tmp_path / "f.csv", "text,label\n" + rows(20, ("0", "1", missing)))).labels[-2:]


def test_decimal_commas_are_told(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\n" + rows(20, ('"0,5"', '"1,5"', "2")))
    assert any("labels such as 0,5" in note or '"0,5"' in note or "'0,5'" in note for note in read(path).notes)
    with complains("the score is '0,5'; expected a finite number with a decimal point, not a comma"):
        read(path, regress=True)
    path = write(tmp_path / "f.csv", "text,label\n" + rows(20, ('"a,b"', '"1,5"')))
    assert not any("decimal comma" in note for note in read(path).notes)


@pytest.mark.parametrize(
    ("given", "meant"), [("X", "'x'"), ("unknwon", "'unknown'"), ("x\u200b", "'x'"), ("\uff58", "'x'")]
)
def test_a_label_to_drop_that_is_spelled_otherwise(tmp_path, given, meant):
    path = write(tmp_path / "f.csv", "text,label\n" + rows(40, ("no", "yes", "x", "unknown")))
    with complains("no row has the label", "of --drop-label in column 'label'. Did you mean " + meant + "?"):
        read(path, drop_label=given)
    with pytest.raises(InputError, match=r"in column 'label'$"):
        read(path, drop_label="zzz")


def test_a_header_that_is_repeated_is_told(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\n" + rows(20) + "text,label\n" + rows(20)))
    assert (
        "f.csv: rows that repeat the header: 1 (line 22), read as any other" in task.notes[0]
        and "--drop-label=label" in task.notes[0]
    )


@given(st.lists(st.sampled_from(["a", "b", "\u00e9", 'q"', "x,y", "two\nlines", " c ", "A", "-"]), min_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_are_those_that_were_written(tmp_path, labels):
    labels = [*labels, "a", "b"]
    with (tmp_path / "f.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((f"t{i}", label) for i, label in enumerate(labels))])
    task = read(tmp_path / "f.csv")
    parts = [task.train, task.dev["dev"], *([task.test] if task.test else [])]
    found = {text: task.labels[n] for part in parts for text, n in zip(part.texts, part.labels, strict=True)}
    assert [found[f"t{i}"] for i in range(len(labels))] == [label.strip() for label in labels]


# --- what is refused ---


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        ("text,label\na,b,c\n", {}, ("line 2", "found 3 fields, expected 2", "'a,b,c'", "in double quotes")),
        ('text,label\n"a\nb",no\nc\n', {}, ("line 4", "found 1 field, expected 2")),
        ("a,no\nb\n", {"columns": "text,label"}, ("line 2", "found 1 field", "--columns names")),
        ("text,label\n", {"columns": "text,label"}, ("line 1 is a header", "leave out --columns")),
        ('text,label\nx,no\n"never closed,no\n', {}, ("begins on line 3", "--quoting none")),
        ('text,label\nx,no\n"closed" early,no\n', {}, ("begins on line 3",)),
        ("text,label\nx,no\ny, \n", {}, ("line 3", "label (column 'label') is empty")),
        ("text,label\nx,no\n\ny,\n", {}, ("line 4", "is empty")),
        ("text,label\nx,no\ny,no\n", {}, ("only one class, 'no'",)),
        ("text,label\n", {}, ("header line and no row",)),
        ("", {}, ("is empty",)),
        ("\n \n", {}, ("is empty",)),
        ("text,label\nx\0,no\n", {}, ("line 2", "NUL")),
        ("body,label\nx,no\n", {}, ("no column 'text'", "'body', 'label'", "--columns")),
        ("text;label\nx;no\n", {}, ("no column 'text'", "'text;label'", "',' is likely not", "--delimiter")),
        ("text,label,text\nx,no,y\n", {}, ("2 columns are called 'text'",)),
        ("text,label\nx,no\ny,yes\n", {}, ("2 rows are too few", "dev set would be empty")),
        (
            "text,label\nw,no\nx,no\ny,yes\nz,yes\n",
            {},
            ("4 rows are too few", "--test-share 0"),
        ),
        ("text,label\nx,0.5\ny,1.5\n", {}, ("column 'label'", "such as 0.5", "--regress")),
        ("text,label\nx,0.5\ny,much\n", {"regress": True}, ("line 3", "score is 'much'")),
        ("text,label\nx,0.5\ny,inf\n", {"regress": True}, ("line 3", "score is 'inf'")),
        ("text,label\nx,0.5\ny,\n", {"regress": True}, ("line 3", "is empty")),
        ("text,label\nx,2\ny,2\nz,2\n", {"regress": True}, ("all training scores are the same",)),
    ],
)
def test_bad_files_name_the_line_and_the_way_out(tmp_path, content, options, parts):
    with complains("f.csv", *parts):
        read(write(tmp_path / "f.csv", content), **options)


def test_undecodable_byte(tmp_path):
    path = write(tmp_path / "f.csv", b"text,label\nx,no\ncaf\xe9,no\n")
    with complains("f.csv, line 3", "0xe9 is not utf-8", "--encoding", "latin-1", "cp1252"):
        read(path)
    with complains("no text encoding called 'klingon'"):
        read(path, encoding="klingon")


def test_too_many_classes(tmp_path):
    many = "text,label\n" + "".join(f"x,{i}\n" for i in range(1001))
    with complains("1001 different labels", "--regress"):
        read(write(tmp_path / "f.csv", many))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "::"}, "one character"),
        ({"delimiter": '"'}, "one character"),
        ({"quoting": "single"}, "csv, none"),
        ({"columns": "text,text"}, "different names"),
        ({"columns": "text,"}, "different names"),
        ({"split_seed": -1}, "seed of the split"),
        ({"dev_share": 0}, "above 0"),
        ({"dev_share": 0.6, "test_share": 0.4}, "no rows for training"),
        ({"test_share": 1.0}, "from 0 to below 1"),
        ({"test_share": "much"}, "from 0 to below 1"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    path = write(tmp_path / "f.csv", "text,label\n" + rows())
    with complains(message):
        read_table("csv", path, **{**COLUMNS, **options})


def test_read_delimited_keeps_first_lines_of_rows(tmp_path):
    table = read_delimited(write(tmp_path / "f.csv", ' a , b\n1,"x\ny\nz"\n\n2,w\n'), Format())
    assert table.columns == ("a", "b") and table.lines == [2, 6]
    assert table.column("b") == ["x\ny\nz", "w"]


# --- the split ---


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.4]))
def test_split_rule(groups, seed, test_share):
    groups = np.array(groups)
    parts = stratified_split(groups, 0.2, test_share, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    for part in parts:
        assert part.tolist() == sorted(part.tolist())
    for group in np.unique(groups):
        n = int((groups == group).sum())
        train, dev, test = (int((groups[part] == group).sum()) for part in parts)
        assert train >= 1
        assert dev == (0 if n == 1 else max(1, int(0.2 * n + 0.5)))
        if test_share == 0:
            assert test == 0
        elif n >= 3:
            assert test >= 1
        else:
            assert test == 0


def test_the_split_is_the_same_on_every_platform_and_day():
    _, dev, test = stratified_split(np.array([0, 1] * 10), 0.2, 0.1, seed=7)
    assert (dev.tolist(), test.tolist()) == ([4, 11, 12, 13], [3, 6])


def test_rare_classes_are_told(tmp_path):
    task = read(write(tmp_path / "f.csv", "text,label\nx,rare\ny,two\nz,two\n" + rows(20)))
    assert "classes with too few rows to be in every split: rare, two" in task.notes
    assert "x" in task.train.texts
    assert task.labels == ("no", "rare", "two", "yes")


# --- read with the classes of a trained task, to be scored ---


def read_labelled(path, classes=("no", "yes"), **options):
    return load_labelled("csv", path, classes, **{**COLUMNS, **options})


@pytest.mark.parametrize("content, labels", [("a,yes\n", [1]), ("a,yes\nb,yes\n", [1, 1]), ("a,yes\nb,no\n", [1, 0])])
def test_rows_to_score_need_not_be_fit_for_training(tmp_path, content, labels):
    """One row, one class, too few for a split; labels are looked up in the classes given, in their order."""
    path = write(tmp_path / "f.csv", "text,label\n" + content)
    with pytest.raises(InputError):
        read(path)
    found = read_labelled(path)
    assert found.parts["train"].labels.tolist() == labels and found.notes == ()
    with pytest.raises(InputError, match="too few to split"):
        found.task()
    assert read_labelled(path, ("yes", "no")).parts["train"].labels.tolist() == [1 - label for label in labels]


def test_labels_that_a_trained_task_does_not_know_are_told(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\na,yes\nb,neutral\nc,no\nd,odd\ne,odd\n")
    found = read_labelled(path)
    assert found.parts["train"].labels.tolist() == [1, UNKNOWN, 0, UNKNOWN, UNKNOWN]
    told = "f.csv: 3 of 5 rows have labels that the task does not know ('neutral', 'odd'): counted as wrong"
    assert told in found.notes
    with complains("f.csv", "no row has one of the labels that the task was trained on ('a', 'b')", "'yes', 'neutral'"):
        read_labelled(path, ("a", "b"))
    for name in ("train.csv", "dev.csv"):
        write(tmp_path / "folder" / name, "text,label\na,yes\nb,maybe\n")
    with complains("dev.csv, line 3", "no training row has the label 'maybe'"):
        write(tmp_path / "folder" / "train.csv", "text,label\na,yes\nb,no\n")
        read(tmp_path / "folder")
    assert read_labelled(tmp_path / "folder").dev["dev"].labels.tolist() == [1, UNKNOWN]


def test_an_empty_second_text_is_an_empty_text(tmp_path):
    content = "text,second,label\n" + "".join(f"a{i},{'' if i == 3 else 'b'},{i % 2}\n" for i in range(20))
    task = read(write(tmp_path / "f.csv", content), pair_column="second")
    assert "f.csv: 1 of 20 rows have an empty text" in task.notes


def test_cells_that_begin_with_a_space_and_a_quote_are_told(tmp_path):
    content = 'label,text\nno, "he said" so\n' + "no,x\nyes,y\n" * 10
    note = (
        "column 'text': 1 of 21 cells begin with a space and a double quote, which are read as a part of them (line 2"
    )
    task = read(write(tmp_path / "f.csv", content))
    assert note in task.notes[0] and ' "he said" so' in all_texts(task)


ODD_LABELS = {"control": "no\x1b[2J", "long": "no" * 5000, "spelled": "\u200b" * 5000 + "no"}


@pytest.mark.parametrize("label", ODD_LABELS.values(), ids=ODD_LABELS)
def test_labels_are_quoted_printable_and_short(tmp_path, label):
    train, other = "text,label\n" + rows(20), "text,label\n" + rows(20, (label, label + "!"))
    many = "text,label\n" + rows(60, [f"{label}{i}" for i in range(30)])
    for number, files in enumerate(({"train": train, "dev": other}, {"train": many, "dev": train})):
        for split, content in files.items():
            write(tmp_path / str(number) / f"{split}.csv", content)
        with complains("dev.csv, line 2", "no training row has the label") as error:
            read(tmp_path / str(number))
        assert str(error.value).isprintable() and len(str(error.value)) < 2000
    for note in read(write(tmp_path / "f.csv", train + rows(4, (label, label.upper())))).notes:
        assert note.isprintable() and len(note) < 1000
    with complains("f.csv: column 'label' has only one class") as error:
        read(write(tmp_path / "f.csv", "text,label\n" + rows(20, (label,))))
    assert str(error.value).isprintable() and len(str(error.value)) < 1000
