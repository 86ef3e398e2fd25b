"""`predict --data`: the rows of a file with their labels, whatever is in them, and nothing half written."""

import csv
import io
import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from test_cli import run, snapshot, train_arguments
from tiny import CONFIG, environment, random_texts, write_csv, write_tiny_backbone

from minibert.backbone import load_backbone
from minibert.cli import main, rows_out
from minibert.evaluate import predict
from minibert.trained import open_trained

ADDED = ["predicted", "probability", "p_no", "p_yes"]
ODD = [
    "plain",
    "a, b",
    'say "hi"',
    "two\nlines",
    "two\r\nlines",
    "old\rmac",
    " spaces ",
    "",
    "#x",
    "'q'",
    "\u2028",
    "é漢",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    write_tiny_backbone(place / "tiny.h5")
    texts, labels = random_texts(60)
    write_csv(place / "data.csv", {"text": texts, "label": labels, "score": [i % 7 / 2 for i in range(60)]})
    assert main([*train_arguments(place, place / "run"), "--quiet"]) == 0
    scored = [*train_arguments(place, place / "score"), "--label-column", "score", "--regress"]
    assert main([*scored, "--quiet"]) == 0
    return place


def label(capsys, place, data, out, *more, run_folder="run"):
    where = ["--backbone", place / "tiny.h5", "--bank", place / run_folder]
    return run(capsys, "predict", *where, "--data", data, "--out", out, *more)


def odd_rows(n=30):
    texts, _ = random_texts(n)
    return {"": list(map(str, range(n))), " odd name": (ODD * n)[:n], "text": texts, 'a "b"': ["1.50"] * n}


def read_csv(path, **form):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, **form))


def test_rows_are_kept_and_labelled_as_a_list_of_texts_is(capsys, place, tmp_path, monkeypatch):
    monkeypatch.setattr(rows_out, "CHUNK", 7)
    columns = odd_rows()
    data = write_csv(tmp_path / "in.csv", columns)
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes())
    code, out, err = label(capsys, place, data, tmp_path / "out.csv")
    assert (code, out) == (0, ""), err
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == [*columns, *ADDED]
    assert [row[:4] for row in rows] == [list(row) for row in zip(*columns.values(), strict=True)]
    model, record = open_trained(load_backbone(place / "tiny.h5"), place / "run")
    wanted = predict(model, model.backbone.encode(columns["text"], max_length=CONFIG.max_positions))
    assert np.abs(np.array([row[6:] for row in rows], float) - wanted).max() < 1e-6
    assert [row[4] for row in rows] == [record.labels[i] for i in wanted.argmax(axis=1)]
    assert [float(row[5]) for row in rows] == [max(map(float, row[6:])) for row in rows]


def test_pandas_reads_back_what_it_wrote(capsys, place, tmp_path):
    pandas = pytest.importorskip("pandas")
    for name, form in {"a.csv": {}, "a.jsonl": {"orient": "records", "lines": True}}.items():
        data, out = tmp_path / name, tmp_path / f"out_{name}"
        columns = {**odd_rows(), "n": np.arange(30) / 7, "yes": [True, None, False] * 10}
        pandas.DataFrame(columns).to_json(data, **form) if form else write_csv(data, columns)
        code, _, err = label(capsys, place, data, out)
        assert code == 0, err

        def load(path, form=form):
            return pandas.read_json(path, **form) if form else pandas.read_csv(path)

        assert load(data).equals(load(out)[list(load(data).columns)]) and len(load(out).columns) == 10


def test_objects_are_kept_letter_for_letter(capsys, place, tmp_path):
    objects = ['{"text": "good", "n": 1.50, "x": {"y": [1, null]}}', '{"text":null , "u":"\\ud800" }', "{}"]
    data, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    data.write_text("\n\n".join(objects))
    code, _, err = label(capsys, place, data, out)
    assert code == 0 and "note: 2 of 3 rows have an empty text" in err
    for before, after in zip(objects, out.read_text().splitlines(), strict=True):
        assert after.startswith(before[:-1].rstrip())
        assert list(json.loads(after).items())[: len(json.loads(before))] == list(json.loads(before).items())
        assert list(json.loads(after))[-4:] == ADDED
    code, _, err = label(capsys, place, data, tmp_path / "out.csv")
    assert code == 2 and "line 1, 'x'" in err and not (tmp_path / "out.csv").exists()


