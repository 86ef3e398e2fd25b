"""Training end to end on a tiny random backbone: it learns, keeps the best, stops well, and goes on bit for bit."""

import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from tiny import write_tiny_backbone
from training_runs import CONFIG, at_step, history_of, make_task, make_training, same_outcome

import kernels
from kernels.runtime.warm_up import warm_up
from minibert import train as train_module
from minibert.backbone import load_backbone
from minibert.config import METHODS
from minibert.evaluate import NonFiniteLoss, evaluate, tokenize
from minibert.interrupt import CtrlC
from minibert.params import FlatParams, flatten
from minibert.resume import resume
from minibert.storage import read_bank, read_state

KEYS = ["task", "method", "seed", "lr", "epochs", "adapter_size", "trained_params", "total_params", "trained_fraction"]
KEYS += ["dev", "best_epoch", "steps", "seconds", "tokens_per_second", "finished"]


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.h5")


@pytest.fixture(scope="module")
def backbone(backbone_file):
    return load_backbone(backbone_file)


@pytest.mark.parametrize(
    ("method", "lr", "least"),
    [("adapter", 2e-2, 1.0), ("full", 3e-3, 1.0), ("top_k", 3e-3, 0.95), ("layernorm", 0.1, 0.95), ("head", 0.1, 0.8)],
)
def test_each_method_learns_twenty_texts_by_heart(backbone, tmp_path, method, lr, least):
    training = make_training(backbone, tmp_path, replace(CONFIG, lr=lr, epochs=60), method)
    frozen = {name: a.copy() for name, a in flatten(backbone.params).items()}
    result = training.run()
    assert result["dev"]["accuracy"] >= least
    assert result["steps"] == 60 * 3
    assert all(np.array_equal(frozen[name], a) for name, a in flatten(backbone.params).items())


@pytest.mark.skipif(kernels.BACKEND != "numba", reason="the reference is not compiled")
def test_everything_is_compiled_before_the_first_step(backbone, tmp_path):
    from kernels.runtime.compiling import KERNELS

    def compiled():
        return {kernel.__name__: len(kernel.signatures) for kernel in KERNELS}

    warm_up()
    before = compiled()
    for method in METHODS:
        make_training(backbone, tmp_path / method, replace(CONFIG, epochs=1), method).run()
    assert compiled() == before


def test_the_run_folder(backbone, backbone_file, tmp_path):
    before = backbone_file.read_bytes()
    training = make_training(backbone, tmp_path / "deep" / "run")
    result = training.run()
    folder = training.folder
    assert sorted(file.name for file in folder.path.iterdir()) == ["bank.h5", "history.csv", "result.json"]
    on_disk = json.loads(folder.result.read_text())
    assert on_disk == json.loads(json.dumps(result))
    assert set(KEYS) <= set(on_disk)
    assert on_disk["finished"] is True
    assert on_disk["trained_params"] == sum(a.size for a in training.model.trained().values())
    assert on_disk["trained_fraction"] == on_disk["trained_params"] / on_disk["total_params"]
    rows = history_of(folder)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6"), ("3", "9"), ("4", "12")]
    assert folder.bank.stat().st_size < 4 * on_disk["trained_params"] + 60_000
    assert backbone_file.read_bytes() == before


def test_the_best_epoch_is_kept_not_the_last(backbone, tmp_path, monkeypatch):
    scores = iter([0.5, 0.9, 0.7, 0.9])  # the second 0.9 is not better than the first
    training, weights = make_training(backbone, tmp_path), []

    def scripted(model, splits, metrics):
        weights.append({name: a.copy() for name, a in model.trained().items()})
        return {"accuracy": next(scores)}

    monkeypatch.setattr(train_module, "evaluate_all", scripted)
    result = training.run()
    assert (result["best_epoch"], result["dev"]) == (2, {"accuracy": 0.9})
    kept = read_bank(training.folder.bank)["byheart"]
    assert kept.dev == {"accuracy": 0.9}
    assert all(np.array_equal(kept.params[name], a) for name, a in weights[1].items())
    assert not all(np.array_equal(kept.params[name], a) for name, a in weights[3].items())


def test_the_bank_gives_the_score_again(backbone, tmp_path):
    training = make_training(backbone, tmp_path, task=make_task(20, 30))
    result = training.run()
    split = tokenize(backbone, training.task.dev["dev"], CONFIG.max_length)
    assert evaluate(training.best_model(), split, ("accuracy",)) == result["dev"]


