"""Delimited files: what was written is read, with the quotes, spaces and first lines that programs write."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibert.data.delimited import Format, read_delimited
from minibert.data.quotes import looks_quoted
from minibert.errors import InputError

CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12) | st.text(
    st.sampled_from(list(' ",;\t\r\na\xa0')), max_size=8
)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(tmp_path, content, name="f.csv", **form):
    path = tmp_path / name
    path.write_bytes(content.encode())
    return read_delimited(path, Format(**form))


def refused(tmp_path, content, *parts, **form):
    with pytest.raises(InputError) as error:
        read(tmp_path, content, **form)
    for part in parts:
        assert part in str(error.value)


# --- what was written is read ---


@same_folder
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_what_csv_writes_is_read_back(tmp_path, rows, delimiter, style, end, marked):
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, quoting=style, lineterminator=end)
    # A lone line end of another kind is quoted by csv only if it is in the terminator.
    rows = [tuple(cell.replace("\r\n", "\n").replace("\r", "\n").replace("\n", end) for cell in row) for row in rows]
    writer.writerows([("one", "two", "three"), *rows])
    mark = f"sep={delimiter}{end}" if marked else ""
    form = {} if marked else {"delimiter": delimiter}
    table = read(tmp_path, mark + written.getvalue(), quoting="csv", **form)
    assert [tuple(row) for row in table.rows] == rows
    assert len(table.notes) == marked


@same_folder
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]), st.booleans())
def test_without_quoting_every_character_is_kept(tmp_path, rows, delimiter, by_name):
    def clean(cell):
        return "".join(c for c in cell if c not in f"{delimiter}\r\n")

    rows = [(clean(one) or "x", clean(two)) for one, two in rows]
    content = f"one{delimiter}two\n" + "".join(delimiter.join(row) + "\n" for row in rows)
    name, form = ("f.tsv", {}) if by_name and delimiter == "\t" else ("f.csv", {"delimiter": delimiter})
    table = read(tmp_path, content, name, quoting="none", **form)
    assert [tuple(row) for row in table.rows] == rows and table.notes == ()


@same_folder
@given(
    st.lists(CELLS.filter(lambda cell: "\r" not in cell), min_size=1, max_size=6), st.sampled_from([" ", "  ", "\xa0"])
)
def test_spaces_before_quoted_fields_change_no_cell(tmp_path, cells, space):
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    content = "one,two\n" + "".join(f"{field},{space}{field}{space}\n" for field in quoted)
    table = read(tmp_path, content)
    assert table.rows == [[cell, cell] for cell in cells]
    assert f"spaces around {len(cells)} quoted fields are dropped" in table.notes[0]


# --- spaces around quoted fields ---


def test_spaces_around_quoted_fields_are_dropped_and_told(tmp_path):
    table = read(tmp_path, 'text, "label"\n"a, b", "pos"\n c, "ne""g" \n"d","pos"\n  "e\nf",  "x, y"\ng,h\n')
    assert table.columns == ("text", "label")
    assert table.rows == [["a, b", "pos"], [" c", 'ne"g'], ["d", "pos"], ["e\nf", "x, y"], ["g", "h"]]
    assert table.lines == [2, 3, 4, 5, 7]
    dropped = "f.csv: spaces around 5 quoted fields are dropped, as around ' \"label\"'"
    assert table.notes == (f"{dropped}; 1 of them hold line breaks",)


def test_a_quoted_field_after_a_space_may_hold_what_could_be_rows(tmp_path):
    table = read(tmp_path, 'label,text\nno, "one\nyes,two"\nyes,three\n')
    assert table.rows == [["no", "one\nyes,two"], ["yes", "three"]]
    assert table.notes[0].endswith("1 of them hold line breaks")


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (" starts with spaces,x", [" starts with spaces", "x"]),
        ('"  in quotes  ",x', ["  in quotes  ", "x"]),
        ('"he said, ""hi"", twice",x', ['he said, "hi", twice', "x"]),
        ('"a, ""b""\n, ""c"", d",x', ['a, "b"\n, "c", d', "x"]),
        (' "Great" she said,x', [' "Great" she said', "x"]),
        (' 5" long,x', [' 5" long', "x"]),
        ('x, 12" and 5"', ["x", ' 12" and 5"']),
        ('x, "one" or "two"', ["x", ' "one" or "two"']),
        ('x, "open', ["x", ' "open']),
    ],
)
def test_other_spaces_and_quotes_stay(tmp_path, line, row):
    table = read(tmp_path, f"text,label\n{line}\ny,z\n")
    assert table.rows == [row, ["y", "z"]] and table.notes == ()


def test_a_file_that_cannot_be_read_so_is_reported_as_it_is(tmp_path):
    refused(tmp_path, 'text,label\na, "x"\nb, "y", z\n', "line 3: found 3 fields, expected 2")
    refused(tmp_path, 'text,label\na, "x\n"closed" early,b\n', "row that begins on line 3", "--quoting none")


@pytest.mark.parametrize("delimiter", [" ", "\t"])
def test_a_delimiter_is_no_space_around_a_field(tmp_path, delimiter):
    other = {" ": "\t", "\t": " "}[delimiter]
    content = f'text{delimiter}label\na{delimiter}{other}"x{delimiter}y"\n'
    assert read(tmp_path, content, delimiter=delimiter, quoting="csv").rows == [["a", f"x{delimiter}y"]]
    content = f'text{delimiter}label\na{delimiter}{delimiter}"x"\n'
    refused(tmp_path, content, "line 2: found 3 fields", delimiter=delimiter, quoting="csv")


def test_without_quoting_spaces_and_quotes_stay(tmp_path):
    assert read(tmp_path, 'text,label\na, "x"\n', quoting="none").rows == [["a", ' "x"']]


# --- a spreadsheet's first line ---


@pytest.mark.parametrize("mark", ["sep=;", '"sep=;"', "SEP=;", "sep=;;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_sep_line_names_the_delimiter_and_counts_as_a_line(tmp_path, mark, end):
    content = end.join([mark, "text;label", 'a,"b";no', '"c;d";yes', ""])
    for form in ({}, {"delimiter": ";"}, {"delimiter": "semicolon"}):
        table = read(tmp_path, content, **form)
        assert table.columns == ("text", "label") and table.lines == [3, 4]
        assert table.rows == [['a,"b"', "no"], ["c;d", "yes"]]
        assert table.notes == (f"f.csv, line 1: {mark!r} is a spreadsheet's mark; ';' separates",)
    refused(tmp_path, content + "x;y;z", "line 5: found 3 fields")
    refused(tmp_path, content, "line 1", "says that ';' separates, and --delimiter says ','", delimiter="comma")


def test_sep_lines_of_tabs_and_what_is_no_sep_line(tmp_path):
    assert read(tmp_path, "sep=\t\ntext\tlabel\na\tb\n").rows == [["a", "b"]]
    assert read(tmp_path, "sep=x,label\na,b\n").columns == ("sep=x", "label")
    refused(tmp_path, "sep=;", "no row")
    refused(tmp_path, "sep=;\n\n", "no header line")
    refused(tmp_path, 'sep="\ntext"label\n', "line 1: 'sep=\"': a quote cannot separate")


# --- line ends, and what is looked up ---


def test_the_first_line_decides_on_the_delimiter_whatever_ends_it(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        table = read(tmp_path, end.join(["text,label", "a\tb,no"]), name="data")
        assert table.rows == [["a\tb", "no"]]


@pytest.mark.parametrize(
    ("content", "form", "advice"),
    [
        ('"text"\t"label"\n"a"\t"b"\n', {"delimiter": "tab"}, "--quoting csv"),
        ("body,label\na,b\n", {}, "--columns"),
        ("text;label\na;b\n", {}, "--delimiter semicolon"),
        ("text|label\na|b\n", {}, "--delimiter '|'"),
    ],
)
def test_a_column_that_is_not_there(tmp_path, content, form, advice):
    table = read(tmp_path, content, **form)
    with pytest.raises(InputError, match=f"there is no column 'text'.*{advice}"):
        table.place("text")


def test_cells_that_look_quoted():
    assert all(map(looks_quoted, ['"a"', '""', '"say ""a"""', '"""a"""']))
    assert not any(map(looks_quoted, ["", '"', "a", '"a', 'a"', '"a" or "b"', '"""', '"a""']))


def test_what_a_message_quotes_is_printable_and_short(tmp_path):
    for content, name, form, told in (
        ('text\tlabel\n"a"b\tc\n', "f.tsv", {"quoting": "csv"}, "a tab expected after"),
        ("body\x1b[2J,label\na,b\n", "f.csv", {}, r"the columns are 'body\x1b[2J', 'label'"),
        ((",".join(f"column {i}" for i in range(10_000)) + "\n") * 2, "f.csv", {}, "'column 19' and 9980 more"),
        ("x" * 100_000 + ",label\na,b\n", "f.csv", {}, f"'{'x' * 59}…', 'label'"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError) as error:
            read_delimited(tmp_path / name, Format(**form)).column("text")
        message = str(error.value)
        assert told in message and message.isprintable() and len(message) < 1000
