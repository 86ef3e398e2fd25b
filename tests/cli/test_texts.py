"""What `predict` reads: one text a line, by the same rules as a file to train on; what looks like a table is told."""

import io
import subprocess
import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest
from tiny import environment

from minibert.cli.texts import texts_and_pairs
from minibert.errors import InputError

TABLE = {"text_column": "text", "label_column": "label"}


def read(content, name="f.txt", folder=None, pairs=False, encoding=None, **task_options):
    """The texts of a file of that content, or of standard input if there is no folder."""
    training = {"pairs": pairs, "task_options": task_options}
    record = SimpleNamespace(name="csv", settings=lambda name: training.get(name, {}), reads_pairs=pairs)
    file = None
    if folder is not None:
        file = folder / name
        file.write_bytes(content)
    return texts_and_pairs(Namespace(texts=[], file=file and str(file), pair=None, encoding=encoding), record)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"one\rtwo\r", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\n\ntwo", ["one", "", "two"]),
        ("\ufeffönë\u2028x\n".encode(), ["önë\u2028x"]),
        ("önë\r\ntwo\r\n".encode("utf-16"), ["önë", "two"]),
        (b'say "hi" to 12" discs\n', ['say "hi" to 12" discs']),
        (b'it is 5" long\nand wide\n', ['it is 5" long', "and wide"]),
        (b'he said "well,"\n', ['he said "well,"']),
        (b"text, they say\nlabel\n", ["text, they say", "label"]),
    ],
)
def test_lines_end_as_in_training(tmp_path, capsys, monkeypatch, content, lines):
    assert read(content, folder=tmp_path, **TABLE) == (lines, None)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(content)))
    assert read(content, **TABLE) == (lines, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\rtwo\rcaf\xe9\n", "line 3: byte 0xe9 is not utf-8. Give the file's encoding with --encoding: "),
        (b"one\nt\0wo\n", "line 2: there is a NUL character"),
        (b"\x1f\x8b\x08\0", "is compressed by gzip"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(InputError) as refused:
        read(content, folder=tmp_path)
    assert message in str(refused.value)


def test_a_file_in_another_encoding(tmp_path, monkeypatch):
    assert read(b"caf\xe9\n", folder=tmp_path, encoding="cp1252") == (["café"], None)
    with pytest.raises(InputError, match="there is no text encoding called 'cp1'"):
        read(b"caf\xe9\n", folder=tmp_path, encoding="cp1")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(b"caf\xe9\n")))
    with pytest.raises(InputError, match=r"byte 0xe9 is not utf-8\. Save the texts as UTF-8"):
        read(b"")


def test_a_text_that_is_a_file_is_told(tmp_path, capsys):
    (tmp_path / "f.csv").write_text("text\na\n")
    record = SimpleNamespace(name="csv", settings=lambda _: {}, reads_pairs=False)
    texts = [str(tmp_path / "f.csv"), "a good film", "x" * 5000, "nul \0 in it"]
    found = texts_and_pairs(Namespace(texts=texts, file=None, pair=None, encoding=None), record)
    assert found == (texts, None)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.endswith(
        "is also a file: it is labelled as a text. To label its lines: --file; the rows of a table: --data"
    )


def test_nothing_on_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO()))
    with pytest.raises(InputError, match="there is no text to label"):
        read(b"")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="there is no text to label"):
        read(b"")


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("text,label", "'text', 'label'"),
        ("label;text", "'label', 'text'"),
        ('"id"\t"text"', "'text'"),
        ("text", "'text'"),
        ("a long name, text ,label", "'text', 'label'"),
        ("Text,LABEL", "'Text', 'LABEL'"),
        ("TEXT", "'TEXT'"),
    ],
)
def test_a_header_is_told(tmp_path, capsys, header, names):
    assert read(f"{header}\ngood,yes\n".encode(), folder=tmp_path, **TABLE)[0] == [header, "good,yes"]
    one, other = capsys.readouterr().err.splitlines()
    assert one == f"note: {tmp_path}/f.txt: line 1 looks like a header (it names {names}), it is labelled as a text"
    assert (
        "each line is a text as a whole" in other
        and "predict --data FILE --out FILE, which reads column 'text'" in other
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"text": "good"}\n{"text": "bad"}\n', "JSON Lines"),
        ('["good", "bad"]\n', "JSON"),
        ("<!DOCTYPE html>\n<html>\n", "a web page"),
    ],
)
def test_what_is_no_list_of_texts_is_told(tmp_path, capsys, content, kind):
    assert len(read(content.encode(), folder=tmp_path, **TABLE)[0]) == content.count("\n")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {tmp_path}/f.txt looks like {kind}: each line is labelled as a text")
    assert ("predict --data" in line) == (kind == "JSON Lines")


