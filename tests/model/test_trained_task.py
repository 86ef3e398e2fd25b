"""A trained task opened from Python, by its public door."""

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model
from tiny import write_tiny_backbone

import minibert
from minibert import InputError, Model, trained_task
from minibert.storage import write_bank

TRAINED = {"train": {"max_length": 24}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    backbone = minibert.load_backbone(write_tiny_backbone(place / "tiny.h5"))
    made = {
        "mood": make_model(backbone).to_record("mood", ("bad", "good"), TRAINED),
        "score": make_model(backbone, head="regress", n_out=1).to_record("score", (), TRAINED),
        "same": make_model(backbone, seed=3).to_record("same", ("no", "yes"), TRAINED | {"pairs": True}),
    }
    write_bank(place / "bank.h5", made)
    return place


def load(place, name):
    return minibert.load_task(place / "tiny.h5", str(place), name)


def test_three_lines(place, monkeypatch):
    task = load(place, "mood")
    wanted = task.model.predict(encode(task.model.backbone, TEXTS))
    assert task.labels == ("bad", "good") and task.name == "mood"
    assert task.predict(TEXTS) == [task.labels[i] for i in wanted.argmax(axis=1)]
    assert np.allclose(task.probabilities(TEXTS), wanted, atol=1e-6)
    monkeypatch.setattr(trained_task, "CHUNK", 3)
    assert np.allclose(task.probabilities(iter(TEXTS)), wanted, atol=1e-6) and len(task.predict(TEXTS)) == len(TEXTS)
    assert task.predict([]) == [] and task.probabilities([]).shape == (0, 2)


def test_scores_pairs_and_a_shared_backbone(place):
    backbone = minibert.load_backbone(place / "tiny.h5")
    score, same = (minibert.load_task(backbone, place / "bank.h5", name) for name in ("score", "same"))
    assert score.model.backbone is same.model.backbone and isinstance(score.model, Model)
    assert np.allclose(score.predict(TEXTS), score.model.predict(encode(backbone, TEXTS)), atol=1e-6)
    wanted = same.model.predict(encode(backbone, TEXTS, TEXTS[::-1]))
    assert np.allclose(same.probabilities(TEXTS, TEXTS[::-1]), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mood", ["good"], "texts must be a list of strings, got one string"),
        ("mood", [["good", 3]], "texts must be strings, got 3"),
        ("mood", [["good", None]], "texts must be strings, got None"),
        ("mood", [["good"], ["bad"]], "reads single texts: leave out pairs"),
        ("same", [["good"]], r"reads pairs of texts: give pairs, the second texts: predict\(texts, pairs\)"),
        ("same", [[("good", "bad")]], r"got \('good', 'bad'\); the second texts .* own: predict\(texts, pairs\)"),
        (None, [["good"]], r"holds 3 tasks; choose one with --name \(in Python: name=…\): mood"),
        ("same", [["good"], ["bad", "x"]], "1 texts, 2 pairs"),
    ],
)
def test_what_it_does_not_read(place, name, arguments, message):
    with pytest.raises(InputError, match=message):
        load(place, name).predict(*arguments)


def test_errors_of_the_door(place):
    with pytest.raises(InputError, match="has no classes"):
        load(place, "score").probabilities(["good"])
    with pytest.raises(InputError, match=r"it has mood, same, score\. Did you mean 'mood'\?"):
        load(place, "moode")


def test_it_shows_itself_in_one_line(place):
    told = "method adapter, head classify, labels 'bad', 'good'"
    assert repr(load(place, "mood")) == f"<TrainedTask 'mood': {told}>"
    assert repr(load(place, "score")) == "<TrainedTask 'score': method adapter, head regress>"
    assert "array(" not in repr(load(place, "mood").record)
