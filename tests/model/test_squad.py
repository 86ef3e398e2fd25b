"""Questions and paragraphs: reading the release, cutting windows, finding the best span, the commands end to end."""

import json
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tiny import VOCAB, WORDS, write_tiny_backbone

from minibert.backbone import load_backbone
from minibert.cli import main
from minibert.config import TrainConfig
from minibert.data import data_fingerprint, limit_dev, limit_train, load_task
from minibert.data.squad import Questions, find_file, read_questions, without_answers
from minibert.errors import InputError
from minibert.evaluate import predict
from minibert.losses import span_cross_entropy
from minibert.model import Model
from minibert.run import train_and_test
from minibert.spans import MAX_ANSWER, best_span, cut_windows, never_exact, window_places
from minibert.storage import bert_tokenizer, read_bank
from minibert.text import Tokenizer
from minibert.train import Training

TOKENIZER = Tokenizer(bert_tokenizer(VOCAB))
SHORT = TrainConfig(epochs=1, max_length=24)


def question(name="q1", text="what was bad?", answers=(("tea", 4),), **other):
    answers = [{"text": answer, "answer_start": start} for answer, start in answers]
    return {"id": name, "question": text, "answers": answers, **other}


def dataset(*questions, context="the tea was bad"):
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------------- reading


