"""What a practitioner chooses of a training: the metric of the best epoch, weights of classes, patience."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight
from training_runs import CONFIG, Killed, kill, make_training, same_outcome

from minibert import train as train_module
from minibert.class_weights import class_weights, weight_lines, with_class_weights
from minibert.config import TrainConfig
from minibert.data.task import Examples, Task
from minibert.errors import InputError
from minibert.gradcheck import check_gradients, tiny_batch, tiny_model
from minibert.resume import difference, resume
from minibert.trial import Trial, grid, make_trial, trial_id


def task_of(labels, classes=("a", "b", "c"), weights=None):
    examples = Examples(["x"] * len(labels), None, np.array(labels), weights=weights)
    return Task("t", "classify", classes, ("accuracy",), examples, {"dev": examples})


# ------------------------------------------------------------------------------------------------- weights of classes


def test_balanced_weights_are_those_of_scikit_learn():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        labels = np.concatenate([[0, 1, 2], rng.integers(0, rng.integers(1, 4), 30)])
        found = class_weights(("balanced",), task_of(labels))
        expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
        np.testing.assert_allclose(list(found.values()), expected, rtol=1e-15)
    assert list(found) == ["a", "b", "c"]
    assert class_weights(("balanced",), task_of([0, 0, 0, 2])) == {"a": 4 / 6, "b": 1.0, "c": 2.0}


def test_weights_by_name():
    task = task_of([0, 2, 1])
    assert class_weights((), task) == {} and weight_lines({}) == []
    assert class_weights(("c=2.5", "a = 0.5"), task) == {"a": 0.5, "b": 1.0, "c": 2.5}
    assert class_weights(("x=y=3",), task_of([0, 1], ("x=y", "z"))) == {"x=y": 3.0, "z": 1.0}
    assert weight_lines({"a": 1 / 3, "b": 2.0}) == ["class weights: a 0.3333, b 2"]


@pytest.mark.parametrize("wrong", [("even",), ("a=",), ("a=0",), ("a=-1",), ("a=inf",), ("a=x",), ("balanced", "a=1")])
def test_weights_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match="--class-weights must be balanced, or NAME=W"):
        class_weights(wrong, task_of([0, 1, 2]))


def test_weights_of_what_is_not_there():
    with pytest.raises(InputError, match="there is no class 'd'; the classes are 'a', 'b', 'c'"):
        class_weights(("d=1",), task_of([0, 1, 2]))
    with pytest.raises(InputError, match="task t has no classes"):
        class_weights(("balanced",), replace(task_of([0, 1]), labels=()))


def test_they_are_multiplied_with_those_of_the_rows():
    weights = {"a": 2.0, "b": 3.0, "c": 5.0}
    assert with_class_weights({}, task_of([0, 1])) is None
    assert with_class_weights(weights, task_of([2, 0, 2])).tolist() == [5, 2, 5]
    assert with_class_weights(weights, task_of([2, 0, 1], weights=np.array([0.5, 0, 1]))).tolist() == [2.5, 0, 3]


def test_the_gradient_with_weights_of_classes():
    model = tiny_model("adapter", "classify")
    batch, labels = tiny_batch(model.config, "classify")
    weights = with_class_weights({"a": 0.2, "b": 4.0, "c": 1.0}, task_of(labels))
    checks = check_gradients(model, batch, labels, 5, weights)
    assert [check for check in checks if not check.passed or check.relative_error > 1e-6] == []


def test_a_training_with_weights_of_classes(backbone, tmp_path):
    """The heavy class is found everywhere."""
    config = replace(CONFIG, lr=0.02, epochs=6, class_weights=("yes=1000",))
    training = make_training(backbone, tmp_path, config, "head")
    assert set(training.train.weights) == {1.0, 1000.0}
    training.run()
    assert training.model.predict(training.train.batch)[:, 1].min() > 0.5
    assert training.settings["train"]["class_weights"] == ("yes=1000",)


# ---------------------------------------------------------------------------------------------------- metric, patience


def scripted(monkeypatch, scores):
    """What dev gives after each epoch; None: the process is killed there."""
    left = iter(scores)

    def evaluate_all(model, splits, metrics):
        score = next(left)
        return {metrics[0]: score} if score is not None else kill()

    monkeypatch.setattr(train_module, "evaluate_all", evaluate_all)


def test_the_metric_decides_the_best_epoch(backbone, tmp_path, monkeypatch):
    scores = iter([(0.9, 0.1), (0.5, 0.3), (0.8, 0.2), (0.4, 0.0)])
    monkeypatch.setattr(
        train_module, "evaluate_all", lambda *_: dict(zip(("accuracy", "macro_f1"), next(scores), strict=True))
    )
    training = make_training(backbone, tmp_path, replace(CONFIG, metric="macro_f1"))
    assert training.metrics == ("macro_f1", "accuracy")
    assert training.run()["best_epoch"] == 2


def test_a_metric_by_the_name_of_a_class(backbone, tmp_path):
    result = make_training(backbone, tmp_path, replace(CONFIG, metric="f1:yes")).run()
    assert list(result["dev"]) == ["f1:yes", "accuracy"] and 0 <= result["dev"]["f1:yes"] <= 1
    with pytest.raises(InputError, match="the classes are 'no', 'yes'"):
        make_training(backbone, tmp_path, replace(CONFIG, metric="f1:maybe"))


def test_patience_ends_a_run(backbone, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.5, 0.6, 0.6, 0.4, 0.9])  # the second 0.6 is not better than the first
    training = make_training(backbone, tmp_path, replace(CONFIG, epochs=9, patience=2))
    result = training.run()
    assert (result["finished"], result["best_epoch"], training.progress.epoch) == (True, 2, 4)
    assert training.out_of_patience and training.total_steps == 9 * 3  # the rate falls as for all epochs


def test_patience_starts_again_with_a_better_epoch(backbone, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.5, 0.4, 0.6, 0.5, 0.7])
    training = make_training(backbone, tmp_path, replace(CONFIG, epochs=5, patience=2))
    assert training.run()["best_epoch"] == 5 and not training.out_of_patience


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_resumed_run_has_the_same_patience(backbone, tmp_path, monkeypatch, killed_after):
    config, scores = replace(CONFIG, epochs=9, patience=2), [0.5, 0.6, 0.6, 0.4]
    scripted(monkeypatch, scores)
    whole = make_training(backbone, tmp_path / "whole", config)
    whole.run()
    scripted(monkeypatch, [*scores[:killed_after], None])
    killed = make_training(backbone, tmp_path / "killed", config)
    with pytest.raises(Killed):
        killed.run()
    scripted(monkeypatch, scores[killed_after:])
    again = make_training(backbone, tmp_path / "killed", config)
    assert resume(again)
    again.run()
    same_outcome(whole, again)


def test_a_run_that_was_killed_after_its_last_epoch_of_patience(backbone, tmp_path, monkeypatch):
    scripted(monkeypatch, [0.5, 0.4])
    config = replace(CONFIG, epochs=9, patience=1)
    killed = make_training(backbone, tmp_path, config)
    with pytest.raises(Killed):
        killed.run(lambda training: kill())
    again = make_training(backbone, tmp_path, config)
    assert resume(again)
    assert again.run()["steps"] == 2 * 3


# ------------------------------------------------------------------------------------------------------ as settings


def test_a_run_of_before_these_settings_goes_on():
    now = {"train": json.loads(TrainConfig().to_json())}
    before = {
        "train": {name: v for name, v in now["train"].items() if name not in ("metric", "class_weights", "patience")}
    }
    assert difference(before, now) == ""
    for name, value in (("metric", "macro_f1"), ("class_weights", ["balanced"]), ("patience", 3)):
        assert difference(before, {"train": now["train"] | {name: value}}).startswith(f"train/{name} was ")


def test_lists_are_told_as_they_are_typed():
    trial = make_trial(task="opinions", class_weights=("x=2", "y=3"), adapter_layers=(0, 2))
    assert "layers=0,2 class_weights=x=2,y=3" in trial.describe()


def test_defaults_leave_a_trial_its_name():
    plain = make_trial(task="opinions", epochs=5)
    assert plain.changed()["train"] == {}
    given = make_trial(task="opinions", epochs=5, metric="macro_f1", class_weights=("balanced",), patience=2)
    assert given.changed()["train"] == {"metric": "macro_f1", "class_weights": ("balanced",), "patience": 2}
    assert trial_id(plain, "d", "b") != trial_id(given, "d", "b")
    assert Trial.from_dict(given.to_dict()) == given
    assert make_trial(task="opinions", epochs=5, metric="macro_f1", class_weights="balanced", patience=2) == given
    assert len(grid(task="opinions", class_weights=("a=1", "b=2"), patience=[1, 2])) == 2


def test_a_default_that_changed_gives_no_trial_the_name_of_another():
    """Five epochs were the default once, and ledgers of that time hold such trials under these names."""
    assert make_trial(task="opinions") == make_trial(task="opinions", epochs=10)
    names = {epochs: trial_id(make_trial(task="opinions", epochs=epochs), "d", "b") for epochs in (5, 10)}
    assert names == {5: "727cd8048d9a", 10: "c7fad0d0ab6a"}


@pytest.mark.parametrize(
    "wrong", [{"metric": 3}, {"class_weights": 3}, {"class_weights": (3,)}, {"patience": -1}], ids=str
)
def test_settings_of_another_kind(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_the_gradient_check_would_see_wrong_weights(monkeypatch):
    """Weights that change the loss alone."""
    from minibert import losses

    usual = losses._weighted
    monkeypatch.setattr(losses, "_weighted", lambda values, d, weights, *rest: (usual(values, d, weights, *rest)[0], d))
    model = tiny_model("head", "classify")
    assert not all(
        check.passed
        for check in check_gradients(model, *tiny_batch(model.config, "classify"), None, np.array([1, 2, 3]))
    )
