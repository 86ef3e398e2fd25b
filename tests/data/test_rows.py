"""Rows that are the same: hashes of their texts, texts in two splits, one fingerprint of a task."""

from dataclasses import replace

import numpy as np
import pytest

from minibert.data import data_fingerprint, limit_dev, limit_train, load_task
from minibert.data.rows import row_hashes, shared_texts, trained_rows
from minibert.data.squad import Questions
from minibert.data.task import Examples, Task

A_GOOD_FILM = 4876373373115988710  # BLAKE2b of "a good film", 8 bytes, little-endian
A_AND_B = 6888081726617775527  # of "a", a line end, "b"


def examples(*texts, pairs=None):
    return Examples(list(texts), pairs, np.arange(len(texts)) % 2)


def task(train, dev, test=None):
    dev = dev if isinstance(dev, dict) else {"dev": dev}
    return Task("made up", "classify", ("no", "yes"), ("accuracy",), train, dev, test)


def test_a_hash_is_of_the_texts_but_for_case_and_white_space():
    same = row_hashes(examples("a good film", "  A  good\tFILM\n", "a\u00a0good film"))
    assert same.dtype == np.uint64 and same.tolist() == [A_GOOD_FILM] * 3
    assert len(set(row_hashes(examples("a good film", "agood film", "a good film.", "")).tolist())) == 4


def test_a_hash_of_a_pair_knows_which_text_is_which():
    pairs = row_hashes(examples("a", "b", "a b", "", "A ", pairs=["b", "a", "", "a b", " B"]))
    assert pairs[0] == A_AND_B and pairs[4] == A_AND_B
    assert len(set(pairs.tolist())) == 4


def test_what_a_bank_keeps_is_sorted_and_has_each_row_once():
    dev = {"matched": examples("x", "a good film"), "mismatched": examples("y")}
    rows = trained_rows(task(examples("b", "c", "a good film", "B"), dev))
    assert rows["train"].tolist() == sorted(row_hashes(examples("b", "c", "a good film")).tolist())
    assert rows["dev"].tolist() == sorted(row_hashes(examples("x", "a good film")).tolist())  # y chooses no epoch


def test_texts_in_two_splits_are_told():
    shared = task(examples("a", "b", "c"), examples("d", "A "), examples("d", "b", "c", "e", " B"))
    assert shared_texts(shared) == [
        "1 of 2 dev texts are also in train, case and spaces aside",
        "3 of 5 test texts are also in train, case and spaces aside",
        "1 of 5 test texts are also in dev, case and spaces aside",
    ]
    assert shared_texts(task(examples("a", "b"), examples("c"))) == []
    several = task(examples("a", "b"), {"matched": examples("a"), "mismatched": examples("c", "b")}, examples("z"))
    assert [note.split(" texts")[0] for note in shared_texts(several)] == ["1 of 1 matched", "1 of 2 mismatched"]


def test_a_question_is_the_same_only_with_its_paragraph():
    def questions(*rows):
        texts, pairs = zip(*rows, strict=True)
        n = len(rows)
        return Questions(list(texts), list(pairs), np.zeros((n, 2), np.int64), [str(i) for i in range(n)], [("x",)] * n)

    train, dev = questions(("who?", "one"), ("where?", "two")), questions(("who?", "two"), ("Where?", "two"))
    found = Task("squad", "span", (), ("f1",), train, {"dev": dev})
    assert shared_texts(found) == ["1 of 2 dev texts are also in train, case and spaces aside"]


GLUE_ROW = "sentence\tlabel\n{}\t0\nnice\t1\n"


@pytest.mark.parametrize("layout", ["glue", "folder"])
def test_tasks_with_splits_of_their_own_are_looked_at_too(tmp_path, layout):
    for split, text in (("train", "a film"), ("dev", "A film "), ("test", "tea")):
        (tmp_path / f"{split}.tsv").write_text(GLUE_ROW.format(text))
    csv = {"text_column": "sentence", "label_column": "label"}
    found = load_task("sst2", tmp_path) if layout == "glue" else load_task("csv", tmp_path, **csv)
    assert [note.split(" texts")[0] for note in shared_texts(found)] == ["2 of 2 dev", "1 of 2 test", "1 of 2 test"]


def test_rows_that_were_drawn_keep_the_fingerprint_of_all():
    whole = task(examples("a", "b", "c", "d"), examples("e", "f", "g"))
    drawn = limit_dev(limit_train(whole, 3, seed=1), 2)
    assert drawn.drawn_from == data_fingerprint(whole) != data_fingerprint(drawn)
    assert whole.drawn_from == ""
    assert data_fingerprint(replace(whole, notes=("told",), drawn_from="x")) == data_fingerprint(whole)


@pytest.mark.parametrize("change", ["order", "label", "text", "case", "fewer", "split"])
def test_a_fingerprint_is_of_every_row_and_their_order(change):
    whole = task(examples("a", "b", "c", "d"), examples("e", "f"), examples("g", "h"))
    train = whole.train
    changed = {
        "order": {"train": train.take([1, 0, 2, 3])},
        "label": {"train": replace(train, labels=1 - train.labels)},
        "text": {"train": replace(train, texts=["a", "b", "c", "x"])},
        "case": {"train": replace(train, texts=["a", "b", "c", "D"])},
        "fewer": {"train": train.take([0, 1, 2])},
        "split": {"dev": {"dev": whole.test}, "test": whole.dev["dev"]},
    }[change]
    assert data_fingerprint(replace(whole, **changed)) != data_fingerprint(whole)
