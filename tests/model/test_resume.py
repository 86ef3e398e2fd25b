"""A run that is ended at any moment goes on to the same bits, and what is not this very run is refused."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from tiny import FIXTURES
from training_runs import CONFIG, Killed, at_step, kill, make_task, make_training, result_of, same_outcome

from minibert.backbone import load_backbone
from minibert.config import TrainConfig
from minibert.data.task import Examples, Task
from minibert.errors import InputError
from minibert.evaluate import NonFiniteLoss
from minibert.model import Model
from minibert.progress import Saving, read_progress
from minibert.resume import is_finished, resume
from minibert.run import train_and_test
from minibert.storage import atomic, read_bank, read_state, write_bank, write_state
from minibert.train import Training


def ended(monkeypatch, training, step, action=kill):
    """The run, ended in that step (from 0)."""
    with monkeypatch.context() as patch:
        at_step(patch, training, step, action)
        with pytest.raises(Killed):
            training.run()
    return training


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("method", ["adapter", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("every", "step"), [(1, 1), (1, 5), (1, 6), (2, 5), (2, 8), (5, 3), (5, 7), (1, 11)])
def test_a_run_killed_within_an_epoch(backbone, tmp_path, monkeypatch, method, every, step):
    whole = make_training(backbone, tmp_path / "whole", method=method)
    whole.run()
    ended(monkeypatch, make_training(backbone, tmp_path / "killed", method=method, steps=every), step)
    again = make_training(backbone, tmp_path / "killed", method=method)
    assert resume(again)
    assert again.optimizer.steps == max(step - step % every, step - step % 3)
    again.run()
    same_outcome(whole, again)


@pytest.mark.parametrize("max_steps", [4, 6])
def test_a_run_of_few_steps_killed_after_its_last(backbone, tmp_path, monkeypatch, max_steps):
    config = replace(CONFIG, max_steps=max_steps)
    whole = make_training(backbone, tmp_path / "whole", config)
    whole.run()
    killed = make_training(backbone, tmp_path / "killed", config, steps=1)
    usual = killed.model.predict
    monkeypatch.setattr(killed.model, "predict", lambda b: kill() if killed.optimizer.steps == max_steps else usual(b))
    with pytest.raises(Killed):
        killed.run()
    again = make_training(backbone, tmp_path / "killed", config)
    assert resume(again) and again.optimizer.steps == max_steps
    again.run()
    same_outcome(whole, again)


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow), True], ids=["before", "after"])
def test_a_run_killed_at_each_file_it_writes(backbone, tmp_path, monkeypatch, after):
    task, config, usual = make_task(20, 8, 8), replace(CONFIG, epochs=2), os.replace

    def run(name, resumed, kill_at=0):
        training, writes = make_training(backbone, tmp_path / name, config, task=task, steps=2), []

        def replacing(source, target):
            writes.append(target)
            if after:
                usual(source, target)
            if len(writes) == kill_at:
                kill()
            if not after:
                usual(source, target)

        if resumed:
            resume(training)
        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, "replace", replacing)
            train_and_test(training)
        return training, len(writes)

    whole, n_writes = run("whole", resumed=False)
    assert "test" in result_of(whole.folder)
    assert n_writes >= 12  # result, history and state of both epochs, states of steps 2, 4, 6, a bank, first and last
    for n in range(1, n_writes + 1):
        with pytest.raises(Killed):
            run(str(n), resumed=False, kill_at=n)
        same_outcome(whole, run(str(n), resumed=True)[0])


def test_ctrl_c_keeps_the_steps_of_the_epoch_and_scoring_dev(backbone, tmp_path, monkeypatch):
    whole = make_training(backbone, tmp_path / "whole")
    whole.run()
    stopped = make_training(backbone, tmp_path / "stopped")
    usual = stopped.model.predict
    monkeypatch.setattr(
        stopped.model, "predict", lambda b: (stopped.optimizer.steps == 6 and press_ctrl_c()) or usual(b)
    )
    stopped.run()
    _, progress, epoch, _ = read_progress(stopped.folder.state)
    assert (progress.epoch, len(epoch.losses)) == (1, 3)
    again = make_training(backbone, tmp_path / "stopped")
    assert resume(again) and again.optimizer.steps == 6
    again.run()
    same_outcome(whole, again)


def test_a_second_ctrl_c_within_a_step_saves_nothing_half_done(backbone, tmp_path, monkeypatch):
    whole = make_training(backbone, tmp_path / "whole")
    whole.run()
    stopped = make_training(backbone, tmp_path / "stopped", steps=2)
    usual = stopped.optimizer.step

    def step(*arguments):
        usual(*arguments)
        if stopped.optimizer.steps == 6:
            press_ctrl_c()
            press_ctrl_c()

    monkeypatch.setattr(stopped.optimizer, "step", step)
    assert stopped.run()["finished"] is False
    again = make_training(backbone, tmp_path / "stopped")
    assert resume(again) and again.optimizer.steps == 4
    again.run()
    same_outcome(whole, again)


@pytest.mark.parametrize("action", [kill, press_ctrl_c])
def test_ended_while_the_test_split_is_scored(backbone, tmp_path, monkeypatch, action):
    task, config = make_task(20, 8, 8), replace(CONFIG, epochs=1)
    whole = make_training(backbone, tmp_path / "whole", config, task=task)
    train_and_test(whole)
    stopped = make_training(backbone, tmp_path / "stopped", config, task=task)
    usual, passes = Model.predict, []

    def predict(model, batch):
        passes.append(batch)
        return (len(passes) == 2 and action()) or usual(model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "predict", predict)
        if action is kill:
            with pytest.raises(Killed):
                train_and_test(stopped)
        else:
            assert train_and_test(stopped)["finished"] is False
    assert len(passes) == 2 and result_of(stopped.folder)["finished"] is False
    again = make_training(backbone, tmp_path / "stopped", config, task=task)
    assert not is_finished(again) and resume(again)
    assert train_and_test(again)["test"] == result_of(whole.folder)["test"]
    same_outcome(whole, again)


def test_killed_while_the_report_is_written(backbone, tmp_path):
    """The state goes last: the same command with --resume writes the report."""
    config, reported = replace(CONFIG, epochs=1), []

    def report(training, result):
        if not reported:
            reported.append("killed")
            kill()
        reported.append(result["finished"])

    with pytest.raises(Killed):
        make_training(backbone, tmp_path, config).run(report=report)
    again = make_training(backbone, tmp_path, config)
    assert not is_finished(again) and resume(again)
    assert again.run(report=report)["finished"] and reported == ["killed", True]
    assert is_finished(make_training(backbone, tmp_path, config))


def test_a_run_that_is_stopped_is_not_reported(backbone, tmp_path, monkeypatch):
    training, reported = make_training(backbone, tmp_path), []
    usual = training.model.predict
    monkeypatch.setattr(training.model, "predict", lambda batch: press_ctrl_c() or usual(batch))
    assert training.run(report=lambda *_: reported.append(1))["finished"] is False and reported == []


def test_a_test_split_whose_scores_are_not_finite_does_not_undo_training(backbone, tmp_path, monkeypatch):
    training = make_training(backbone, tmp_path, replace(CONFIG, epochs=1))

    def score_test(_):
        raise NonFiniteLoss("scores that are NaN")

    with pytest.raises(NonFiniteLoss):
        training.run(score_test)
    assert result_of(training.folder)["finished"] is True and not training.folder.state.exists()


@pytest.mark.parametrize("name", ["result.json", "history.csv"])
@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("{torn")])
def test_files_that_the_state_gives_again(backbone, tmp_path, monkeypatch, name, damage):
    whole = make_training(backbone, tmp_path / "whole")
    whole.run()
    killed = ended(monkeypatch, make_training(backbone, tmp_path / "killed"), 7)
    damage(killed.folder.path / name)
    again = make_training(backbone, tmp_path / "killed")
    assert resume(again)
    again.run()
    same_outcome(whole, again)


def test_nothing_saved_yet(backbone, tmp_path, capsys):
    training = make_training(backbone, tmp_path / "run")
    training.quiet = False
    assert resume(training) is False
    assert "nothing of this run was saved yet" in capsys.readouterr().out
    assert training.optimizer.steps == 0 and not (tmp_path / "run").exists()


def test_a_finished_run(backbone, tmp_path):
    make_training(backbone, tmp_path).run()
    assert is_finished(make_training(backbone, tmp_path))
    longer = make_training(backbone, tmp_path, replace(CONFIG, epochs=9))
    assert not is_finished(longer)
    with pytest.raises(InputError, match=r"finished run: train/epochs was 4, now it is 9; to train longer, .*--epochs"):
        resume(longer)
    assert resume(longer, replace=True) is False


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": replace(CONFIG, lr=1e-3)}, "train/lr was 0.003, now it is 0.001"),
        ({"config": replace(CONFIG, epochs=9)}, "train/epochs was 4, now it is 9; .*to train longer"),
        ({"method": "layernorm"}, "method was 'adapter', now it is 'layernorm'"),
        ({"task": make_task(20, 5)}, "the texts or labels are not those"),
        ({"task": make_task(21)}, "train_rows"),
    ],
)
def test_other_settings_are_refused(backbone, tmp_path, monkeypatch, change, named):
    stopped = ended(monkeypatch, make_training(backbone, tmp_path), 4)
    before = stopped.folder.state.read_bytes()
    with pytest.raises(InputError, match=f"cannot resume: {named}"):
        resume(make_training(backbone, tmp_path, **change))
    assert stopped.folder.state.read_bytes() == before
    assert resume(make_training(backbone, tmp_path, **change), replace=True) is False


def test_a_run_that_began_with_an_older_default_is_told_it(backbone, tmp_path, monkeypatch):
    older, usual = replace(CONFIG, epochs=5), replace(CONFIG, epochs=TrainConfig.epochs)
    ended(monkeypatch, make_training(backbone, tmp_path, config=older), 4)
    with pytest.raises(
        InputError, match=r"train/epochs was 5 \(then the default\), now it is 10; give the settings of"
    ):
        resume(make_training(backbone, tmp_path, config=usual))
    assert resume(make_training(backbone, tmp_path, config=older))


# ------------------------------------------------------------------------------------------------ a bank that is wrong


def without(bank):
    bank.unlink()


def cut(bank):
    bank.write_bytes(bank.read_bytes()[:1000])


def of_another_task(bank):
    (record,) = read_bank(bank).values()
    write_bank(bank, {"other": replace(record, name="other")})


def of_another_run(bank):
    (record,) = read_bank(bank).values()
    settings = record.training | {"backbone": "0" * 64}
    write_bank(bank, {record.name: replace(record, training=settings)})


WRONG = {
    without: "no such file",
    cut: "bank.h5",
    of_another_task: "is not the bank of this run .it has no task 'byheart'",
    of_another_run: "is not the bank of this run .the backbone's weights are not those",
}


@pytest.mark.parametrize("damage", WRONG)
@pytest.mark.parametrize("finished", [False, True], ids=["killed", "finished"])
def test_a_bank_that_is_wrong(backbone, tmp_path, monkeypatch, damage, finished):
    training = make_training(backbone, tmp_path)
    training.run() if finished else ended(monkeypatch, training, 7)
    damage(training.folder.bank)
    with pytest.raises(InputError, match=rf"{WRONG[damage]}.*start it again with --force, not --resume"):
        (is_finished if finished else resume)(make_training(backbone, tmp_path))


def test_a_bank_that_is_not_needed_yet(backbone, tmp_path, monkeypatch):
    whole = make_training(backbone, tmp_path / "whole")
    whole.run()
    killed = ended(monkeypatch, make_training(backbone, tmp_path / "killed", steps=1), 2)
    killed.folder.bank.write_bytes(b"half of a bank")
    again = make_training(backbone, tmp_path / "killed")
    assert resume(again) and again.optimizer.steps == 2
    again.run()
    same_outcome(whole, again)


def test_a_bank_of_an_earlier_epoch_is_not_scored_as_the_best(backbone, tmp_path):
    training = make_training(backbone, tmp_path, replace(CONFIG, epochs=1))
    training.run()
    (record,) = read_bank(training.folder.bank).values()
    write_bank(training.folder.bank, {record.name: replace(record, dev={"accuracy": 0.125})})
    with pytest.raises(InputError, match="does not hold epoch 1 of this run any more"):
        training.best_model()


# ------------------------------------------------------------------------------------------------- the state's records


def write_meta(training, change):
    """Change what the state of a run holds."""
    arrays, meta = read_state(training.folder.state)
    change(arrays, meta)
    write_state(training.folder.state, arrays, meta)


STATES = {
    "no progress": lambda arrays, meta: meta.pop("progress"),
    "progress is a list": lambda arrays, meta: meta.update(progress=[]),
    "no epoch number": lambda arrays, meta: meta["progress"].pop("epoch"),
    "a number is text": lambda arrays, meta: meta["progress"].update(steps="3"),
    "unknown": lambda arrays, meta: meta["progress"].update(colour=1),
    "history of text": lambda arrays, meta: meta["progress"].update(history=["x"]),
    "no settings": lambda arrays, meta: meta.pop("settings"),
    "epoch is text": lambda arrays, meta: meta.update(epoch="x"),
    "too many epochs": lambda arrays, meta: meta["progress"].update(epoch=5),
    "too many steps": lambda arrays, meta: arrays.update(losses=np.ones(4)),
    "no such array": lambda arrays, meta: arrays.pop("m/head/W"),
    "an array too many": lambda arrays, meta: arrays.update(x=np.ones(2)),
    "another shape": lambda arrays, meta: arrays.update({"v/head/W": np.ones((3, 2), np.float32)}),
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_a_state_that_is_wrong(backbone, tmp_path, monkeypatch, change):
    write_meta(ended(monkeypatch, make_training(backbone, tmp_path, steps=2), 5), change)
    again = make_training(backbone, tmp_path)
    start = {name: a.copy() for name, a in again.model.trained().items()}
    with pytest.raises(InputError, match=r"state\.h5(: |, )"):
        resume(again)
    assert all(np.array_equal(start[name], a) for name, a in again.model.trained().items())


def test_a_state_of_version_1_goes_on(tmp_path):
    """tests/fixtures/record_older.py wrote it; the bank of that run was not kept, so its first epoch is run again.

    It is of method head, which is another computation now: so it goes on only if it says what it does not."""
    texts = [
        "the film was good.",
        "a very dull book",
        "not bad",
        "the books is fine. is the film fine",
        "unknown words",
    ]
    examples = Examples(texts, None, np.array([1, 0, 1, 1, 0]))
    task = Task("opinion", "classify", ("no", "yes"), ("accuracy",), examples, {"dev": examples})
    config = TrainConfig(lr=5e-2, epochs=2, batch_size=2, max_length=20)

    def make():
        model = Model(load_backbone(FIXTURES / "older_backbone.h5"), "classify", 2, "head", seed=1)
        return Training(model, task, config, tmp_path, quiet=True, saving=Saving())

    first = make()
    first._epoch()
    shutil.copy(FIXTURES / "older_state.h5", first.folder.state)
    with pytest.raises(InputError, match="whose encoder had dropout where the head alone trains"):
        resume(make())
    write_meta(first, lambda arrays, meta: meta["settings"].update(features=True))
    again = make()
    assert resume(again) and again.optimizer.steps == 3
    for name, array in first.model.trained().items():
        np.testing.assert_allclose(again.model.trained()[name], array, rtol=1e-4, atol=1e-6)
    assert again.run()["finished"] is True
    assert json.loads(again.folder.result.read_text())["best_epoch"] >= 1
