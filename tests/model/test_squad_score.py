"""Exact match and F1 of answers, on cases worked by hand from the published rules of SQuAD v1.1's scorer."""

import json

import pytest

from minibert.cli import main
from minibert.metrics import answer_f1, exact_match, normalize_answer, squad_scores


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Denver\tBroncos.", "denver broncos"),
        ("an apple a day", "apple day"),
        ("theatre, another, Anna", "theatre another anna"),  # articles are words, not beginnings
        ("the-man", "theman"),  # punctuation goes first, and leaves no space behind
        ("the.", ""),
        ("A", ""),
        ("U.S.A.", "usa"),
        ("$5 (1%)", "5 1"),
        ("rock 'n' roll", "rock n roll"),
        ("「東京」，第一。", "「東京」，第一。"),  # full-width punctuation is not ASCII punctuation
        ("so – yes — no…", "so – yes — no…"),
        ("the\u3000a\u00a0cat\u2003sat\u2028here", "cat sat here"),  # str.split knows Unicode's spaces
        ("zero\u200bwidth", "zero\u200bwidth"),  # which is no space
        ("ÉCOLE Straße İ", "école straße i̇"),
        ("the_man", "theman"),
        ("a\u0301 b", "a\u0301 b".replace("a", " ").strip()),  # a combining accent is no letter: a is a word before it
        ("", ""),
        ("  ?!  ", ""),
    ],
)
def test_normalize(text, normal):
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("prediction", "truth", "match", "f1"),
    [
        ("Denver Broncos", "Denver Broncos", 1, 1),
        ("the DENVER broncos!", "Denver Broncos", 1, 1),
        ("Broncos Denver", "Denver Broncos", 0, 1),  # F1 does not see the order
        ("Broncos", "the Denver Broncos", 0, 2 / 3),  # precision 1, recall 1/2
        ("in Denver Colorado", "Denver", 0, 0.5),  # precision 1/3, recall 1
        ("new new york", "new york new york", 0, 6 / 7),  # shared: new twice, york once; 3/3 and 3/4
        ("ha ha ha", "ha", 0, 0.5),
        ("", "Denver", 0, 0),
        ("", "the", 1, 0),  # both are nothing: the same, and no word shared
        ("東京", "東京。", 0, 0),
        ("Tōkyō", "Tokyo", 0, 0),
        ("5", "$5", 1, 1),
        ("5.5", "55", 1, 1),
    ],
)
def test_one_answer(prediction, truth, match, f1):
    assert exact_match(prediction, truth) == match
    assert answer_f1(prediction, truth) == pytest.approx(f1, abs=1e-15)


IDS = ["q1", "q2", "q3"]
ANSWERS = [("Denver Broncos", "the Broncos"), ("1876", "in 1876"), ("Tower of London",)]


@pytest.mark.parametrize(
    ("predictions", "match", "f1"),
    [
        ({"q1": "Denver Broncos", "q2": "1876", "q3": "Tower of London"}, 3, 3),
        ({"q1": "BRONCOS", "q2": "In the 1876", "q3": "a tower, of london"}, 3, 3),
        ({}, 0, 0),
        ({"q1": "", "q2": "", "q3": ""}, 0, 0),
        ({"q1": "1876", "q2": "Tower of London", "q3": "Denver Broncos"}, 0, 0),  # shuffled
        ({"q1": "Broncos", "unknown": "1876"}, 1, 1),
        ({"q1": "the Denver team", "q2": "year 1876", "q3": "London"}, 0, 1 / 2 + 2 / 3 + 1 / 2),
    ],
)
def test_all_answers(predictions, match, f1):
    """To the last digit: the published rules sum over the questions, multiply by 100, then divide by their number."""
    scores = squad_scores(predictions, IDS, ANSWERS)
    assert list(scores.items()) == [("exact_match", 100.0 * match / 3), ("f1", 100.0 * f1 / 3)]


def write_dataset(path):
    context = "The Denver Broncos won in 1876 at the Tower of London."
    questions = [
        {"id": i, "question": "?", "answers": [{"text": text, "answer_start": context.find(text)} for text in texts]}
        for i, texts in zip(IDS, ANSWERS, strict=True)
    ]
    dataset = {"version": "1.1", "data": [{"title": "x", "paragraphs": [{"context": context, "qas": questions}]}]}
    path.write_text(json.dumps(dataset))
    return path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_command_scores_a_file(tmp_path, capsys):
    data, predictions = write_dataset(tmp_path / "dev-v1.1.json"), tmp_path / "predictions.json"
    predictions.write_text(json.dumps({"q1": "broncos", "q3": "London", "q9": "x"}))
    expected = (0, '{"exact_match": 33.333333333333336, "f1": 50.0}\n')
    notes = "note: 1 of 3 questions have no answer and score 0\n"
    notes += f"note: 1 answers are to questions that {data} does not have\n"
    for place in (data, tmp_path):
        command = ["eval", "--task", "squad", "--data", place, "--predictions", predictions]
        assert run(capsys, *command) == (*expected, notes)


def test_impossible_questions_are_not_scored_and_told(tmp_path, capsys):
    data, predictions = write_dataset(tmp_path / "dev-v1.1.json"), tmp_path / "predictions.json"
    content = json.loads(data.read_text())
    content["data"][0]["paragraphs"][0]["qas"][1]["is_impossible"] = True
    data.write_text(json.dumps(content))
    predictions.write_text(json.dumps({"q1": "broncos", "q2": "1876", "q3": "London"}))
    code, out, err = run(capsys, "eval", "--task", "squad", "--data", data, "--predictions", predictions)
    assert (code, json.loads(out)) == (0, {"exact_match": 50.0, "f1": 75.0})
    assert "dev-v1.1.json: left out 1 of 3 questions, marked is_impossible" in err
    assert "1 answers are to questions that" in err and "or that are impossible" in err


def test_advice_about_the_encoding_names_no_option(tmp_path, capsys):
    """eval --predictions has no --encoding."""
    data, predictions = write_dataset(tmp_path / "dev-v1.1.json"), tmp_path / "predictions.json"
    predictions.write_bytes('{"q1": "é"}'.encode("latin-1"))
    code, _, err = run(capsys, "eval", "--task", "squad", "--data", data, "--predictions", predictions)
    assert code == 2 and "predictions.json, line 1" in err and "iconv -f" in err and "--encoding" not in err


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("[1]", "", "expected an object, an answer for each id"),
        ('{"q1": null}', "", "'q1' must be a text, found null"),
        ("{", "", "line 1: not valid JSON"),
        ("[" * 100_000, "", "too deep"),
        ('{"q1": ' + "[" * 450 + "]" * 450 + "}", "", "'q1' must be a text, found [["),
        ('{"q1": "a", "q2": "b", "q1": "c"}', "", "'q1' is there twice in one object"),
        ("", "", "is empty"),
        ("{}", "--bank run", "leave out --bank"),
        ("{}", "--dev-rows 3", "leave out --dev-rows"),
        ("{}", "--task opinions", "needs --task squad"),
        ("{}", "--data none.json", "does not exist"),
    ],
)
def test_what_cannot_be_scored(tmp_path, capsys, content, options, message):
    data, predictions = write_dataset(tmp_path / "dev-v1.1.json"), tmp_path / "predictions.json"
    predictions.write_text(content)
    code, out, err = run(
        capsys, "eval", "--task", "squad", "--data", data, "--predictions", predictions, *options.split()
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
