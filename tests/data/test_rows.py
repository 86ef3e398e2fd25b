"""Rows that are the same: hashes of their texts, texts in two splits, one fingerprint of a task."""

from dataclasses import replace

import numpy as np
import pytest

from minibert.data import data_fingerprint, limit_dev, limit_train, load_task
from minibert.data.rows import text_hashes, text_notes, token_hashes, trained_rows
from minibert.data.squad import Questions
from minibert.data.task import Examples, Task

A_GOOD_FILM = 4876373373115988710  # BLAKE2b of "a good film", 8 bytes, little-endian
TOKENS_5_6 = 9768914347070801614  # of the ids 1, 5, 6, 2, each in 4 bytes
A_AND_B = 6888081726617775527  # of "a", a line end, "b"


def examples(*texts, pairs=None):
    return Examples(list(texts), pairs, np.arange(len(texts)) % 2)


def task(train, dev, test=None):
    dev = dev if isinstance(dev, dict) else {"dev": dev}
    return Task("made up", "classify", ("no", "yes"), ("accuracy",), train, dev, test)


def test_a_hash_is_of_the_texts_but_for_case_and_white_space():
    same = text_hashes(examples("a good film", "  A  good\tFILM\n", "a\u00a0good film"))
    assert same.dtype == np.uint64 and same.tolist() == [A_GOOD_FILM] * 3
    assert len(set(text_hashes(examples("a good film", "agood film", "a good film.", "")).tolist())) == 4


def test_a_pair_is_the_same_in_either_order():
    rows = examples("a", "b", "a b", "", "A ", pairs=["b", "a", "", "a b", " B"])
    same, ordered = text_hashes(rows), text_hashes(rows, ordered=True)
    assert same[0] == same[1] == same[4] == A_AND_B and same[2] == same[3] and len(set(same.tolist())) == 2
    assert ordered[0] == ordered[4] == A_AND_B and len(set(ordered.tolist())) == 4


def packed(*rows):
    """Sequences of ids, a pair as two lists, as a batch has them: [CLS] is 1, [SEP] is 2."""
    pairs = [row if isinstance(row, tuple) else (row, None) for row in rows]
    ids = [[1, *one, 2] + ([] if other is None else [*other, 2]) for one, other in pairs]
    segments = [[0] * (len(one) + 2) + [1] * (0 if other is None else len(other) + 1) for one, other in pairs]
    flat = [np.array([i for row in rows for i in row], np.int32) for rows in (ids, segments)]
    return *flat, np.cumsum([0, *map(len, ids)])


def test_a_hash_of_tokens_is_of_a_rows_own_tokens():
    hashes = token_hashes(*packed([5, 6], [6, 5], [5], [5, 6], [], [5, 6, 2], [1, 5, 6]))
    assert hashes.dtype == np.uint64 and hashes[0] == hashes[3] == TOKENS_5_6
    assert len(set(hashes.tolist())) == 6
    assert token_hashes(*packed()).shape == (0,)
    assert token_hashes(*packed([7], [5, 6]))[1] == hashes[0]  # whatever stands before it


def test_a_hash_of_the_tokens_of_a_pair_is_the_same_in_either_order():
    rows = packed(([5], [6]), ([6], [5]), ([5, 6], []), ([], [5, 6]), ([5], [6, 2]), ([5, 2, 6], []), ([5, 2], [6]))
    same, ordered = token_hashes(*rows).tolist(), token_hashes(*rows, ordered=True).tolist()
    assert same[0] == same[1] and same[2] == same[3] and len(set(same)) == 5
    assert len(set(ordered)) == 7