def test_keys_that_only_later_objects_have(capsys, place, tmp_path):
    data = tmp_path / "in.jsonl"
    data.write_text('{"text": "good"}\n{"text": "bad", "new": 1}\n')
    code, _, err = label(capsys, place, data, tmp_path / "out.csv")
    assert code == 2 and "line 2: the object has the keys 'new'" in err and "write JSON Lines" in err
    assert label(capsys, place, data, tmp_path / "out.jsonl")[0] == 0
    assert [json.loads(line).get("new") for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [None, 1]
    data.write_text('{"text": "good"}\n{"text": "bad", "p_no": 1}\n')
    code, _, err = label(capsys, place, data, tmp_path / "more.jsonl")
    assert code == 2 and "in.jsonl, line 2: the column is there already: 'p_no'" in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_formats_by_name_and_tabs_as_they_were(capsys, place, tmp_path):
    (tmp_path / "in.tsv").write_text('text\tsaid\ngood\t"hi" he said\nbad\tx, y\n')
    assert label(capsys, place, tmp_path / "in.tsv", tmp_path / "out.tsv")[0] == 0
    assert (tmp_path / "out.tsv").read_text().splitlines()[1].startswith('good\t"hi" he said\t')
    assert label(capsys, place, tmp_path / "in.tsv", tmp_path / "out.csv")[0] == 0
    assert read_csv(tmp_path / "out.csv")[1][:2] == ["good", '"hi" he said']
    assert label(capsys, place, tmp_path / "in.tsv", tmp_path / "out.jsonl")[0] == 0
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])["said"] == "x, y"
    code, _, err = label(capsys, place, tmp_path / "out.csv", tmp_path / "more.tsv", "--prefix", "new_")
    assert code == 0 and "are enclosed in double quotes" in err
    assert read_csv(tmp_path / "more.tsv", delimiter="\t")[0][-4:] == [f"new_{name}" for name in ADDED]


def test_scores(capsys, place, tmp_path):
    assert label(capsys, place, place / "data.csv", tmp_path / "out.csv", run_folder="score")[0] == 0
    header, *rows = read_csv(tmp_path / "out.csv")
    assert header == ["text", "label", "score", "predicted"] and float(rows[0][3]) != float(rows[1][3])


def test_pipes(place):
    where = ["--backbone", str(place / "tiny.h5"), "--bank", str(place / "run")]
    command = [sys.executable, "-m", "minibert", "predict", *where, "--data", "-", "--out", "-"]
    for given, wanted in {
        '{"text": "good é"}\n': '{"text": "good é", "predicted"',
        "text,b\né,2": "text,b,predicted",
    }.items():
        done = subprocess.run(
            command, input=given.encode(), env=environment(PYTHONIOENCODING="ascii"), capture_output=True
        )
        assert done.returncode == 0 and done.stdout.decode().startswith(wanted), done.stderr


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ("text,predicted,p_yes\na,b,c\n", [], "the columns are there already: 'predicted', 'p_yes'. Give --prefix"),
        ("word\na\n", [], "there is no column 'text'"),
        ("text,b\na,b\nc\n", [], "line 3: found 1 field, expected 2"),
        ("text\ncaf\udce9\n", [], "line 2: byte 0xe9 is not utf-8. Give the file's encoding"),
        ("text\na\0b\n", [], "line 2: there is a NUL character"),
        ('text\n"a\n', [], "in the row that begins on line 2"),
        ("text\n", [], "there is a header line and no row below it"),
        ("", [], "is empty"),
        ("\x1f\udc8b\x08", [], "is compressed by gzip"),
        ("text\na\n", ["--encoding", "hex"], "there is no text encoding called 'hex'"),
        ("text\na\n", ["--pair-column", "b"], "reads single texts: leave out --pair-column"),
        ("text\na\n", ["--json"], "--data labels the rows of a file: leave out --json"),
        ("text\na\n", ["more"], "--data labels the rows of a file: leave out texts"),
    ],
)
def test_bad_rows_leave_nothing(capsys, place, tmp_path, content, more, message):
    (tmp_path / "in.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    before = snapshot(tmp_path)
    code, out, err = label(capsys, place, tmp_path / "in.csv", tmp_path / "out.csv", *more)
    assert (code, out) == (2, "") and message in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: ")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "more", "told"),
    [
        ("text\ncafé\nolé\n".encode(), ["--encoding", "latin-1"], "2 characters are UTF-8, and are read as latin-1"),
        ("text\nit’s\n".encode("cp1252"), ["--encoding", "latin-1"], "control characters such as U+0092"),
        (b'text\tx\n"say ""a"""\t1\n', ["--delimiter", "tab"], "1 of 1 cells look quoted"),
        (b'text,x\n"a,1\nb,2\nc,3\nd,4\nsaid ",5\n', [], "the row that begins on line 2 spans 5 lines"),
        (b"text,x\n'a',1\n'b',2\n", [], "2 of 2 cells stand in single or typographic quotes"),
        (b"text,x\na,1\nb,2\n", [], None),
    ],
)
def test_cells_that_are_written_otherwise_are_told(capsys, place, tmp_path, content, more, told):
    (tmp_path / "in.csv").write_bytes(content)
    code, _, err = label(capsys, place, tmp_path / "in.csv", tmp_path / "out.csv", *more)
    notes = [line for line in err.splitlines() if line.startswith("note: ") and "the output is UTF-8" not in line]
    notes = [line for line in notes if "are enclosed in double quotes" not in line]
    assert code == 0 and len(notes) == bool(told) and all(told in line for line in notes), err


