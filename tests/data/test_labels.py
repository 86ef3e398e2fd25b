"""Class names: spellings of one name, what stands for a missing one, and the counts that are printed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.data.labels import LabelColumn, Spellings, class_counts, fold, is_missing, leave_out, number_of
from minibert.data.task import Examples, Task
from minibert.errors import InputError


def column(*labels):
    return LabelColumn(Path("folder/mine.csv"), "label", list(labels), list(range(2, 2 + len(labels))))


SPELLINGS = [
    ("Neg", "neg", "upper and lower case"),
    ("straße", "STRASSE", "upper and lower case"),
    ("not sure", "not  sure", "spaces"),
    ("not sure", "not\xa0sure", "spaces"),
    ("not sure", "not\u2003sure", "spaces"),
    ("neg", "neg\u200b", "characters that are not seen"),
    ("neg", "\ufeffneg", "characters that are not seen"),
    ("negative", "nega\xadtive", "characters that are not seen"),
    ("neg", "\u200eneg", "characters that are not seen"),
    ("neg", "ne\x07g", "characters that are not seen"),
    ("❤", "❤\ufe0f", "characters that are not seen"),
    ("caf\xe9", "cafe\u0301", "the form of characters"),
    ("1", "１", None),
    ("ﬁt", "fit", "the form of characters"),
    ("follow-up", "follow\u2011up", "the form of characters"),
    ("neg", "n\u0435g", "the form of characters"),
    ("kot", "\u043a\u043e\u0442", "the form of characters"),
    ("positive", "pos\u0131tive", "the form of characters"),
    ("1", "\u0661", None),
    ("10", "\u0967\u0966", None),
    ("iyi", "\u0130yi", "upper and lower case"),
    ("neg", '"neg"', "quotes"),
    ("neg", "'neg'", "quotes"),
    ("neg", "Neg\u200b", "characters that are not seen and upper and lower case"),
    ("not sure", "Not  sure", "spaces and upper and lower case"),
]


@pytest.mark.parametrize(("one", "other", "difference"), SPELLINGS)
def test_two_spellings_are_told_with_their_counts(one, other, difference):
    found = column(one, other, one, "something else")
    if difference is None:
        with pytest.raises(InputError, match="same number"):
            found.check_numbers()
        return
    found.check_numbers()
    (note,) = found.notes()
    show = repr if difference == "upper and lower case" else ascii
    expected = f"mine.csv: labels {show(one)} (2) and {show(other)} (1) differ only in {difference}; they are 2 classes"
    assert note.startswith(expected)
    assert Spellings(["something else", one]).find(other) == one
    for both in ([one, other], [other, one]):
        assert [Spellings(both).find(name) for name in both] == both


@pytest.mark.parametrize("label", ["-1.0", "-100", "-9", "...", "\u2026", "_", "\u2212" + "1"])
def test_what_stands_for_a_missing_label(label):
    assert is_missing(label) and not is_missing("-2") and not is_missing("9") and not is_missing("0")


def test_different_names_are_not_told():
    found = column("a", "b", "ab", "a b", "a-b", "a_b", "A1", "a2", "1_0", "10", "unknown", "5 stars", "5", "é", "e")
    found.check_numbers()
    assert found.notes() == []
    assert Spellings(found.counts).find("c") is None
    assert all(Spellings(found.counts).find(name) == name for name in found.counts)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), ("1", "01"), ("1", "1e0"), ("1", "+1"), ("0", "-0"), ("10", "1E1"), (".5", "0.50"), ("−1", "-1")],
)
def test_two_spellings_of_a_number_are_refused(one, other):
    with pytest.raises(InputError) as refused:
        column("x", one, other, other).check_numbers()
    told = f"folder/mine.csv: the labels {one!a} (1 row, first on line 3) and {other!a} (2 rows, first on line 4)"
    assert str(refused.value).startswith(f"{told} are the same number. Write a class in one way")


def test_numbers_are_compared_exactly():
    column("9007199254740993", "9007199254740992", "1e400", "2e400", "1e999999", "1e9999999999").check_numbers()
    assert number_of("nan") is None and number_of("1_0") is None and number_of("٣") == number_of("３") == 3


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.integers(0, 3))
def test_every_number_is_the_same_with_more_zeros(number, zeros):
    assert number_of(f"{number:f}" + "0" * zeros) == number


@pytest.mark.parametrize(
    "label", ["-", "?", "-1", "nan", "NaN", "None", "NULL", "n/a", "NA", "#N/A", "—", "\\N", "\u200b", "<NA>", "-999"]
)
def test_what_stands_for_a_missing_label_is_told(label):
    (note,) = column("pos", label, "neg", label).notes()
    assert note.startswith(f"mine.csv: 2 rows have the label {label!a}, which often stands for a missing one")
    assert note.endswith(leave_out(label))
    assert "1 row has the label" in column("pos", label, "neg").notes()[0]


def test_minus_one_is_a_class_beside_plus_one_alone():
    assert column("1", "-1", "-1").notes() == []
    assert len(column("1", "0", "-1").notes()) == 1


def test_advice_can_be_typed():
    assert leave_out("-1").endswith("--drop-label=-1")
    assert leave_out("") == "To leave such rows out: --drop-label="
    assert leave_out("not sure").endswith("--drop-label='not sure'")


def test_many_spellings_are_cut_short():
    notes = column(*(name for i in range(9) for name in (f"label{chr(97 + i)}", f"Label{chr(97 + i)}"))).notes()
    assert len(notes) == 6 and notes[-1] == "mine.csv: 4 more names are spelled in several ways"


@given(st.text())
def test_folding_twice_finds_what_folding_once_finds(label):
    assert fold(label.strip()) == fold(label)


# --- counts ---


def task(labels, train, dev, test=None):
    def examples(numbers):
        return Examples(["x"] * len(numbers), None, np.array(numbers, np.int64))

    test = None if test is None else examples(test)
    return Task("t", "classify", tuple(labels), ("accuracy",), examples(train), {"dev": examples(dev)}, test)


def test_every_class_and_its_rows():
    assert class_counts(task(["neg", "pos"], [0, 1, 1], [1, 0])) == ["classes: neg (1), pos (2)"]
    assert class_counts(task(["neg\u200b", "a b"], [0, 1], [1, 0])) == ["classes: 'neg\\u200b' (1), a b (1)"]


def test_of_many_classes_the_first_and_the_last():
    names = [f"c{i}" for i in range(12)]
    lines = class_counts(task(names, [*range(12), 0], list(range(12))))
    first, last = "c0 (2), c1 (1), c2 (1), c3 (1), c4 (1)", "c7 (1), c8 (1), c9 (1), c10 (1), c11 (1)"
    assert lines == [f"12 classes: {first}, …, {last}"]


def test_a_long_name_is_cut():
    (line,) = class_counts(task(["a" * 61, "\u200b" * 61], [0, 1], [0, 1]))
    assert line == f"classes: {'a' * 59}… (1), {ascii(chr(0x200B) * 59)[:79]}… (1)"


def test_splits_that_lack_a_class_are_told():
    lines = class_counts(task(["a", "b", "c"], [0, 1], [0, 2, 2], [1]))
    assert lines == [
        "classes: a (1), b (1), c (0)",
        "note: train has no row of 1 of 3 classes: c",
        "note: dev has no row of 1 of 3 classes: b",
        "note: test has no row of 2 of 3 classes: a, c",
    ]


def test_without_classes_there_is_nothing_to_count():
    scores = Examples(["x"], None, np.array([0.5], np.float32))
    assert class_counts(Task("t", "regress", (), ("pearson",), scores, {"dev": scores})) == []


@pytest.mark.parametrize("label", ["a\x1b[2J", "a\nb", "x" * 61])
def test_a_label_that_nobody_can_type_is_not_advised(label):
    assert "--drop-label" not in leave_out(label)
