"""What a message says of a file that is no table, and of a line with another number of fields than the header."""

from __future__ import annotations

import io

import pytest

from minibert.data.causes import kind_of
from minibert.data.delimited import Format, read_delimited
from minibert.data.stream import open_stream
from minibert.errors import InputError

ROWS = "good film,yes\nbad film,no\n"


def refused(tmp_path, content, **form):
    path = tmp_path / "f.csv"
    path.write_text(content, encoding="utf-8", newline="")
    with pytest.raises(InputError) as raised:
        read_delimited(path, Format(**form))
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value).replace(str(path), "f.csv")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a, b,yes", "'a, b,yes'. A text that holds ',' must stand in double quotes"),
        ("just a text", "The line is cut, or a text with a line end"),
        ("   ", "nothing but spaces"),
        ("# a remark", "looks like a comment"),
        ('"she \\"said\\", so",yes', r"here as \": replace it"),
        ('she \\"said, so\\" twice,yes', r"here as \": replace it"),
        ("'one, two','yes'", "Its fields stand in single quotes"),
        ("“one, two”,yes", "typographic quotes (“)"),
        ("2,good film,yes", "A text that holds ',' must stand in double quotes"),
        ("good film,yes,", "The line ends with what separates fields"),
        ('"open,yes', "not closed where the field ends: close it, or delete it. If quotes are ordinary"),
        ('"open, or,yes', "not closed where the field ends: close it, or delete it"),
        ('"closed" early,yes', 'ends with its quote; a quote inside it is written twice (""). If quotes are ordinary'),
    ],
)
def test_the_likely_cause_is_told(tmp_path, line, told):
    message = refused(tmp_path, f"text,label\n{ROWS}{line}\n")
    assert told in message and "line 4" in message
    assert ("--quoting none" in message) == ("ordinary" in told)


@pytest.mark.parametrize("first", [0, 1])
def test_rows_that_begin_with_their_numbers(tmp_path, first):
    """A header that lacks a name is too short for the first row already."""
    message = refused(tmp_path, f"text,label\n{first},good film,yes\n{first + 1},bad film,no\n")
    assert "begin with their numbers, for which the header has no name" in message and "line 2" in message
    for others in (
        "id,text,label\n1,bad, very bad,no\n5,good,yes\n",
        "stars,text,label\n1,bad, worse,no\n1,good,yes\n",
    ):
        assert "must stand in double quotes" in refused(tmp_path, others)
    assert "must stand in double quotes" in refused(tmp_path, "label,text\n1,bad, very bad\n")
    assert "must stand in double quotes" in refused(tmp_path, "text,label\n2,a,b\n3,c,d\n")
    later = refused(tmp_path, "text,label\ngood,yes\n1,a,b\n2,c,d\n")
    assert "must stand in double quotes" in later and "line 3" in later
    torn = refused(tmp_path, 'text,label\n1,good film,yes\n2,"bad film,no\n')
    assert "line 2" in torn and "must stand in double quotes" in torn, "the row after it is not the first mistake"
    named = refused(tmp_path, f"id,text,label\n{first},good film,yes\n{first + 1},bad, very bad,no\n")
    assert "must stand in double quotes" in named and "line 3" in named


@pytest.mark.parametrize(
    ("content", "typed"),
    [
        ("text;label\na, b;yes\nc;no\n", "semicolon"),
        ('text;label\n"say ""hi""";yes\n"c\nd";no\n', "semicolon"),
        ("text|label\na, b|yes\nc|no\n", "'|'"),
        ("text\tlabel\na, b\tyes\nc\tno\n", "tab"),
    ],
)
def test_what_separates_is_told_if_the_file_can_be_read_with_it(tmp_path, content, typed):
    assert refused(tmp_path, content).endswith(f"It can be read if {typed} separates: --delimiter {typed}")
    broken = refused(tmp_path, content + "x,y,z\n")
    assert "It can be read" not in broken


def test_quoting_is_advised_only_if_the_file_can_be_read_with_it(tmp_path):
    tabbed = 'text\tlabel\n"a\tb"\tyes\n'
    assert "--quoting csv" in refused(tmp_path, tabbed, delimiter="tab")
    assert "--quoting csv" not in refused(tmp_path, tabbed + "c\td\tno\n", delimiter="tab")
    circle = f"text,label\n{ROWS}a, b,yes\n"
    for quoting in ("csv", "none"):
        message = refused(tmp_path, circle, quoting=quoting)
        assert "use --quoting" not in message and "'a, b,yes'" in message


def test_a_comment_above_the_header(tmp_path):
    assert "line 2: found 2 fields, expected 1" in (message := refused(tmp_path, f"# by me\ntext,label\n{ROWS}"))
    assert message.endswith("The first line looks like a comment: delete it")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('[{"text": "a", "label": "b"}]', "JSON"),
        ('[\n{"text": "a"}\n]\n', "JSON"),
        ('{\n "data": []\n}\n', "JSON"),
        ('{"text": "a, b", "label": "c"}\n{"text": "d", "label": "e"}\n', "JSON Lines"),
        ("<!DOCTYPE html><html></html>", "a web page"),
        ("\n<html>\n<body>a, b\n", "a web page"),
        ('<?xml version="1.0"?>\n<rows/>\n', "a web page"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, kind):
    assert kind_of(content) == kind
    assert refused(tmp_path, content).startswith(f"f.csv is {kind}, not a table: ")
    with pytest.raises(InputError, match=f"f.csv is {kind}, not a table"):
        open_stream(io.BytesIO(content.encode()), "f.csv", Format())


@pytest.mark.parametrize(
    "text", ["text,label\n", "[id],text\n", "{curly} words\n", "<b>bold</b>,x\n", "a < b\n", "[sic]"]
)
def test_other_texts_are_taken_for_texts(text):
    assert kind_of(text) is None


def test_lines_of_a_file_without_header_may_begin_as_json_does(tmp_path):
    path = tmp_path / "f.tsv"
    path.write_text('{"a": 1}\tyes\n["b"]\tno\n', encoding="utf-8")
    assert read_delimited(path, Format(columns="text,label")).rows == [['{"a": 1}', "yes"], ['["b"]', "no"]]


@pytest.mark.parametrize("columns", ["Text,Label", " text , LABEL "])
def test_columns_that_the_first_line_names_in_another_case(tmp_path, columns):
    message = refused(tmp_path, f"text,label\n{ROWS}", columns=columns)
    told = "line 1 is a header with just the names of --columns, written 'text', 'label'; leave out --columns ("
    assert told in message