def test_what_is_there_is_not_replaced(capsys, place, tmp_path):
    data = write_csv(tmp_path / "in.csv", {"text": ["a"]})
    (tmp_path / "out.csv").write_text("old")
    before = snapshot(tmp_path)
    assert "is there already" in label(capsys, place, data, tmp_path / "out.csv")[2]
    assert "is the file that is read" in label(capsys, place, data, tmp_path / "." / "in.csv", "--force")[2]
    assert "is no file" in label(capsys, place, data, tmp_path, "--force")[2]
    assert "there is no folder" in label(capsys, place, data, tmp_path / "x" / "y.csv")[2]
    assert "is a folder" in label(capsys, place, tmp_path, tmp_path / "new.csv")[2]
    assert snapshot(tmp_path) == before
    assert label(capsys, place, data, tmp_path / "out.csv", "--force")[0] == 0
    where = ["--backbone", place / "tiny.h5", "--bank", place / "run"]
    assert "cannot be used without --data" in run(capsys, "predict", *where, "text", "--out", "x.csv")[2]


def test_a_file_of_texts_has_an_encoding_too(capsys, place, tmp_path):
    where = ["--backbone", place / "tiny.h5", "--bank", place / "run"]
    (tmp_path / "texts.txt").write_bytes("caf\xe9\n".encode("cp1252"))
    code, out, err = run(capsys, "predict", *where, "--file", tmp_path / "texts.txt", "--encoding", "cp1252")
    assert code == 0 and out.rstrip().endswith("caf\xe9"), err
    assert (
        "Give the file's encoding with --encoding"
        in run(capsys, "predict", *where, "--file", tmp_path / "texts.txt")[2]
    )
    refused = run(capsys, "predict", *where, "text", "--encoding", "cp1252")
    assert refused[0] == 2 and "--encoding cannot be used without --data FILE, or --file FILE" in refused[2]
    more = run(capsys, "predict", *where, "--file", tmp_path / "texts.txt", "--encoding", "cp1252", "--prefix", "p")
    assert more[0] == 2 and "--prefix cannot be used without --data FILE: the rows to label" in more[2]


