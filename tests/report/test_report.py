"""report.html: what stands in it, that it is one page which loads nothing, and that no run is lost by it."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny import random_texts, write_csv, write_tiny_backbone

from minibert import load_task, report
from minibert.cli import main
from minibert.report import page

pytest.importorskip("matplotlib")
NASTY = "<script>alert(1)</script>"
VOID = ("meta", "hr", "br")


class Reader(HTMLParser):
    """The cells of all tables, the names of elements, the attributes; that every element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.tables, self.text = [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def train(place, out, *more, data="data.csv"):
    files = ["train", "--backbone", place / "tiny.h5", "--task", "csv", "--data", place / data, "--text-column", "text"]
    return main([str(a) for a in (*files, "--max-length", 24, "--epochs", 2, "--out", out, *more)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    write_tiny_backbone(place / "tiny.h5")
    texts, labels = random_texts(300)
    labels = [NASTY if label == "yes" else "no\"'&" for label in labels]
    texts = [f"{text} <img src=x onerror=alert({i})>" for i, text in enumerate(texts)]
    scores = [i % 7 / 2 for i in range(300)]
    write_csv(place / "data.csv", {"text": texts, "label": labels, "score": scores})
    assert train(place, place / "run", "--label-column", "label", "--dev-share", 0.3, "--quiet") == 0
    return place


def test_the_page_is_whole_escaped_and_loads_nothing(place):
    text = (place / "run" / "report.html").read_text(encoding="utf-8")
    found = Reader(text)
    assert set(found.tags) & {"script", "img", "iframe", "link", "object", "image"} == set()
    assert not any(name in ("src", "href", "onerror", "onload") for name, _ in found.attributes)
    addresses = [value for name, value in found.attributes if "//" in (value or "") and not name.startswith("xmlns")]
    assert addresses == [] and "@import" not in text and "url(h" not in text
    assert "default-src 'none'" in text and found.tags.count("svg") == 2
    assert NASTY in found.text and NASTY not in text


def test_classes_confusion_and_the_surest_mistakes(place):
    tables = Reader((place / "run" / "report.html").read_text(encoding="utf-8")).tables
    classes, matrix, wrong = tables[1:4]
    task = load_task(place / "tiny.h5", place / "run")
    assert [row[0] for row in classes[1:3]] == list(task.labels)
    counts = np.array([row[1:] for row in matrix[1:]], int)
    assert counts.sum() == 90 and counts.sum(axis=1).tolist() == [int(row[4]) for row in classes[1:3]]
    recall = counts.diagonal() / counts.sum(axis=1)
    assert [row[2] for row in classes[1:3]] == [f"{r:.4f}" for r in recall]
    texts, labels, guesses, sure = zip(*wrong[1:], strict=True)
    assert len(texts) == min(20, counts.sum() - np.trace(counts)) > 5
    assert list(guesses) == task.predict(texts) and all(a != b for a, b in zip(labels, guesses, strict=True))
    assert [f"{p:.4f}" for p in task.probabilities(texts).max(axis=1)] == list(sure) == sorted(sure, reverse=True)


def test_scores_have_their_largest_errors(place, tmp_path):
    assert train(place, tmp_path / "run", "--label-column", "score", "--regress", "--quiet") == 0
    found = Reader((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    *_, label, guess, error = zip(*found.tables[1][1:], strict=True)
    assert "Largest errors" in found.text and "Confusion" not in found.text and len(label) == 20
    gaps = np.abs(np.array(label, float) - np.array(guess, float))
    assert np.abs(gaps - np.array(error, float)).max() < 1e-3 and (np.diff(gaps) < 1e-3).all()


def test_several_labels_a_text_and_the_head_alone(place, tmp_path):
    texts, _ = random_texts(80)
    cells = ["|".join(name for bit, name in enumerate("abc") if i >> bit & 1) for i in range(80)]
    write_csv(tmp_path / "several.csv", {"text": texts, "label": cells})
    options = ["--label-column", "label", "--label-separator", "|", "--method", "head", "--quiet"]
    assert train(place, tmp_path / "run", *options, data=tmp_path / "several.csv") == 0
    tables = Reader((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).tables
    assert [row[0] for row in tables[1]] == [
        "class",
        "a",
        "b",
        "c",
        "micro average",
        "macro average",
        "weighted average",
    ]
    task, known = load_task(place / "tiny.h5", tmp_path / "run"), dict(zip(texts, cells, strict=True))
    for text, label, guess, sure in tables[2][1:]:
        name, has = label.split(": ")
        p = task.probabilities([text])[0, "abc".index(name)]
        assert has == ("yes" if name in known[text] else "no") != guess.split(": ")[1] and guess.startswith(f"{name}: ")
        assert guess.endswith("yes" if p > 0.5 else "no") and float(sure) == pytest.approx(
            abs(p - (has == "yes")), abs=1e-4
        )


@pytest.mark.parametrize("error", [ZeroDivisionError("a\nb"), MemoryError()])
def test_no_run_is_lost_by_its_report(place, tmp_path, monkeypatch, capsys, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(report, "_scores", fail)
    assert train(place, tmp_path / "run", "--label-column", "label", "--quiet") == 0
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"note: no report.html: [^\n]+\n", err)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["bank.h5", "history.csv", "result.json"]
    assert load_task(place / "tiny.h5", tmp_path / "run").predict([]) == []


def test_interrupted_while_it_is_written(place, tmp_path, monkeypatch, capsys):
    def press_ctrl_c(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "_scores", press_ctrl_c)
        assert train(place, tmp_path / "run", "--label-column", "label", "--quiet") == 130
    assert "note: no report.html yet: the same command and --resume writes it" in capsys.readouterr().err
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    assert train(place, tmp_path / "run", "--label-column", "label", "--quiet", "--resume") == 0
    after = sorted(file.name for file in (tmp_path / "run").iterdir())
    assert after == ["bank.h5", "history.csv", "report.html", "result.json"] and len(before) == 4
    assert (tmp_path / "run" / "history.csv").read_bytes() == before["history.csv"]


def test_without_matplotlib_a_note_says_what_to_install(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert train(place, tmp_path / "run", "--label-column", "label") == 0
    out, err = capsys.readouterr()
    assert (
        "pip install matplotlib" in err and "report.html" not in out and not (tmp_path / "run" / "report.html").exists()
    )


def test_force_replaces_it_and_the_last_line_tells_what_to_send(place, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.html").write_text("old")
    assert train(place, tmp_path / "run", "--label-column", "label") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert train(place, tmp_path / "run", "--label-column", "label", "--force") == 0
    lines = capsys.readouterr().out.split("epoch 1/9")[0].splitlines()
    assert lines[-2].endswith("report.html") and "<h1>" in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert re.search(r"bank.h5 \(\d\.\d MB\), and the backbone .*tiny.h5 \(\d\.\d MB\), .* [0-9a-f]{12}$", lines[-1])


def test_many_classes_and_odd_texts_on_the_page():
    counts = [[0] * 30 for _ in range(30)]
    counts[3][4], counts[5][5], counts[29][0] = 7, 99, 9
    told = {"classes": [{"class": f"c{i}"} for i in range(30)], "confusion": counts}
    rows = Reader("".join(report._confusion(told))).tables[0][1:]
    assert rows == [["c29", "c0", "9"], ["c3", "c4", "7"]]
    cells = Reader(page.table(["t"], [["a\x07\ud800" + "x" * 5000], [["", "&lt;"]]], texts=(0,))).tables[0]
    assert cells[1][0].startswith("a ") and len(cells[1][0]) == 1000 and cells[2] == ["(empty)&lt;"]
    assert "?" in page.page("\ud800", [])


def test_a_name_with_dollars_is_no_formula(place, tmp_path, capsys):
    name = "$\\foo$"
    texts, labels = random_texts(60)
    write_csv(tmp_path / "data.csv", {"text": texts, "label": [name if label == "yes" else "no" for label in labels]})
    own = ("--label-column", "label", "--metric", f"f1:{name}", "--quiet")
    assert train(place, tmp_path / "run", *own, data=tmp_path / "data.csv") == 0
    assert capsys.readouterr().err == ""
    assert f"f1:{name}</text>" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_all_that_was_told_is_in_the_notes(place, tmp_path, capsys):
    texts, labels = random_texts(60)
    write_csv(tmp_path / "twice.csv", {"text": texts + texts, "label": labels + labels})
    more = ["--label-column", "label", "--class-weights", "no=3", "--patience", 1, "--lr", 1e-9, "--epochs", 9]
    assert train(place, tmp_path / "run", *more, "--max-length", 5, data=tmp_path / "twice.csv") == 0
    lines = capsys.readouterr().out.split("epoch 1/9")[0].splitlines()
    told = [line.removeprefix("note: ") for line in lines if line.startswith(("note: ", "class weights"))]
    assert any("are also in train" in line for line in told) and any("are cut to 5" in line for line in told)
    found = Reader((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert "class weights: no 3, yes 1" in told and all(line in found.text for line in told)
    assert ["best epoch", "1 of 9, ended after epoch 2 (--patience)"] in found.tables[0]
