"""A backbone with one segment reads single texts; a task of pairs is refused before anything is said or written."""

import json
from dataclasses import replace

import pytest
import tiny

from minibert.backbone import load_backbone, random_backbone
from minibert.cli import main
from minibert.data.squad import without_answers
from minibert.errors import InputError
from minibert.evaluate import tokenize

ONE = replace(tiny.CONFIG, n_segments=1)
MESSAGE = "pairs of texts need a backbone with two segments, one for each text, and this backbone has 1"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "CONFIG", ONE)
    tiny.write_tiny_backbone(tmp_path / "one.h5")
    texts, labels = tiny.random_texts(30)
    tiny.write_csv(tmp_path / "data.csv", {"one": texts, "two": texts[::-1], "label": labels})
    asked = [{"id": "q", "question": "what?", "answers": [{"text": "tea", "answer_start": 4}]}]
    content = {"data": [{"paragraphs": [{"context": "the tea was bad", "qas": asked}]}]}
    for split in ("train", "dev"):
        (tmp_path / f"{split}-v1.1.json").write_text(json.dumps(content))
    return tmp_path


def train(place, *more):
    arguments = ["train", "--backbone", place / "one.h5", "--out", place / "run", "--max-length", 24, "--epochs", 1]
    return main([str(argument) for argument in (*arguments, *more)])


def columns(place, *more):
    return "--task", "csv", "--data", place / "data.csv", "--text-column", "one", "--label-column", "label", *more


def test_pairs_and_questions_are_refused_first(place, capsys):
    for task in (columns(place, "--pair-column", "two"), ("--task", "squad", "--data", place)):
        assert train(place, *task) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"error: {MESSAGE}") and err.count("\n") == 1
        assert not (place / "run").exists()


def test_single_texts_are_trained_on_and_a_pair_is_refused(place, capsys):
    assert train(place, *columns(place)) == 0
    capsys.readouterr()
    model = ["--backbone", str(place / "one.h5"), "--bank", str(place / "run")]
    assert main(["predict", *model, "good tea"]) == 0
    assert main(["predict", *model, "good", "--pair", "tea"]) == 2
    assert main(["eval", *model, *map(str, columns(place, "--pair-column", "two"))]) == 2


def test_every_door_checks(place):
    backbone = load_backbone(place / "one.h5")
    with pytest.raises(InputError, match=MESSAGE):
        backbone.encode(["good"], ["tea"], 24)
    with pytest.raises(InputError, match=MESSAGE):
        tokenize(backbone, without_answers(["what"], ["tea"]), 24)
    assert len(backbone.encode(["good"], None, 24)) == 1
    random_backbone(tiny.CONFIG).check_inputs(24, pairs=False)
    random_backbone(replace(ONE, n_segments=2)).check_inputs(24, pairs=True)