def test_the_mark_of_a_spreadsheet_is_told(tmp_path, capsys):
    read(b"sep=;\ntext;label\ngood;yes\n", folder=tmp_path, **TABLE)
    one, two, _ = capsys.readouterr().err.splitlines()
    assert "line 1 looks like a spreadsheet's mark (sep=;)" in one and "line 2 looks like a header" in two


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'"she ""good"" film"\nbad\n', "1 of 2 texts look quoted"),
        (b'"good"\n"bad"\n', "2 of 2 texts look quoted"),
        (b"good\r\r\nbad\r\r\n", r"lines end in '\r\r\n', which is two line ends"),
        (b"good\n\rbad\n\r", r"lines end in '\n\r', which is two line ends"),
    ],
)
def test_texts_that_are_written_otherwise_are_told(tmp_path, capsys, content, told):
    read(content, folder=tmp_path, **TABLE)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {tmp_path}/f.txt: {told}")


def test_quoted_pairs_are_told(tmp_path, capsys):
    read(b'"good"\t"bad ""x"""\n', folder=tmp_path, pairs=True)
    assert "2 of 2 texts look quoted" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b'"one"\n', b"a\r\n\r\nb\r\n", b"a\n\n\rb\nc\nd\ne\nf\n", b"sep=;\n", b"'tis\n"])
def test_nothing_is_told_of_texts(tmp_path, capsys, content):
    read(content, folder=tmp_path, **TABLE)
    assert capsys.readouterr().err == ""


def test_a_header_of_one_column_may_have_spaces(tmp_path, capsys):
    assert read(b"review text\ngood\n", folder=tmp_path, text_column="review text")[0] == ["review text", "good"]
    assert "line 1 looks like a header (it names 'review text')" in capsys.readouterr().err


def test_a_header_of_pairs_is_told(tmp_path, capsys):
    options = {"text_column": "one", "pair_column": "two", "label_column": "label"}
    assert read(b"one\ttwo\na\tb\n", folder=tmp_path, pairs=True, **options) == (["one", "a"], ["two", "b"])
    assert "line 1 looks like a header (it names 'one', 'two')" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["f.csv", "f.TSV"])
def test_the_name_of_a_table_is_told(tmp_path, capsys, name):
    assert read(b"good,yes\n", name, tmp_path) == (["good,yes"], None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {tmp_path}/{name}: each line is a text as a whole, delimiters and quotes included")
    assert line.endswith("To label the rows of a table: predict --data FILE --out FILE")


def test_torn_lines_are_told(tmp_path, capsys):
    content = b'good\n"one\ntwo",yes\n3,"three\nfour"\n'
    assert len(read(content, folder=tmp_path)[0]) == 5
    line = capsys.readouterr().err.splitlines()[0]
    assert line == (
        f"note: {tmp_path}/f.txt: on 2 of 5 lines (first on line 2) a quoted field begins that does not end there; "
        "each line is labelled as a text of its own"
    )


def test_an_argument_is_the_text_that_was_given_whatever_the_locale(tmp_path):
    program = "import sys; from minibert.cli.texts import _argument; print(ascii(_argument('text 1', sys.argv[1])))"
    for locale in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONUTF8": "1"}):
        good, bad = (
            subprocess.run(
                [sys.executable, "-c", program, text], env=environment(**locale), capture_output=True, cwd=tmp_path
            )
            for text in ("schön 😀".encode(), b"sch\xf6n")
        )
        assert good.stdout == b"'sch\\xf6n \\U0001f600'\n"
        assert bad.returncode == 1 and b"InputError: text 1, line 1: byte 0xf6 is not utf-8. Give it as" in bad.stderr
