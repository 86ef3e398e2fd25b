"""`predict` for several tasks of a bank together, and the plain backbone among them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_cli import assert_refused, run
from tiny import CONFIG, write_tiny_backbone

from minibert import AdapterConfig, Model, load_backbone
from minibert.storage import add_task, read_bank, write_bank

TEXTS = ["good tea", "", "bad book . dull film", "the tea was " + "very " * 30 + "fine"]
LABELS = ("no", "yes", "maybe")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A backbone, and a bank of tasks of all kinds on it."""
    place = tmp_path_factory.mktemp("mixed")
    backbone = load_backbone(write_tiny_backbone(place / "tiny.h5"))
    options = {
        "one": {"n_out": 2, "adapter": AdapterConfig(3)},
        "two": {"n_out": 3, "adapter": AdapterConfig(8)},
        "score": {"head": "regress", "n_out": 1},
        "all": {"method": "full"},
        "pairs": {},
        "answers": {"head": "span", "n_out": 2},
        "a,b": {},
    }
    records = {}
    for seed, (name, chosen) in enumerate(options.items()):
        model, rng = Model(backbone, **chosen, seed=seed), np.random.default_rng(seed)
        for array in model.trained().values():
            array += 0.3 * rng.standard_normal(array.shape).astype(array.dtype)
        labels = LABELS[: model.n_out] if model.head == "classify" else ()
        training = {"pairs": name in ("pairs", "answers"), "train": {"max_length": CONFIG.max_positions}}
        records[name] = model.to_record(name, labels, training, {"accuracy": 0.5})
    write_bank(place / "bank.h5", records)
    return place


def predict(capsys, place, *arguments):
    return run(capsys, "predict", "--backbone", place / "tiny.h5", "--bank", place / "bank.h5", *arguments)


def objects(result):
    assert result[0] == 0, result[2]
    return [json.loads(line) for line in result[1].splitlines()]


def alone(capsys, place, task, *arguments):
    """What `predict` says of one task, as JSON objects without the task's name."""
    return objects(predict(capsys, place, "--json", "--name", task, *arguments))