def test_reading(tmp_path):
    path = write_json(tmp_path / "x.json", dataset(question(answers=[("tea", 4), ("the tea", 0)]), question("q2")))
    questions = read_questions(path)
    assert questions.ids == ["q1", "q2"] and questions.texts == ["what was bad?"] * 2
    assert questions.pairs == ["the tea was bad"] * 2
    assert questions.labels.tolist() == [[4, 7], [4, 7]]
    assert questions.answers == [("tea", "the tea"), ("tea",)]
    assert questions.take([1]).ids == ["q2"] and questions.take([1]).labels.shape == (1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with 'data', found []"),
        ({}, "'data' is missing"),
        ({"data": [3]}, "article 1: expected an object with 'paragraphs', found 3"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, "article 1, paragraph 1: 'context' is missing, expected a text"),
        ({"data": []}, "holds no question"),
        (dataset({"question": "?"}), "article 1, paragraph 1, question 1: 'id' is missing"),
        (dataset(question(7)), "question 1: 'id' must be a text, found 7"),
        (dataset(question(text=None)), "question q1: 'question' must be a text, found null"),
        (dataset(question(answers=[])), "question q1: has no answer, expected one or more"),
        (dataset(question(answers=[("tea", "4")])), "question q1: 'answer_start' must be a whole number, found '4'"),
        (dataset(question(answers=[("tea", True)])), "question q1: 'answer_start' must be a whole number, found true"),
        (dataset(question(answers=[(None, 4)])), "question q1: 'text' must be a text, found null"),
        (dataset({"id": "q1", "question": "?", "answers": "tea"}), "question q1: 'answers' must be a list"),
        (dataset(question(), question()), "question q1: there are two questions with this id"),
    ],
)
def test_what_is_no_squad(tmp_path, content, message):
    path = write_json(tmp_path / "x.json", content)
    with pytest.raises(InputError) as error:
        read_questions(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_an_answer_that_the_paragraph_does_not_contain_is_told_and_not_trained_on(tmp_path):
    wrong = [("coffee", 4), ("tea", 5), ("tea", -1), ("", 4), (" ", 3), ("bad", 400)]
    questions = [question(f"w{i}", answers=[answer]) for i, answer in enumerate(wrong)]
    second = question("second", answers=[("coffee", 4), ("bad", 12)])  # the first answer that is there
    write_json(tmp_path / "train-v1.1.json", dataset(*questions, second))
    write_json(tmp_path / "dev-v1.1.json", dataset(question(), questions[0]))
    task = load_task("squad", tmp_path)
    assert task.train.ids == ["second"] and task.train.labels.tolist() == [[12, 15]]
    assert task.dev["dev"].ids == ["q1", "w0"] and task.dev["dev"].labels.tolist() == [[4, 7], [-1, -1]]
    train, dev = task.notes
    assert train.startswith("train-v1.1.json: 6 of 7 questions") and "(w0, w1, w2 and 3 more)" in train
    assert "not trained on" in train and "1 of 2 questions" in dev and "scored" in dev


def impossible(name, **other):
    return question(name, is_impossible=True, **other)


def test_impossible_questions_are_told_and_left_out(tmp_path):
    plausible = {"answers": [], "plausible_answers": [{"text": "tea", "answer_start": 4}]}
    asked = [impossible("i1"), question("q1", is_impossible=False), impossible("i2") | plausible, question("q2")]
    for split in ("train", "dev"):
        write_json(tmp_path / f"{split}-v1.1.json", dataset(*asked))
    write_json(tmp_path / "dev-v1.1.json", dataset(*asked, impossible("i3"), impossible("i4")))
    task = load_task("squad", tmp_path)
    assert task.train.ids == task.dev["dev"].ids == ["q1", "q2"]
    assert task.train.labels.tolist() == task.dev["dev"].labels.tolist() == [[4, 7]] * 2
    train, dev = task.notes
    assert train.startswith("train-v1.1.json: left out 2 of 4 questions, marked is_impossible") and "(i1, i2)" in train
    assert dev.startswith("dev-v1.1.json: left out 4 of 6 questions") and "(i1, i2, i3 and 1 more)" in dev


def test_the_name_of_a_question_is_told_printable_and_short(tmp_path):
    for name, told in (("q\n\x1b[2J", r"question 'q\n\x1b[2J': 'question'"), ("q" * 5000, f"question {'q' * 59}…: ")):
        write_json(tmp_path / "dev-v1.1.json", dataset({"id": name, "question": 7, "answers": []}))
        with pytest.raises(InputError) as error:
            read_questions(tmp_path / "dev-v1.1.json")
        assert told in str(error.value) and str(error.value).isprintable()


def test_a_file_of_impossible_questions_is_refused(tmp_path):
    write_json(tmp_path / "train-v1.1.json", dataset(impossible("i1"), impossible("i2")))
    write_json(tmp_path / "dev-v1.1.json", dataset(question()))
    with pytest.raises(InputError, match=r"train-v1\.1\.json holds no question with an answer: all 2 are marked"):
        load_task("squad", tmp_path)
    write_json(tmp_path / "train-v1.1.json", dataset(question(is_impossible="yes")))
    with pytest.raises(InputError, match="'is_impossible' must be true or false, found 'yes'"):
        load_task("squad", tmp_path)


def test_which_file_is_read(tmp_path):
    write_json(tmp_path / "dev-v1.1.json", dataset(question()))
    with pytest.raises(InputError, match=r"train-v1.1.json, or one other file train\*.json.*minibert download squad"):
        load_task("squad", tmp_path)
    part = write_json(tmp_path / "train-part.json", dataset(question()))
    assert find_file(tmp_path, "train") == part
    write_json(tmp_path / "train-other.json", dataset(question()))
    with pytest.raises(InputError, match=r"train-other\.json, train-part\.json"):
        load_task("squad", tmp_path)
    whole = write_json(tmp_path / "train-v1.1.json", dataset(question()))
    assert find_file(tmp_path, "train") == whole
    (tmp_path / "data").mkdir()
    tmp_path.rename(tmp_path.with_name("squad"))
    assert find_file(tmp_path.parent, "train") == tmp_path.with_name("squad") / "train-v1.1.json"
    with pytest.raises(InputError, match="is one file"):
        load_task("squad", tmp_path.with_name("squad") / "train-v1.1.json")


def test_rows_are_drawn_alike_in_train_and_dev(tmp_path):
    questions = [question(f"q{i}") for i in range(20)]
    for split in ("train", "dev"):
        write_json(tmp_path / f"{split}-v1.1.json", dataset(*questions))
    task = limit_dev(limit_train(load_task("squad", tmp_path), 5), 5)
    order = list(range(20))
    random.Random(0).shuffle(order)
    assert task.train.ids == task.dev["dev"].ids == [f"q{i}" for i in order[:5]]
    assert task.notes[-1] == "scoring on 5 of 20 dev rows, drawn with seed 0"
    with pytest.raises(InputError, match="number of dev rows"):
        limit_dev(task, 0)


# --------------------------------------------------------------------------------------------------------- windows


def ask(paragraph, answer=None, text="what ?"):
    """One question; answer is a text that the paragraph holds."""
    questions = without_answers([text], [paragraph])
    if answer is not None:
        start = paragraph.index(answer)
        questions.labels[0] = start, start + len(answer)
    return questions


def words_of(windows, w):
    return TOKENIZER.words(windows.batch.take([w]))[0]


def test_one_window_and_its_label():
    windows = cut_windows(TOKENIZER, ask("The  TEA was bad, very bad.", "very bad", "good tea"), 24)
    expected = ["[CLS]", "good", "tea", "[SEP]", "the", "tea", "was", "bad", ",", "very", "bad", ".", "[SEP]"]
    assert words_of(windows, 0) == expected
    assert windows.batch.segments.tolist() == [0] * 4 + [1] * 9
    assert windows.batch.positions.tolist() == list(range(13))
    assert windows.labels.tolist() == [[9, 10]]  # very, bad
    assert windows.characters[:5].tolist() == [[-1, -1]] * 4 + [[0, 3]]
    assert windows.characters[-3:].tolist() == [[23, 26], [26, 27], [-1, -1]]


@pytest.mark.parametrize(
    ("n", "room", "places"),
    [
        (0, 10, [(0, 0)]),
        (10, 10, [(0, 10)]),
        (11, 10, [(0, 10), (5, 11)]),
        (21, 10, [(0, 10), (5, 15), (10, 20), (15, 21)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
        (400, 320, [(0, 320), (128, 400)]),
        (577, 320, [(0, 320), (128, 448), (256, 576), (384, 577)]),
    ],
)
def test_where_windows_begin(n, room, places):
    assert window_places(n, room) == places


def test_only_a_window_with_the_whole_answer_points_at_it():
    words = random.Random(0).choices(WORDS, k=40)
    paragraph = " ".join(words)
    begin = sum(len(word) + 1 for word in words[:14])
    questions = ask(paragraph)
    questions.labels[0] = begin, begin + len(" ".join(words[14:17]))
    windows = cut_windows(TOKENIZER, questions, 16)  # [CLS] what ? [SEP] and [SEP]: 11 tokens of the paragraph
    assert [words_of(windows, w)[:4] for w in range(len(windows.batch))] == [["[CLS]", "[UNK]", "[UNK]", "[SEP]"]] * 6
    expected = [(14 - b + 4, 16 - b + 4) if b <= 14 and b + 11 >= 17 else (0, 0) for b in range(0, 36, 6)]
    assert windows.labels.tolist() == [list(label) for label in expected]
    assert sum(label != (0, 0) for label in expected) == 2
    for (a, b), (first, last) in zip(pairwise(windows.batch.offsets), windows.labels, strict=True):
        if last:
            characters = windows.characters[a:b]
            assert paragraph[characters[first, 0] : characters[last, 1]] == " ".join(words[14:17])
    assert (np.diff(windows.batch.offsets) <= 16).all()


def test_characters_of_odd_paragraphs():
    """What the tokenizer drops, lowers or takes apart must not move what is cut out of the paragraph."""
    paragraph = "\ufeff\u200b İstanbul\x00 tea\u0301, \U0001f600 Straße\u3000漢字bad \ud800good film"
    for answer in ("tea\u0301", "漢字", "bad", "good film", "film"):
        windows = cut_windows(TOKENIZER, ask(paragraph, answer), 24)
        logits = np.zeros((windows.batch.n_tokens, 2), np.float32)
        logits[windows.labels[0], [0, 1]] = 5
        found = windows.answers(logits)[0]
        assert found.text == answer
        assert paragraph[found.start : found.end] == found.text and found.score == 10


# One paragraph a line: what stands between | and | is the answer. Marks that the tokenizer drops, or cuts off.
MARKED = [
    "the |tea\u0301| was bad",
    "the |very tea\u0323\u0302|, bad",
    "|film\u064f\u0651| was good",
    "was |\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e\u0e4c| bad",
    "a |\u0939\u093f\u0928\u094d\u0926\u0940| film",
    "good |\u2764\ufe0f| film",
    "tea |1\ufe0f\u20e3|.",
    "the |\U0001f468\u200d\U0001f469\u200d\U0001f467|!",
    "the |\U0001f44d\U0001f3fd| was",
    "the |\U0001f1e9\U0001f1ea|",
    "|caf\u00e9| was |",
    "tea\u0301, |tea| tea\u0301",  # and none that belong to another character
]


@pytest.mark.parametrize("marked", MARKED)
@pytest.mark.parametrize("cased", [False, True])
def test_the_best_possible_answer_is_the_right_one(marked, cased):
    before, answer, after = marked.split("|")[:3]
    pictures = ["\U0001f1e9", "##\U0001f1ea", "\U0001f468", "##\U0001f469", "##\U0001f467", "\U0001f44d", "1", "\u2764"]
    tokenizer = Tokenizer(bert_tokenizer([*VOCAB, *pictures], lowercase=not cased))
    questions = ask(before + answer + after, text="what")
    questions.labels[0] = len(before), len(before) + len(answer)
    questions.answers[0] = (answer,)
    windows = cut_windows(tokenizer, questions, 24)
    logits = np.zeros((windows.batch.n_tokens, 2), np.float32)
    logits[windows.labels[0], [0, 1]] = 5
    assert windows.predictions(logits) == {"0": answer}
    assert windows.score(logits, ("exact_match",)) == {"exact_match": 1}


def test_a_question_that_is_too_long_is_cut():
    windows = cut_windows(TOKENIZER, ask("bad tea", "tea", "good " * 100), 24)
    assert words_of(windows, 0) == ["[CLS]", *["good"] * 10, "[SEP]", "bad", "tea", "[SEP]"]
    assert windows.notes("dev") == [
        "1 dev questions are read in 1 windows",
        "1 of 1 dev questions are cut to 10 tokens",
    ]
    assert windows.notes() == ["1 of 1 questions are cut to 10 tokens"]
    assert len(cut_windows(TOKENIZER, ask("bad tea", "tea", "good " * 100), 384).batch.ids) == 1 + 64 + 1 + 2 + 1
    with pytest.raises(InputError, match="5 or more"):
        cut_windows(TOKENIZER, ask("bad tea"), 4)


# -------------------------------------------------------------------------------------------------------- the best span


def by_trying_all(logits):
    n = len(logits)
    spans = [(i, j) for i in range(n) for j in range(i, min(i + MAX_ANSWER, n))]
    return max(spans, key=lambda span: float(logits[span[0], 0]) + float(logits[span[1], 1]))


@pytest.mark.parametrize("n", [1, 2, 29, 30, 31, 60])
def test_the_best_span_is_the_best_of_all(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        logits = rng.standard_normal((n, 2)).astype(np.float32)
        first, last, score = best_span(logits)
        assert (first, last) == by_trying_all(logits)
        assert score == float(logits[first, 0]) + float(logits[last, 1])


def test_an_answer_is_neither_backwards_nor_too_long_nor_outside_the_paragraph():
    windows = cut_windows(TOKENIZER, ask("bad tea was good tea", text="film"), 24)  # the paragraph is tokens 3 to 7
    logits = np.zeros((windows.batch.n_tokens, 2), np.float32)
    logits[[0, 1, 2, 8]] = 100  # [CLS], the question, [SEP]
    logits[6, 0], logits[4, 1] = 9, 8  # the best end comes before the best start
    logits[7, 1] = 2
    assert windows.predictions(logits) == {"0": "good tea"}
    far = np.zeros((40, 2), np.float32)
    far[0, 0], far[MAX_ANSWER, 1] = 9, 9
    assert best_span(far)[2] == 9
    far[MAX_ANSWER - 1, 1] = 5
    assert best_span(far) == (0, MAX_ANSWER - 1, 14)


def test_the_best_of_all_windows_and_questions():
    paragraph = " ".join(WORDS[:14])
    questions = without_answers(["what", "tea", "was"], [paragraph, "", paragraph])
    windows = cut_windows(TOKENIZER, questions, 13)
    assert windows.question.tolist() == [0, 0, 1, 2, 2]
    logits = np.zeros((windows.batch.n_tokens, 2), np.float32)
    for w, value in ((0, 3), (1, 7), (3, 9), (4, 8)):
        logits[windows.batch.offsets[w] + 3] = value, value  # the first token of that window
    assert [answer.text for answer in windows.answers(logits)] == [WORDS[5], "", WORDS[0]]
    assert [answer.score for answer in windows.answers(logits)] == [14, -np.inf, 18]


# ----------------------------------------------------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny backbone, and questions whose answer is what stands after the word that is asked for."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_backbone(place / "tiny.h5")
    rng = random.Random(0)
    for split, n in (("train", 60), ("dev", 20)):
        paragraphs = []
        for i in range(n):
            words = rng.sample(WORDS[:14], 12)
            context, k = " ".join(words), rng.randrange(11)
            answer = {"text": words[k + 1], "answer_start": context.index(f" {words[k + 1]}") + 1 if k >= 0 else 0}
            qas = [{"id": f"{split}{i}", "question": words[k], "answers": [answer]}]
            paragraphs.append({"context": context, "qas": qas})
        paragraphs[0]["qas"][0]["answers"][0]["text"] = "nowhere"
        write_json(place / f"{split}-v1.1.json", {"data": [{"paragraphs": paragraphs}]})
    return place


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def train_arguments(place, out, *more):
    arguments = ["train", "--backbone", place / "tiny.h5", "--task", "squad", "--data", place, "--out", out]
    return [*arguments, "--max-length", 12, "--epochs", 2, "--batch-size", 16, *more]


def test_train_eval_predict(place, tmp_path, capsys):
    code, out, err = run(capsys, *train_arguments(place, tmp_path / "run", "--dev-rows", 15))
    assert (code, err) == (0, "")
    assert "note: train-v1.1.json: 1 of 60 questions have no answer" in out
    assert "note: scoring on 15 of 20 dev rows" in out and "task squad (59 train, 15 dev)" in out
    assert "note: 59 train questions are read in 118 windows" in out
    assert "16 steps of up to 16 texts" in out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert list(result["dev"]) == ["f1", "exact_match"] and result["steps"] == 16
    assert (tmp_path / "run" / "history.csv").read_text().startswith("epoch,step,loss,f1,exact_match,seconds\n1,8,")

    model = ["--backbone", place / "tiny.h5", "--bank", tmp_path / "run"]
    evaluate = ["eval", *model, "--task", "squad", "--data", place]
    code, out, _ = run(capsys, *evaluate, "--dev-rows", 15, "--json")
    facts = {"is_trained_data": True, "unknown_labels": 0, "trained_on": 0, "chose_epoch": 15}
    assert json.loads(out) == {"task": "squad", "split": "dev", "examples": 15, **result["dev"], **facts}
    code, out, err = run(capsys, *evaluate, "--json", "--predictions-out", tmp_path / "answers.json")
    assert code == 0 and err.splitlines()[2:] == ["note: 20 dev questions are read in 40 windows"]
    assert "note: train-v1.1.json: 1 of 60 questions have no answer" in err
    found = json.loads(out)
    assert found["chose_epoch"] == 15 and found["not_in_training"]["examples"] == 5
    parts = (15, result["dev"]["f1"]), (5, found["not_in_training"]["f1"])
    assert found["f1"] == pytest.approx(sum(n * score for n, score in parts) / 20)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert list(answers) == [f"dev{i}" for i in range(20)]
    contexts = {q["id"]: p["context"] for p in _paragraphs(place / "dev-v1.1.json") for q in p["qas"]}
    assert all(text and text in contexts[name] for name, text in answers.items())
    code, out, _ = run(capsys, "eval", "--task", "squad", "--data", place, "--predictions", tmp_path / "answers.json")
    assert json.loads(out) == pytest.approx({name: 100 * found[name] for name in ("exact_match", "f1")})

    paragraph = contexts["dev3"]
    (asked,) = (q["question"] for p in _paragraphs(place / "dev-v1.1.json") for q in p["qas"] if q["id"] == "dev3")
    code, out, _ = run(capsys, "predict", *model, asked, "film", "--pair", paragraph, "--json")
    first, second = map(json.loads, out.splitlines())
    assert list(first) == ["text", "pair", "answer", "start", "end", "score"]
    assert first["answer"] == answers["dev3"] == paragraph[first["start"] : first["end"]]
    assert (second["text"], second["pair"]) == ("film", paragraph)
    code, out, _ = run(capsys, "predict", *model, f"{asked}\t{paragraph}")
    assert out.split("\t")[0] == answers["dev3"] and out.endswith(f"\t{asked}\t{paragraph}\n")


def _paragraphs(path):
    return json.loads(path.read_text())["data"][0]["paragraphs"]


def test_it_learns(place, tmp_path, capsys):
    """By heart, that is."""
    more = ["--max-length", 24, "--method", "full", "--lr", 5e-3, "--train-rows", 16, "--batch-size", 8, "--epochs", 25]
    more += ["--quiet", "--dev-rows", 1]
    assert run(capsys, *train_arguments(place, tmp_path / "run", *more))[0] == 0
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert losses[0] > 2 and losses[-1] < 0.3 * losses[0]


def test_resume_gives_the_same_bits(place, tmp_path, capsys, monkeypatch):
    assert run(capsys, *train_arguments(place, tmp_path / "whole"))[0] == 0
    usual = Training._end_epoch

    def stop(training, *arguments):
        usual(training, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_end_epoch", stop)
        assert run(capsys, *train_arguments(place, tmp_path / "stopped"))[0] == 130
    assert run(capsys, *train_arguments(place, tmp_path / "stopped", "--resume"))[0] == 0
    one, other = (read_bank(tmp_path / name / "bank.h5")["squad"] for name in ("whole", "stopped"))
    assert one.dev == other.dev and one.head == "span"
    assert all(np.array_equal(one.params[name], other.params[name]) for name in one.params)


def test_labels_that_cannot_be_are_refused(place):
    backbone = load_backbone(place / "tiny.h5")
    model, batch = Model(backbone, "span", 2), backbone.encode(["good tea", "bad"], max_length=24)  # 4 and 3 tokens
    assert model.loss_and_grads(batch, [[1, 3], [0, 2]])[0] > 0
    for labels in ([[1, 4], [0, 2]], [[1, 3], [0, 3]], [[-1, 3], [0, 2]], [[1.0, 3.0], [0.0, 2.0]], [1, 0], [[1, 3]]):
        with pytest.raises(InputError, match="labels must be"):
            model.loss_and_grads(batch, labels)


def test_the_loss_by_hand():
    """Two sequences of 2 and 3 tokens; all logits are equal but one."""
    logits = np.zeros((5, 2), np.float32)
    logits[3, 1] = np.log(2)
    loss, dlogits = span_cross_entropy(logits, np.array([[0, 1], [2, 1]]), np.array([0, 2, 5]))
    assert loss == pytest.approx((np.log(2) + np.log(2) + np.log(3) + np.log(2)) / 4)
    expected = np.array([[-1 / 2, 1 / 2], [1 / 2, -1 / 2], [1 / 3, 1 / 4], [1 / 3, -1 / 2], [-2 / 3, 1 / 4]]) / 4
    np.testing.assert_allclose(dlogits, expected, atol=1e-7)
    assert dlogits.dtype == np.float32
    logits[0, 0] = np.nan
    assert np.isnan(span_cross_entropy(logits, np.array([[0, 1], [2, 1]]), np.array([0, 2, 5]))[0])


def test_logits_do_not_depend_on_the_other_windows(place):
    backbone = load_backbone(place / "tiny.h5")
    windows = cut_windows(backbone.tokenizer, read_questions(place / "train-v1.1.json"), 12)
    model = Model(backbone, "span", 2)
    logits = predict(model, windows.batch)
    assert logits.shape == (windows.batch.n_tokens, 2)
    a, b = windows.batch.offsets[70:72]
    np.testing.assert_allclose(model.predict(windows.batch.take([70])), logits[a:b], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("eval --task squad --data {place}", "eval needs --backbone and --bank (or --predictions FILE"),
        ("eval --task squad --data {place} --bank {run}", "eval needs --backbone"),
        ("{eval} --predictions-out {place}/dev-v1.1.json", "is no file of answers; it is not replaced"),
        ("{eval} --predictions-out {place}/none/x.json", "there is no folder"),
        ("{eval} --predictions-out {place}", "it is not replaced"),
        ("{eval} --split test", "no labelled test split"),
        ("{eval} --split train --dev-rows 3", "leave it out with --split train"),
        ("predict {model} tea", "one tab between them (or --pair)"),
        ("train --backbone {place}/tiny.h5 --task squad --data {place} --out {run}2", "max_length is 384, but this"),
        ("train --backbone {place}/tiny.h5 --task squad --out {run}2", "task squad needs --data"),
        ("train --backbone {place}/tiny.h5 --task squad --data {place} --out {run}2 --pooled-head", "cannot be pooled"),
        ("train --backbone {place}/tiny.h5 --task squad --data {place} --out {run}2 --regress", "only task csv"),
    ],
)
def test_bad_input(place, tmp_path, capsys, arguments, message):
    run_folder = place / "run"
    if not run_folder.exists():
        assert run(capsys, *train_arguments(place, run_folder, "--max-steps", 1))[0] == 0
    model = f"--backbone {place}/tiny.h5 --bank {run_folder}"
    names = {"place": place, "run": run_folder, "model": model, "eval": f"eval {model} --task squad --data {place}"}
    before = (place / "dev-v1.1.json").read_bytes()
    code, out, err = run(capsys, *arguments.format(**names).split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert (place / "dev-v1.1.json").read_bytes() == before and not (place / "run2").exists()


# ---------------------------------------------------------------------- answers that nobody can be trained on, or give


def questions_of(tmp_path, split, *rows):
    """A file with a paragraph and a question each: (context, answer)."""
    paragraphs = [
        {"context": context, "qas": [question(f"q{i}", "was it tea?", [(answer, context.index(answer))])]}
        for i, (context, answer) in enumerate(rows)
    ]
    return write_json(tmp_path / f"{split}-v1.1.json", {"data": [{"paragraphs": paragraphs}]})


@pytest.mark.parametrize("answer", ["\u200b", "\x07", "\ufe0f", "\u00ad\u200d", "\ufffd", "tea was bad . " * 8 + "tea"])
def test_what_no_window_holds_is_not_trained_on(tmp_path, backbone, answer):
    """An answer without a token, or longer than a window: each window of it would say "not here"."""
    rows = [("the tea was bad", "tea"), (f"a film {answer} is fine", answer), ("the book is dull", "book")]
    questions_of(tmp_path, "train", *rows)
    questions_of(tmp_path, "dev", *rows)
    task = load_task("squad", tmp_path)
    model = Model(backbone, "span", 2, "head")
    training = Training(model, task, SHORT, tmp_path / "run", quiet=True)
    assert training.task.train.ids == training.train.questions.ids == ["q0", "q2"]
    assert training.task.notes[-1] == (
        "1 of 3 train questions have an answer that no window holds whole, or that has no token (q1): left out"
    )
    assert (training.train.labels > 0).all(axis=1).tolist() == [True, True]
    assert training.train.question.tolist() == [0, 1] and len(training.train.batch) == 2
    a, b = training.train.batch.offsets[1:3]
    start, end = training.train.characters[a:b][training.train.labels[1]][[0, 1], [0, 1]]
    assert training.train.questions.pairs[1][start:end] == "book"
    assert len(training.dev["dev"].questions) == 3  # scored all the same
    assert training.settings["data_whole"] == data_fingerprint(task)
    result = train_and_test(training)
    assert result["settings"]["train_rows"] == 2 and result["finished"]


def test_a_training_set_without_a_usable_answer_is_refused(tmp_path, backbone):
    for split in ("train", "dev"):
        questions_of(tmp_path, split, ("a film \u200b is fine", "\u200b"))
    with pytest.raises(InputError, match=r"1 of 1 train questions have an answer .* nothing to train on"):
        Training(Model(backbone, "span", 2, "head"), load_task("squad", tmp_path), SHORT, tmp_path / "run")


CONTEXT = "\ufeffthe tea\u200b was \u200fbad . a good\u00ad ! film"
LONG = " ".join(["good tea"] * 20)


@pytest.mark.parametrize(
    ("answer", "can"),
    [
        ("tea", True),
        ("tea\u200b", False),
        ("good\u00ad", False),
        ("\u200fbad", False),
        ("\ufeffthe tea", False),
        ("\u200b", False),
        ("tea\u200b was", True),  # within it
        ("bad .", True),
        (".", True),
        ("fil", False),  # a part of a token
        ("a good", True),
        ("BAD", True),
        (LONG, False),
        (LONG[: 15 * 9 - 1], True),  # 30 tokens
        ("a " + LONG[: 15 * 9 - 1], True),  # articles do not count
    ],
)
def test_answers_that_no_span_gives_are_told(answer, can):
    context = f"{CONTEXT} a {LONG}"
    found = Questions(["was it tea?"], [context], np.array([[0, 1]]), ["q7"], [(answer,)])
    windows = cut_windows(TOKENIZER, found, 64)
    assert (never_exact(windows) == []) is can
    told = "1 of 1 dev questions have no right answer that can be given exactly (q7): longer than 30 tokens"
    assert any(note.startswith(told) for note in windows.notes("dev")) is not can
    assert never_exact(cut_windows(TOKENIZER, replace(found, answers=[(answer, "film")]), 64)) == []
    assert never_exact(cut_windows(TOKENIZER, without_answers(found.texts, found.pairs), 64)) == []


@pytest.mark.parametrize("key", ["is_impossible", "isImpossible", "IS-IMPOSSIBLE"])
def test_impossible_questions_are_left_out_however_it_is_spelled(tmp_path, key):
    path, notes = write_json(tmp_path / "x.json", dataset(question(**{key: True}), question("q2", **{key: False}))), []
    assert read_questions(path, notes).ids == ["q2"] and "left out 1 of 2 questions" in notes[0]
    write_json(path, dataset(question(isImpossible=True, is_impossible=False)))
    with pytest.raises(InputError, match="'isImpossible' and 'is_impossible' contradict each other"):
        read_questions(path)
    write_json(path, dataset(question(isImpossible="yes")))
    with pytest.raises(InputError, match="'isImpossible' must be true or false, found 'yes'"):
        read_questions(path)


def test_a_question_is_the_same_only_with_its_paragraph():
    rows = [
        ("was tea good?", "the tea was bad . " * 9),
        ("was tea good?", "the film was bad"),
        ("was book?", "the film was bad"),
    ]
    rows += [("Wäs tea good?", "the tea was bad . " * 9)]
    hashes = cut_windows(TOKENIZER, without_answers(*map(list, zip(*rows, strict=True))), 24).hashes()
    assert hashes[0] == hashes[3] and len(set(hashes.tolist())) == 3