def test_a_header_where_the_training_had_none(capsys, tmp_path, place):
    """--columns comes from the bank; --columns= says that there is a header."""
    (tmp_path / "data.csv").write_text((place / "data.csv").read_text().split("\n", 1)[1])
    trained = train_arguments(place, tmp_path / "run")
    trained[trained.index("--data") + 1] = str(tmp_path / "data.csv")
    assert run(capsys, *trained, "--columns", "text,label,score", "--quiet")[0] == 0
    new, where = tmp_path / "new.csv", ["--backbone", place / "tiny.h5", "--bank", tmp_path / "run"]
    write_csv(new, {"text": ["one", "two"], "label": ["yes", "no"], "n": [1, 2]})
    code, _, err = run(capsys, "predict", *where, "--data", new, "--out", tmp_path / "a.csv")
    assert code == 0 and "new.csv, line 1 looks like a header" in err and "--columns=)" in err
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4
    code, _, err = run(capsys, "predict", *where, "--data", new, "--out", tmp_path / "b.csv", "--columns=")
    assert (
        code == 0
        and "looks like a header" not in err
        and (tmp_path / "b.csv").read_text().startswith("text,label,n,predicted,")
    )
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 3
    data = ["--data", place / "data.csv"]
    refused = run(capsys, "eval", *where, *data)
    assert refused[0] == 2 and "--columns=)" in refused[2]
    code, out, _ = run(capsys, "eval", *where, *data, "--columns=")
    assert code == 0 and "accuracy" in out


def test_lines_that_arrive_in_pieces():
    from minibert.data.reading import stream_lines

    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(1)

    text = "a\r\nb\rc\n\r\n漢\u2028x\r"
    for encoding in ("utf-8", "utf-16", "utf-8-sig"):
        expected = ["a\r\n", "b\r", "c\n", "\r\n", "漢\u2028x\r"]
        assert list(stream_lines(io.BytesIO(text.encode(encoding)), "x")) == expected
        pieces = Slow(text.encode(encoding))
        assert list(stream_lines(pieces, "x", "utf-8" if encoding == "utf-8-sig" else encoding)) == expected
    for mark, encoding in ((b"\xfe\xff", "utf-16-be"), (b"\0\0\xfe\xff", "utf-32-be")):  # not the machine's order
        pieces = Slow(mark + text.encode(encoding))
        assert list(stream_lines(pieces, "x", encoding[:6])) == expected


def test_an_input_that_breaks_is_not_told_of_the_output(capsys, place, tmp_path, monkeypatch):
    class Breaking(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(20)

    @contextmanager
    def broken(path):
        yield Breaking(b"text\ngood tea\nbad film\n"), path

    monkeypatch.setattr(rows_out, "open_input", broken)
    code, _, err = label(capsys, place, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (code, err.count("\n")) == (2, 1) and f"{tmp_path / 'in.csv'} cannot be read: Input/output error" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.json", "out.XLSX", "out.csv.gz"])
def test_a_name_of_another_format_is_refused(capsys, place, tmp_path, name):
    code, _, err = label(capsys, place, place / "data.csv", tmp_path / name)
    assert code == 2 and "is not written; give a name that ends in .csv, .tsv or .jsonl" in err
    assert not (tmp_path / name).exists()


def test_json_is_asked_for_by_the_name_of_out(capsys, place, tmp_path):
    code, _, err = label(capsys, place, place / "data.csv", tmp_path / "out.csv", "--json")
    assert code == 2 and "leave out --json; for JSON Lines name --out FILE.jsonl" in err


def test_a_column_of_another_name_is_asked_for(capsys, place, tmp_path):
    data = write_csv(tmp_path / "in.csv", {"id": ["1"], "msg": ["good tea"]})
    code, _, err = label(capsys, place, data, tmp_path / "out.csv")
    assert code == 2 and "there is no column 'text'" in err
    assert err.endswith(" If the file calls it otherwise: --text-column NAME\n")
    code, _, err = label(capsys, place, data, tmp_path / "out.csv", "--text-column", "message")
    assert code == 2 and "there is no column 'message'" in err and "calls it otherwise" not in err
    code, _, err = label(capsys, place, data, tmp_path / "out.csv", "--text-column", "msg", "--prefix", "a, b ")
    added = "'a, b predicted', 'a, b probability', 'a, b p_no', 'a, b p_yes'"
    assert (code, err) == (0, f"1 row, with {added}: {tmp_path / 'out.csv'}\n")


def test_a_nul_is_written_to_json_lines_alone(capsys, place, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "good\0tea"}) + "\n")
    code, _, err = label(capsys, place, tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert code == 2 and "line 1: a NUL character cannot be written as CSV or TSV" in err
    assert not (tmp_path / "out.csv").exists()
    assert label(capsys, place, tmp_path / "in.jsonl", tmp_path / "out.jsonl")[0] == 0