def close(found, expected):
    """Two answers say the same, numbers to 1e-5."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        return all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=1e-5)
    return found == expected


def test_every_text_by_each_of_the_tasks(place, capsys):
    names = ["one", "two", "score", "all"]
    result = predict(capsys, place, "--json", "--name", ",".join(names), *TEXTS)
    expected = {name: alone(capsys, place, name, *TEXTS) for name in names}
    found = objects(result)
    assert [(row.pop("task"), row["text"]) for row in found] == [(name, text) for text in TEXTS for name in names]
    assert all(close(row, expected[names[i % 4]][i // 4]) for i, row in enumerate(found))
    assert "note: task two: 1 of 4 rows have an empty text\n" in result[2]
    assert "note: task score: 1 of 4 texts are cut to 24 tokens\n" in result[2]
    assert "note: task all (method full) shares no products with other tasks: it has its own passes\n" in result[2]


def test_lines_of_several_tasks_in_columns(place, tmp_path, capsys):
    lines = ["two\tgood tea", "score\tbad tea", "pairs\tgood\ttea", "one\tgood tea", "answers\tgood\tthe tea was fine"]
    (tmp_path / "lines.txt").write_text("\n".join(lines) + "\n")
    code, out, err = predict(capsys, place, "--mixed", "--file", tmp_path / "lines.txt")
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == [line.split("\t")[0] for line in lines]
    assert [row[3:] for row in rows] == [
        ["good tea"],
        ["bad tea"],
        ["good", "tea"],
        ["good tea"],
        ["good", "the tea was fine"],
    ]
    assert rows[1][2] == "" and float(rows[1][1])  # a score has no probability
    for row, line in zip(rows, lines, strict=True):
        task, text = line.split("\t", 1)
        (expected,) = alone(capsys, place, task, text)
        assert row[1] == expected.get(
            "label", expected.get("answer", f"{expected['score']:.4f}" if task == "score" else None)
        )


def test_the_plain_backbone_is_a_task(place, capsys):
    found = objects(predict(capsys, place, "--json", "--mixed", "none\tgood tea", "one\tgood tea", "none\tbad"))
    assert [row["task"] for row in found] == ["none", "one", "none"]
    assert list(found[0]) == ["task", "text", "vector"]
    backbone = load_backbone(place / "tiny.h5")
    batch = backbone.encode(["good tea", "bad"], max_length=24)
    expected = backbone.forward(batch)[batch.first_rows]
    np.testing.assert_allclose([found[0]["vector"], found[2]["vector"]], expected, atol=1e-5)
    found = objects(predict(capsys, place, "--json", "--name", "none,pairs", "good\ttea"))
    batch = backbone.encode(["good"], ["tea"], max_length=24)
    np.testing.assert_allclose(found[0]["vector"], backbone.forward(batch)[0], atol=1e-5)
    assert (found[0]["text"], found[0]["pair"]) == ("good", "tea")


def test_a_task_of_the_bank_called_none(place, tmp_path, capsys):
    one = read_bank(place / "bank.h5")["one"]
    write_bank(tmp_path / "bank.h5", {"one": one})
    add_task(tmp_path / "bank.h5", replace(one, name="none"))
    code, out, err = predict(capsys, place, "--bank", tmp_path / "bank.h5", "--name", "none,one", "good tea")
    assert code == 0 and err == "note: task none is the bank's task of that name, not the plain backbone\n"
    none, same = (line.split("\t", 1) for line in out.splitlines())
    assert none[0] == "none" and none[1] == same[1]


def test_one_name_with_a_comma_is_one_task(place, capsys):
    code, out, _ = predict(capsys, place, "--name", "a,b", "good tea")
    assert code == 0 and len(out.split("\t")) == 3


REFUSED = {
    "no such task": (["--name", "one,three"], "has no task 'three'; it has a,b, all, answers, one, pairs, score, two"),
    "a task twice": (["--name", "one,two,one"], "'one' is there 2 times"),
    "an empty name": (["--name", "one,"], "has no task ''"),
    "pairs and single texts": (["--name", "one,pairs"], "'pairs' reads pairs, 'one' single texts"),
    "name and mixed": (["--name", "one", "--mixed"], "not allowed with argument"),
    "no tab": (["--mixed"], "text 1: with --mixed a line is a task, a tab, and the text; there is no tab"),
    "line of no task": (["--mixed", "one\ta", "three\tb"], "text 2: "),
    "line of a pair without one": (["--mixed", "one\ta", "pairs\tb"], "text 2: task pairs reads pairs"),
    "pair for a single text": (["--mixed", "--pair", "b", "one\ta"], "task one reads single texts: leave out --pair"),
    "a vector in columns": (["--name", "one,none"], "task none, the plain backbone, gives a vector and no label"),
}


@pytest.mark.parametrize(("arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused(place, capsys, monkeypatch, arguments, told):
    monkeypatch.setattr("minibert.cli.mixed.compile_kernels", lambda *_: pytest.fail("work began"))
    texts = [] if any("\t" in argument for argument in arguments) else ["good tea"]
    assert_refused(predict(capsys, place, *arguments, *texts), told)


def test_a_pair_for_a_task_of_single_texts_is_refused(place, capsys):
    code, out, err = predict(capsys, place, "--mixed", "two\tbad", "one\tgood\ttea")
    assert (code, out) == (2, "")
    assert "text 2: task 'one' reads single texts, and there is a tab within the text" in err


def test_the_plain_backbone_alone(place, capsys):
    (found,) = objects(predict(capsys, place, "--json", "--name", "none", "good tea"))
    (other,) = objects(predict(capsys, place, "--json", "--mixed", "none\tgood tea"))
    assert found == other and len(found["vector"]) == CONFIG.hidden_size
    code, out, err = predict(capsys, place, "--name", "none", "good tea")
    assert (code, out) == (2, "") and "gives a vector and no label: add --json" in err


def test_several_tasks_where_one_is_read(place, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("text\ngood tea\n")
    where = ("--data", tmp_path / "t.csv", "--out", tmp_path / "out.csv")
    code, _, err = predict(capsys, place, "--name", "one, two", *where)
    assert code == 2 and "one task is read here, 'one, two' lists 2; choose one of one, two" in err
    assert not (tmp_path / "out.csv").exists()
