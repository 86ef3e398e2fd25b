"""Method head reads each text once: the frozen features stand for the texts, and nothing else changes."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from small_models import make_model
from training_runs import CONFIG, Killed, at_step, kill, make_task, make_training, same_outcome

from minibert import model as model_module
from minibert.data.task import Examples, Task
from minibert.evaluate import evaluate, features, predict
from minibert.gradcheck import check_gradients, tiny_batch, tiny_model
from minibert.model import Model
from minibert.resume import resume
from minibert.text import Features
from minibert.train import Training
from minibert.trial import make_trial


@pytest.fixture
def passes(monkeypatch):
    """How many sequences went through the encoder, one number a pass."""
    seen, usual = [], model_module.encoder_forward

    def encoder_forward(batch, *rest):
        seen.append(len(batch))
        return usual(batch, *rest)

    monkeypatch.setattr(model_module, "encoder_forward", encoder_forward)
    return seen


def head_training(backbone, out, **settings):
    return make_training(backbone, out, replace(CONFIG, **{"lr": 0.05} | settings), "head", make_task(150, 90))


def test_every_text_is_read_once_and_that_is_said(backbone, tmp_path, passes, capsys):
    training = head_training(backbone, tmp_path / "head")
    training.quiet = False
    training.run()
    assert passes == [64, 64, 22, 64, 26]
    assert capsys.readouterr().out.startswith("the frozen encoder reads all texts once")
    passes.clear()
    other = make_training(backbone, tmp_path / "other", CONFIG, "layernorm")
    other.quiet = False
    other.run()
    assert "frozen encoder" not in capsys.readouterr().out
    assert len(passes) == 4 * (3 + 1)  # a step or a dev set each


def test_scores_have_the_same_bits_as_from_texts(backbone, tmp_path):
    training = head_training(backbone, tmp_path)
    texts = training.dev["dev"].batch
    result = training.run()
    assert isinstance(training.train.batch, Features) and training.train.batch.states.dtype == np.float32
    assert training.train.batch.states.shape == (150, backbone.config.hidden_size)
    assert predict(training.model, texts).tobytes() == predict(training.model, training.dev["dev"].batch).tobytes()
    read_again = training.tokenized(training.task.dev["dev"])
    assert evaluate(training.best_model(), read_again, training.metrics) == result["dev"]


@pytest.mark.parametrize("step", [0, 7, 41])
def test_a_run_that_was_killed_goes_on_bit_for_bit(backbone, tmp_path, monkeypatch, step):
    whole = head_training(backbone, tmp_path / "whole")
    whole.run()
    settings = replace(CONFIG, lr=0.05)
    killed = make_training(backbone, tmp_path / "killed", settings, "head", make_task(150, 90), steps=5)
    at_step(monkeypatch, killed, step, kill)
    with pytest.raises(Killed):
        killed.run()
    again = head_training(backbone, tmp_path / "killed")
    assert resume(again)
    assert 0 <= again.optimizer.steps <= step
    again.run()
    same_outcome(whole, again)


def test_ctrl_c_while_the_texts_are_read(backbone, tmp_path, monkeypatch):
    whole = head_training(backbone, tmp_path / "whole")
    whole.run()
    stopped = head_training(backbone, tmp_path / "stopped")
    usual = stopped.model.features
    monkeypatch.setattr(stopped.model, "features", lambda batch: os.kill(os.getpid(), signal.SIGINT) or usual(batch))
    assert stopped.run()["finished"] is False and stopped.optimizer.steps == 0
    again = head_training(backbone, tmp_path / "stopped")
    assert resume(again)
    assert again.run()["finished"] is True
    same_outcome(whole, again)


@pytest.mark.parametrize("pooler", [False, True], ids=["head alone", "with a pooler of its own"])
@pytest.mark.parametrize("head", ["classify", "regress"])
def test_gradients_from_features(head, pooler):
    """With dropout in the head alone; without any they are those from texts."""
    model = tiny_model("head", head, pooled=pooler, train_pooler=pooler)
    batch, labels = tiny_batch(model.config, head)
    read = model.features(batch)
    assert all(check.passed for check in check_gradients(model, read, labels, dropout_step=5))
    assert model.loss(read, labels, 5) != model.loss(read, labels) == model.loss(batch, labels)
    from_texts, from_features = (model.loss_and_grads(x, labels)[1] for x in (batch, read))
    assert all(np.array_equal(from_texts[name], from_features[name]) for name in model.trained())


def test_which_models_have_features(backbone):
    assert make_model(backbone, "head").has_features and make_model(backbone, "head", pooled=True).has_features
    assert not make_model(backbone, "head", head="span").has_features  # it reads every token
    for method in ("adapter", "full", "top_k", "layernorm"):
        model = make_model(backbone, method)
        assert not model.has_features
        with pytest.raises(RuntimeError, match="encoder is frozen"):
            model.features(backbone.encode(["tea"], max_length=8))


def test_features_are_taken_and_divided_as_batches_are(backbone):
    model = make_model(backbone, "head")
    read = features(model, backbone.encode(["tea", "a good film", "", "dull book"], max_length=3))
    assert (len(read), read.truncated, read.n_tokens) == (4, 2, 0)
    np.testing.assert_array_equal(read.take([2, 0]).states, read.states[[2, 0]])
    assert [len(part) for part in read.parts(3)] == [3, 1] and read.offsets.tolist() == [0, 1, 2, 3, 4]


def test_a_regression_learns_from_features(backbone, tmp_path):
    task = make_task(40)
    scores = np.array([float(len(text)) / 40 for text in task.train.texts], np.float32)
    examples = Examples(task.train.texts, None, scores)
    task = Task("lengths", "regress", (), ("pearson",), examples, {"dev": examples})
    config = replace(CONFIG, lr=0.05, epochs=60)
    result = Training(Model(backbone, "regress", 1, "head"), task, config, tmp_path, quiet=True).run()
    assert result["dev"]["pearson"] > 0.5


def test_its_defaults_are_those_of_a_linear_classifier_and_what_is_given_is_obeyed():
    usual = make_trial(task="opinions", method="head").train
    assert (usual.lr, usual.epochs, usual.weight_decay) == (3e-2, 50, 0.0)
    given = make_trial(task="opinions", method="head", lr=1e-3, epochs=5, weight_decay=0.01).train
    assert (given.lr, given.epochs, given.weight_decay) == (1e-3, 5, 0.01)
    assert make_trial(task="opinions").train.epochs == 10
