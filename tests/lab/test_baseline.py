"""The "no BERT" baseline on small made-up tasks."""

import json
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny import random_texts, write_csv

from minibert.cli import main
from minibert.data.task import Examples, Task
from minibert.errors import InputError
from minibert.lab.baseline import draw_setting, no_bert

FILLER = ["the", "cat", "sat", "on", "a", "mat", "today", "again"]


def sentence(rng, *words):
    chosen = [*rng.choices(FILLER, k=5), *words]
    rng.shuffle(chosen)
    return " ".join(chosen)


def separable(n, seed, names=("good", "bad")):
    """n texts that hold the word of their class, and their class numbers."""
    rng = random.Random(seed)
    labels = np.arange(n) % len(names)
    return Examples([sentence(rng, names[label]) for label in labels], None, labels)


def task(make, head="classify", labels=("a", "b"), metrics=("accuracy",), sizes=(80, 20, 20)):
    train, dev, test = (make(n, seed) for seed, n in enumerate(sizes))
    return Task("made up", head, labels, metrics, train, {"dev": dev}, test)


def test_it_learns_a_word_and_reports_what_was_asked_for():
    result = no_bert(task(separable), trials=3, seed=0)
    assert result["dev"] == {"accuracy": 1.0} and result["test"] == {"accuracy": 1.0}
    assert (result["task"], result["method"], result["trials"], result["seed"]) == ("made up", "no_bert", 3, 0)
    assert set(result["setting"]) == set(draw_setting(random.Random(0)))
    assert result["features"] >= 8 and result["seconds"] > 0
    json.dumps(result)


def test_it_does_not_learn_what_is_not_there():
    def make(n, seed):
        return Examples(separable(n, seed).texts, None, np.random.default_rng(seed).integers(0, 2, n))

    assert no_bert(task(make, sizes=(80, 40, 200)), trials=2, seed=0)["test"]["accuracy"] < 0.7


def test_the_same_seed_gives_the_same_and_more_trials_are_never_worse_on_dev():
    def make(n, seed):
        noisy = separable(n, seed)
        flip = np.random.default_rng(seed).random(n) < 0.2
        return Examples(noisy.texts, None, np.where(flip, 1 - noisy.labels, noisy.labels))

    noisy = task(make)
    one, same, more = (no_bert(noisy, trials=trials, seed=1) for trials in (2, 2, 5))
    for result in (one, same, more):
        del result["seconds"]
    assert one == same
    assert more["dev"]["accuracy"] >= one["dev"]["accuracy"]
    settings = [draw_setting(random.Random(seed)) for seed in range(40)]
    assert len({setting["C"] for setting in settings}) > 30
    assert {setting["character_ngrams"] for setting in settings} == {0, 3, 4, 5}


def test_many_classes_one_of_them_only_on_dev():
    names = tuple(f"word{i}" for i in range(7))
    made = task(lambda n, seed: separable(n, seed, names[: 6 if seed == 0 else 7]), labels=names, sizes=(90, 28, 28))
    assert no_bert(made, trials=2, seed=0)["dev"]["accuracy"] == pytest.approx(6 / 7, abs=0.05)


def pairs(n, seed):
    """Pairs that are alike (1) or not (0): no word alone tells which."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(30)]
    labels = np.arange(n) % 2
    texts = [rng.sample(words, 5) for _ in range(n)]
    others = [text if label else rng.sample(words, 5) for text, label in zip(texts, labels, strict=True)]
    return Examples([" ".join(text) for text in texts], [" ".join(rng.sample(text, 5)) for text in others], labels)


def test_pairs_are_compared_and_the_first_metric_chooses():
    result = no_bert(task(pairs, metrics=("f1", "accuracy"), sizes=(200, 40, 40)), trials=4, seed=0)
    assert list(result["dev"]) == ["f1", "accuracy"] and result["test"]["accuracy"] > 0.9


def test_scores_are_predicted_by_ridge_and_further_dev_splits_are_named():
    def make(n, seed):
        shared = pairs(n, seed)
        return Examples(shared.texts, shared.pairs, shared.labels.astype(np.float32) * 4)

    made = task(make, "regress", (), ("spearman", "pearson"), sizes=(200, 40, 40))
    made = replace(made, dev={**made.dev, "far": made.test}, test=None)
    result = no_bert(made, trials=3, seed=0)
    assert list(result["dev"]) == ["spearman", "pearson", "spearman_far", "pearson_far"] and result["test"] is None
    assert result["dev"]["pearson"] > 0.8 and result["dev"]["pearson_far"] > 0.8


def test_unusable_input_is_told(monkeypatch):
    made = task(separable)
    for trials, seed, named in ((0, 0, "trials"), (2.5, 0, "trials"), (1, -1, "seed")):
        with pytest.raises(InputError, match=f"{named} must be a whole number"):
            no_bert(made, trials, seed)
    empty = task(lambda n, seed: Examples([""] * n, None, np.arange(n) % 2))
    with pytest.raises(InputError, match="no words were found"):
        no_bert(empty, 2, 0)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        no_bert(made, 1, 0)


def test_several_labels_and_answers_are_refused_before_the_search(monkeypatch):
    monkeypatch.setattr("minibert.lab.baseline.draw_setting", lambda _: pytest.fail("this searches"))
    made = task(separable)
    pairs = replace(made.train, labels=np.zeros((len(made.train), 2), int))
    for head, classes, told in (("multilabel", ("a", "b"), "several labels"), ("span", (), "answers in its texts")):
        several = Task("t", head, classes, ("exact_match",), pairs, {"dev": pairs})
        with pytest.raises(InputError, match=f"task t has {told}"):
            no_bert(several, 1, 0)


def test_the_command_prints_scores_or_json(tmp_path, capsys):
    texts, labels = random_texts(60)
    write_csv(tmp_path / "data.csv", {"text": texts, "label": labels})
    command = ["baseline", "--task", "csv", "--data", str(tmp_path / "data.csv"), "--text-column", "text"]
    command += ["--label-column", "label", "--trials", "2", "--train-rows", "40"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "task csv (40 train), no BERT, 2 settings, seed 0" in out and "\ndev: accuracy " in out
    assert "\ntest: accuracy " in out and "\nbest setting: word_ngrams " in out
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trials"] == 2 and 0 <= result["test"]["accuracy"] <= 1
    assert main([*command, "--trials", "0"]) == 2
    assert "trials must be a whole number" in capsys.readouterr().err
