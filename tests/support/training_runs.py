"""What tests of training runs share: a small run, an accident at one of its steps, whether two runs gave the same."""

import csv
import json

import numpy as np
from small_models import options_of
from tiny import random_texts

from minibert.config import TrainConfig
from minibert.data.task import Examples, Task
from minibert.model import Model
from minibert.progress import Saving
from minibert.storage import read_bank
from minibert.train import Training

CONFIG = TrainConfig(lr=3e-3, epochs=4, batch_size=8, max_length=24)  # 3 steps an epoch, with the 20 texts of make_task
CLOCKS = ("seconds", "tokens_per_second", "wall_seconds")  # what no two runs share


class Killed(BaseException):
    """The process ends here."""


def kill():
    raise Killed


def make_task(n=20, n_dev=None, n_test=0):
    """n random texts; dev is the training set itself, unless n_dev says that it is others; so is test, if any."""
    texts, labels = random_texts(n + (n_dev or 0) + n_test)
    examples = Examples(texts, None, np.array([label == "yes" for label in labels], np.int64))
    dev = examples.take(range(n)) if n_dev is None else examples.take(range(n, n + n_dev))
    test = examples.take(range(len(texts) - n_test, len(texts))) if n_test else None
    return Task("byheart", "classify", ("no", "yes"), ("accuracy",), examples.take(range(n)), {"dev": dev}, test)


def make_training(backbone, out, config=CONFIG, method="adapter", task=None, steps=0):
    """steps: write the state every so many steps, too."""
    model = Model(backbone, "classify", 2, method, **options_of(method, size=16))
    return Training(model, task or make_task(), config, out, quiet=True, saving=Saving(steps=steps))


def at_step(monkeypatch, training, step, action):
    """Call action() in place of that step (from 0)."""
    usual = training.model.loss_and_grads

    def loss_and_grads(batch, labels, dropout_step=None, weights=None):
        result = usual(batch, labels, dropout_step, weights)
        return (action() or result) if dropout_step == step else result

    monkeypatch.setattr(training.model, "loss_and_grads", loss_and_grads)


def history_of(folder):
    """history.csv without the column of seconds."""
    with open(folder.history, newline="") as file:
        return [{key: value for key, value in row.items() if key not in CLOCKS} for row in csv.DictReader(file)]


def result_of(folder):
    """result.json without what a clock says."""
    return {key: value for key, value in json.loads(folder.result.read_text()).items() if key not in CLOCKS}


def same_outcome(one, other):
    """Banks, histories and results are equal, bit for bit, and nothing else was left. Both are finished."""
    first, second = (read_bank(run.folder.bank)[one.task.name] for run in (one, other))
    assert first.dev == second.dev and first.params.keys() == second.params.keys()
    assert all(first.params[name].tobytes() == second.params[name].tobytes() for name in first.params)
    assert history_of(one.folder) == history_of(other.folder)
    assert result_of(one.folder) == result_of(other.folder)
    for run in (one, other):
        assert sorted(file.name for file in run.folder.path.iterdir()) == ["bank.h5", "history.csv", "result.json"]