def test_texts_with_different_labels_are_told_with_an_example():
    rows = Examples(["a", "b", "a ", "c", "B", "d", "b"], None, np.array([0, 1, 1, 0, 1, 0, 0]))
    told = "2 texts stand in train with different labels (5 of 7 rows), case and spaces aside: for example 'a', "
    assert text_notes(task(rows, examples("x", "y"))) == [told + "'no', 'yes'"]
    same = replace(rows, labels=np.array([0, 1, 0, 1, 1, 0, 1]))
    assert text_notes(task(same, examples("x", "y"))) == []
    scores = replace(rows, labels=rows.labels.astype(np.float32))
    assert text_notes(Task("made up", "regress", (), ("pearson",), scores, {"dev": examples("x", "y")})) == []


def test_pairs_and_sets_of_labels_can_differ_too():
    pairs = Examples(["a", "b", "a"], ["b", "a", "b"], np.array([0, 1, 1]))
    (told,) = text_notes(task(pairs, examples("x", pairs=["y"])))  # (b, a) is a question of its own
    assert told.startswith("1 pair stands in train with different labels (2 of 3 rows)") and "'a' and 'b', 'no'" in told
    sets = Examples(["a", "a", "b", "b"], None, np.array([[0, 0], [1, 1], [1, 0], [1, 0]]))
    found = Task("made up", "multilabel", ("tea", "film"), ("micro_f1",), sets, {"dev": sets.take([3])})
    told = text_notes(found)[0]
    assert told.startswith("1 text stands") and told.endswith("for example 'a', none, 'tea' and 'film'")


def test_what_a_bank_keeps_is_sorted_and_has_each_row_once():
    dev = {"matched": examples("x", "a good film"), "mismatched": examples("y")}
    train = examples("b", "c", "a good film", "B")
    rows = trained_rows({"train": text_hashes(train)} | {name: text_hashes(part) for name, part in dev.items()})
    assert rows["train"].tolist() == sorted(text_hashes(examples("b", "c", "a good film")).tolist())
    assert rows["dev"].tolist() == sorted(text_hashes(examples("x", "a good film")).tolist())  # y chooses no epoch


def test_texts_in_two_splits_are_told():
    shared = task(examples("a", "b", "c"), examples("d", "A "), examples("d", "b", "c", "e", " B"))
    assert text_notes(shared) == [
        "1 of 2 dev texts are also in train, case and spaces aside",
        "3 of 5 test texts are also in train, case and spaces aside",
        "1 of 5 test texts are also in dev, case and spaces aside",
    ]
    assert text_notes(task(examples("a", "b"), examples("c"))) == []
    several = task(examples("a", "b"), {"matched": examples("a"), "mismatched": examples("c", "b")}, examples("z"))
    assert [note.split(" texts")[0] for note in text_notes(several)] == ["1 of 1 matched", "1 of 2 mismatched"]


def test_a_question_is_the_same_only_with_its_paragraph():
    def questions(*rows):
        texts, pairs = zip(*rows, strict=True)
        n = len(rows)
        return Questions(list(texts), list(pairs), np.zeros((n, 2), np.int64), [str(i) for i in range(n)], [("x",)] * n)

    train, dev = questions(("who?", "one"), ("where?", "two")), questions(("who?", "two"), ("Where?", "two"))
    found = Task("squad", "span", (), ("f1",), train, {"dev": dev})
    assert text_notes(found) == ["1 of 2 dev texts are also in train, case and spaces aside"]


GLUE_ROW = "sentence\tlabel\n{}\t0\nnice\t1\n"


@pytest.mark.parametrize("layout", ["glue", "folder"])
def test_tasks_with_splits_of_their_own_are_looked_at_too(tmp_path, layout):
    for split, text in (("train", "a film"), ("dev", "A film "), ("test", "tea")):
        (tmp_path / f"{split}.tsv").write_text(GLUE_ROW.format(text))
    csv = {"text_column": "sentence", "label_column": "label"}
    found = load_task("sst2", tmp_path) if layout == "glue" else load_task("csv", tmp_path, **csv)
    assert [note.split(" texts")[0] for note in text_notes(found)] == ["2 of 2 dev", "1 of 2 test", "1 of 2 test"]


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