@pytest.mark.parametrize("step", [0, 1, 3, 7, 11])
@pytest.mark.parametrize("method", ["adapter", pytest.param("full", marks=pytest.mark.slow)])
def test_ctrl_c_then_resume_is_bit_for_bit_a_run_without(backbone, tmp_path, monkeypatch, method, step):
    whole = make_training(backbone, tmp_path / "whole", method=method)
    whole.run()
    stopped = make_training(backbone, tmp_path / "stopped", method=method)
    at_step(monkeypatch, stopped, step, lambda: os.kill(os.getpid(), signal.SIGINT))
    result = stopped.run()
    folder = stopped.folder
    assert stopped.optimizer.steps == step + 1
    assert result["finished"] is False and json.loads(folder.result.read_text())["finished"] is False
    assert result["best_epoch"] == 0 if step < 2 else result["best_epoch"] > 0
    assert read_bank(folder.bank)["byheart"].dev == result["dev"]
    assert stopped.best_model().predict(stopped.train.batch.take([0])).shape == (1, 2)
    again = make_training(backbone, tmp_path / "stopped", method=method)
    assert resume(again)
    assert again.optimizer.steps == step + 1 and again.progress.epoch == step // 3
    assert again.run()["finished"] is True
    assert not folder.state.exists()
    same_outcome(whole, again)


def test_ctrl_c_twice_does_not_wait(backbone, tmp_path, monkeypatch):
    training = make_training(backbone, tmp_path)

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second Ctrl-C did not interrupt")

    at_step(monkeypatch, training, 4, twice)
    assert training.run()["finished"] is False
    assert training.optimizer.steps == 4


def test_ctrl_c_while_dev_is_scored(backbone, tmp_path, monkeypatch):
    whole = make_training(backbone, tmp_path / "whole")
    whole.run()
    stopped = make_training(backbone, tmp_path / "stopped")
    usual = stopped.model.predict

    def predict(batch):
        if stopped.optimizer.steps == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(batch)

    monkeypatch.setattr(stopped.model, "predict", predict)
    assert stopped.run()["best_epoch"] == 1
    again = make_training(backbone, tmp_path / "stopped")
    assert resume(again)
    again.run()
    same_outcome(whole, again)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_good_epoch(backbone, tmp_path, monkeypatch):
    training = make_training(backbone, tmp_path)
    at_step(monkeypatch, training, 4, lambda: (math.nan, FlatParams.zeros_like(training.model.trained())))
    with pytest.raises(NonFiniteLoss, match=r"step 5 of 12 \(epoch 2\).*bank.h5 holds epoch 1"):
        training.run()
    result = json.loads(training.folder.result.read_text())
    assert (result["finished"], result["best_epoch"]) == (False, 1)
    assert len(history_of(training.folder)) == 1
    record = read_bank(training.folder.bank)["byheart"]
    arrays, _ = read_state(training.folder.state)
    assert all(np.array_equal(arrays[f"params/{name}"], a) for name, a in record.params.items())


def test_a_gradient_that_is_not_finite_moves_nothing(backbone, tmp_path, monkeypatch):
    training = make_training(backbone, tmp_path)
    start = {name: a.copy() for name, a in training.model.trained().items()}
    bad = FlatParams.zeros_like(start)
    bad.all[:] = np.inf
    at_step(monkeypatch, training, 0, lambda: (0.5, bad))
    with pytest.raises(NonFiniteLoss, match=r"step 1 of 12 .*No epoch was finished, and no bank written"):
        training.run()
    assert all(np.array_equal(start[name], a) for name, a in training.model.trained().items())
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_not_finite_are_no_scores(backbone, tmp_path, monkeypatch):
    training = make_training(backbone, tmp_path)
    monkeypatch.setattr(training.model, "predict", lambda batch: np.full((len(batch), 2), np.nan, np.float32))
    with pytest.raises(NonFiniteLoss, match="scores that are NaN"):
        training.run()


def test_max_steps_ends_early_scores_and_saves(backbone, tmp_path):
    training = make_training(backbone, tmp_path, replace(CONFIG, max_steps=5))
    result = training.run()
    assert (result["steps"], result["finished"], len(history_of(training.folder))) == (5, True, 2)
    assert result["dev"] == read_bank(training.folder.bank)["byheart"].dev != {}


def test_ctrl_c_that_nobody_checked_for_is_not_lost():
    with pytest.raises(KeyboardInterrupt), CtrlC():
        os.kill(os.getpid(), signal.SIGINT)
    with CtrlC() as around:
        with CtrlC():
            os.kill(os.getpid(), signal.SIGINT)
        assert around.pressed
        with pytest.raises(KeyboardInterrupt):
            around.check()
        around.pressed = False
