"""Texts in quotes, and rows in a cell, that are told where they are read as they stand."""

from __future__ import annotations

import pytest

from minibert.data.quotes import quote_note, rows_held

PLAIN = ["a film", 'he said "no"', "it's", 'a 5" screen', "", "'tis", "rock 'n'"]


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (['"she said ""x"""', *PLAIN], "1 of 8 cells look quoted"),
        (['"a"', '"b"', "c"], "2 of 3 cells look quoted"),
        (["'a'", "'b'", "c"], "2 of 3 cells stand in single or typographic quotes"),
        (["“a”", "«b»", "`c`"], "3 of 3 cells stand in single or typographic quotes"),
        (['="007"', *PLAIN], "1 of 8 cells are written as a spreadsheet's formula"),
    ],
)
def test_quotes_that_enclose_cells_are_told(cells, told):
    (note,) = quote_note("f, column 'text'", cells, range(2, 20))
    assert note.startswith(f"f, column 'text': {told}") and "(line 2: " in note


@pytest.mark.parametrize(
    "cells",
    [
        PLAIN,
        ['"a quotation"', *PLAIN],
        ["'a quotation'", *PLAIN],
        ['"one"'],
        ['""', "x", "y"],
        ['"', "'"],
        ["=1+2"],
        ["'", "'"],
        [],
    ],
)
def test_quotations_are_not_told(cells):
    assert quote_note("f", cells) == []


def held(row, place, labels=("yes", "no")):
    return rows_held(row, ",", place, labels.__contains__)


def test_rows_in_a_cell_are_counted():
    assert held(["open,yes\nfilm 1,no\nfilm 2,yes\nshe said ", "no"], 1) == (3, 4)
    assert held(["open,yes\nshe said ", "no"], 1) == (1, 2)
    assert held(["yes,open\nno,film 1\nno,", "x"], 0) == (2, 3)
    assert held(["yes", "open\nno,film 1\nno,"], 0) == (2, 3)
    assert held(["open,yes\r\nfilm 1,no\r\n", "no"], 1) == (2, 3)


def test_lines_of_a_text_are_no_rows():
    assert held(["Dear all, \nthanks, yes\nit was good, no\nBye", "no"], 1) == (0, 0)
    assert held(["one, two\nthree, four\nfive, six\nseven", "no"], 1) == (0, 0)
    assert held(["yes", "Brighton, UK\n"], 0) == held(["yes", "London\n"], 0) == (0, 0)
    assert held(["one\n\ntwo", "no"], 1) == (0, 0)


def test_without_labels_three_whole_lines_must_be_rows():
    assert held(["open,yes\na,b\nc,d\ne,f\nend", "no"], None) == (3, 5)
    assert held(["open,yes\na,b\nc,d\nend", "no"], None) == (0, 0)
    assert held(["open,yes\na,b\nc,d\nno row\ne,f\nend", "no"], None) == (0, 0)
