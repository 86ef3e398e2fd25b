"""Examples that count more or less in the loss: values against scikit-learn, gradients against finite differences, and
that a training uses them."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error
from small_models import LABELS, TEXTS, encode, make_model
from training_runs import CONFIG, make_task, make_training

from minibert.config import HEADS
from minibert.data import data_fingerprint
from minibert.data.checks import check_task
from minibert.data.squad import Questions
from minibert.errors import InputError
from minibert.gradcheck import check_gradients, tiny_batch, tiny_model
from minibert.heads import RECORDS
from minibert.losses import softmax
from minibert.spans import Windows

WEIGHTS = np.array([0.25, 3.0, 1.5])  # of the three sequences of tiny_batch


@pytest.mark.parametrize("dropout_step", [None, 5], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("head", HEADS)
def test_the_gradient_of_a_weighted_loss(head, dropout_step):
    model = tiny_model("adapter", head)
    checks = check_gradients(model, *tiny_batch(model.config, head), dropout_step, WEIGHTS)
    assert len(checks) == len(model.trained())
    assert [check for check in checks if not check.passed or check.relative_error > 1e-6] == []


def test_weighted_losses_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels, weights = 5 * rng.standard_normal((50, 4)), rng.integers(0, 4, 50), rng.random(50)
    loss, _ = RECORDS["classify"].mean_loss(scores, labels, None, weights)
    expected = log_loss(labels, softmax(scores), sample_weight=weights, labels=range(4))
    assert loss == pytest.approx(expected, rel=1e-12)
    targets = rng.standard_normal(50)
    loss, _ = RECORDS["regress"].mean_loss(scores[:, :1], targets, None, weights)
    assert loss == pytest.approx(mean_squared_error(targets, scores[:, 0], sample_weight=weights), rel=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_whole_weights_are_repeated_examples(head):
    """A sequence of weight 2 counts as if it stood there twice, and one of weight 0 as if it did not."""
    model = tiny_model("adapter", head)
    batch, labels = tiny_batch(model.config, head)
    weighted = model.loss_and_grads(batch, labels, weights=[2, 0, 1])
    again = model.loss_and_grads(batch.take([0, 0, 2]), labels[[0, 0, 2]])
    assert weighted[0] == pytest.approx(again[0], rel=1e-12)
    for name, grad in weighted[1].items():
        np.testing.assert_allclose(grad, again[1][name], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_without_weight_moves_nothing(head):
    model = tiny_model("head", head)
    loss, grads = model.loss_and_grads(*tiny_batch(model.config, head), weights=np.zeros(3))
    assert loss == 0 and not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize("wrong", [[1, 2], [1, 2, 3, -1], [1, 2, 3, np.nan], [1, 2, 3, np.inf], ["a"] * 4, [True] * 4])
def test_weights_that_cannot_be_used_are_refused(backbone, wrong):
    model, batch = make_model(backbone), encode(backbone, TEXTS)
    for compute in (model.loss, model.loss_and_grads):
        with pytest.raises(InputError, match="weights must be"):
            compute(batch, LABELS, weights=wrong)


@pytest.mark.parametrize("wrong", [np.ones(3), np.array([1, 1, 1, -1.0]), np.array([1, 1, 1, np.inf]), np.ones(4, int)])
def test_a_task_with_weights_that_cannot_be_used_is_refused(wrong):
    task = make_task(4)
    with pytest.raises(InputError, match=r"the train set has 4 texts and weights|the weights of the train set"):
        check_task(replace(task, train=replace(task.train, weights=wrong)))


def test_a_task_whose_weights_are_all_zero_is_refused():
    task = make_task(4)
    check_task(replace(task, train=replace(task.train, weights=np.array([0, 1.0, 0, 0]))))
    with pytest.raises(InputError, match="all weights of the train set are 0"):
        check_task(replace(task, train=replace(task.train, weights=np.zeros(4))))


def test_the_weights_of_examples_go_with_their_rows():
    task = make_task(6)
    examples = replace(task.train, weights=np.arange(6.0))
    assert examples.take([4, 1]).weights.tolist() == [4, 1] and task.train.take([4, 1]).weights is None
    assert data_fingerprint(replace(task, train=examples)) != data_fingerprint(task)


def test_a_window_has_the_weight_of_its_question():
    questions = Questions(["a", "b"], ["x", "y"], np.zeros((2, 2), np.int64), ["1", "2"], [(), ()])
    windows = Windows(None, None, np.array([0, 0, 1]), None, questions, 64)
    assert windows.weights is None
    assert replace(windows, questions=replace(questions, weights=np.array([3.0, 5.0]))).weights.tolist() == [3, 3, 5]


def test_a_training_uses_them(backbone, tmp_path):
    """The texts of one class alone: all are taken for it in the end. Weights of 1 are as none, but for rounding."""
    task = make_task()

    def outcome(name, weights):
        weighted = replace(task, train=replace(task.train, weights=weights))
        training = make_training(backbone, tmp_path / name, replace(CONFIG, lr=0.02, epochs=8), "head", weighted)
        return training.run(), training.model.predict(training.train.batch)[:, 1]

    _, one_class = outcome("one class", (task.train.labels == 1).astype(float))
    assert one_class.min() > 0.5 and 0 < task.train.labels.mean() < 1
    (plain, p), (equal, q) = outcome("plain", None), outcome("equal", np.full(20, 7.0))
    np.testing.assert_allclose(p, q, rtol=1e-3)
    assert plain["dev"] == equal["dev"] and p.min() < 0.5
