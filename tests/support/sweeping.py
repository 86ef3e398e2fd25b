"""What tests of sweeps share: trials, and what stands for run_trial where a test is not about training."""

import csv
import os
import signal
from pathlib import Path

from tiny import random_texts, write_csv, write_tiny_backbone

from minibert.evaluate import NonFiniteLoss
from minibert.lab.executors import InProcess
from minibert.lab.ledger import Ledger
from minibert.lab.sweep import run_trials
from minibert.run import run_trial
from minibert.trial import grid

RUNS = "MINIBERT_TEST_RUNS"  # the file to which `noted` adds a line a run; workers inherit it


def rows_of(path):
    """The rows of a CSV file, {column: text}."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_place(place):
    """A backbone and a data set, for tests that only read them."""
    write_tiny_backbone(place / "tiny.h5")
    texts, labels = random_texts(60)
    write_csv(place / "data.csv", {"text": texts, "label": labels})
    return place


def seeds_run():
    """The seeds of the trials that were run by `noted` or one that calls it, in their order."""
    file = Path(os.environ[RUNS])
    return [int(seed) for seed in file.read_text().split()] if file.exists() else []


def options(place, **more):
    """What makes a trial on the data set of `write_place`."""
    columns = {"text_column": "text", "label_column": "label"}
    return {"task": "csv", "data": place / "data.csv", **columns, "max_length": 24, "epochs": 1, **more}


def four_seeds(place):
    return grid(**options(place, seed=[0, 1, 2, 3]))


def sweep(place, path, trials, executor=None, **more):
    with Ledger(path) as ledger, executor or InProcess() as executor:
        return run_trials(trials, executor, ledger, place / "tiny.h5", **{"quiet": True, **more})


# What stands for run_trial where a test is not about training. Workers import them from here.


def noted(trial, backbone_path, folder):
    with open(os.environ[RUNS], "a") as file:
        file.write(f"{trial.train.seed}\n")
    numbers = {"trained_params": 1, "total_params": 2, "train_rows": 9, "wall_seconds": 1.0, "threads": 1}
    known = {"task": trial.task, "data": "d", "backbone": "b"}
    return {"metric": "accuracy", "dev": {"accuracy": 0.1 * trial.train.seed}, **known, **numbers}


def raises_for_seed_1(trial, backbone_path, folder):
    if trial.train.seed == 1:
        raise NonFiniteLoss("the loss is nan")
    return noted(trial, backbone_path, folder)


def interrupted_at_seed_2(trial, backbone_path, folder):
    if trial.train.seed == 2:
        raise KeyboardInterrupt
    return noted(trial, backbone_path, folder)


def dies_for_seed_1(trial, backbone_path, folder):
    result = noted(trial, backbone_path, folder)
    if trial.train.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def dies_once_for_seed_1(trial, backbone_path, folder):
    return (noted if 1 in seeds_run() else dies_for_seed_1)(trial, backbone_path, folder)


def wrong_name(trial, backbone_path, folder):
    return {**noted(trial, backbone_path, folder), "id": "of other data"}


def started_and_ended(trial, backbone_path, folder):
    """A real trial that leaves a line at its start and one at its end."""
    for moment in ("start", "end"):
        with open(os.environ[RUNS], "a") as file:
            file.write(f"{moment} {os.getpid()} {trial.train.seed}\n")
        if moment == "start":
            result = run_trial(trial, backbone_path, folder)
    return result


def statuses(records):
    return [record["status"] for record in records]


def command(place, ledger, *more):
    arguments = ["sweep", "--backbone", place / "tiny.h5", "--tasks", "csv", "--data", place / "data.csv"]
    arguments += ["--text-column", "text", "--label-column", "label", "--max-length", 24, "--ledger", ledger, *more]
    return [str(argument) for argument in arguments]
