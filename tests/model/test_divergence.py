"""What is advised where a loss is not finite depends on its cause."""

import re
from dataclasses import replace

import numpy as np
import pytest
from training_runs import CONFIG, at_step, make_task, make_training

from minibert.backbone import Backbone
from minibert.config import AdapterConfig
from minibert.data.task import Task
from minibert.evaluate import NonFiniteLoss
from minibert.model import Model
from minibert.params import FlatParams
from minibert.train import Training


def with_weights(backbone, name, value):
    """The backbone with one array of that size everywhere."""
    flat = {n: a.copy() for n, a in backbone.parameters().items()}
    flat[name] = np.where(flat[name] < 0, -value, value).astype(np.float32)
    return Backbone(backbone.config, flat, backbone.tokenizer, "abcdef" + 58 * "0")


def message(model, out, task=None, **settings):
    """How its training ends."""
    with pytest.raises(NonFiniteLoss) as error:
        Training(model, task or make_task(), replace(CONFIG, **settings), out, quiet=True).run()
    return str(error.value)


def test_a_rate_that_is_too_large(backbone, tmp_path):
    model = Model(backbone, "classify", 2, "full")
    told = message(model, tmp_path, lr=10.0, clip_norm=0.0, weight_decay=10.0, epochs=100, batch_size=4)
    assert told.endswith("Try a smaller --lr") and "step 1 " not in told


@pytest.mark.parametrize("method", ["adapter", "full", "head"])
@pytest.mark.parametrize("name", ["embeddings/word/W", "encoder/layers/1/feed_forward/norm/gamma"])
def test_weights_of_the_backbone(backbone, tmp_path, method, name):
    told = message(Model(with_weights(backbone, name, 3e38), "classify", 2, method), tmp_path)
    assert "step 1 of 12" in told and "before step 1: the weights of the backbone abcdef000000 give scores" in told
    assert "--lr" not in told


def test_weights_that_give_huge_scores_which_only_training_makes_infinite(backbone, tmp_path, monkeypatch):
    large = with_weights(backbone, "encoder/layers/1/feed_forward/norm/gamma", 1e25)
    training = make_training(large, tmp_path, method="full")
    at_step(monkeypatch, training, 4, lambda: (np.inf, FlatParams.zeros_like(training.model.trained())))
    with pytest.raises(NonFiniteLoss, match=r"step 5 of 12 .* the weights of the backbone abcdef000000 give scores"):
        training.run()


def test_adapters_that_start_too_large(backbone, tmp_path):
    model = Model(backbone, "classify", 2, adapter=AdapterConfig(64, init_std=10.0, depth=30))
    told = message(model, tmp_path)
    assert re.search(r"step 1 of 12 .* try a smaller --init-std than 10$", told)


def test_weights_are_not_blamed_on_large_adapters(backbone, tmp_path):
    large = with_weights(backbone, "embeddings/word/W", 3e38)
    told = message(Model(large, "classify", 2, adapter=AdapterConfig(8, init_std=0.1)), tmp_path)
    assert "the weights of the backbone" in told


def test_labels_that_are_too_large(backbone, tmp_path):
    examples = make_task().train
    labels = np.where(np.arange(20) % 2, 3e38, -1.0)
    examples = replace(examples, labels=labels)
    task = Task("scores", "regress", (), ("pearson",), examples, {"dev": examples})
    assert message(Model(backbone, "regress", 1), tmp_path, task).endswith(
        "labels go to 3e+38, so scale them to numbers near 1"
    )


def test_scores_of_dev(backbone, tmp_path, monkeypatch):
    """Training is sound, scoring is not, and was not before training."""
    monkeypatch.setattr(Model, "predict", lambda model, batch: np.full((len(batch), 2), np.nan, np.float32))
    assert "the weights of the backbone" in message(Model(backbone, "classify", 2), tmp_path)
