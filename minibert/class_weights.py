"""Classes that count more or less in the loss: --class-weights balanced, or NAME=W,… (the others count 1)."""

from __future__ import annotations

import math

import numpy as np

from minibert.config import BALANCED
from minibert.data.labels import show
from minibert.data.task import Task
from minibert.errors import InputError, list_some, shown


def class_weights(given: tuple[str, ...], task: Task) -> dict[str, float]:
    """{class: weight}; {} if none are given.

    balanced: n / (C n_c) for n training rows, of which n_c are of class c, and C classes that they show, as in
    scikit-learn: all classes weigh the same together. Raises InputError if the task has no classes, or no such one.
    """
    if not given:
        return {}
    if task.labels and task.train.labels.ndim > 1:
        raise InputError(f"--class-weights: a row of task {task.name} may have several labels; they cannot be weighted")
    if not task.labels:
        raise InputError(f"--class-weights: task {task.name} has no classes")
    if given == (BALANCED,):
        counts = np.bincount(task.train.labels, minlength=len(task.labels))
        each = len(task.train) / np.count_nonzero(counts)
        return {name: float(each / n) if n else 1.0 for name, n in zip(task.labels, counts, strict=True)}
    weights = dict.fromkeys(task.labels, 1.0)
    for name, weight in map(parse_weight, given):
        if name not in weights:
            there = list_some(map(shown, task.labels))
            raise InputError(f"--class-weights: there is no class {shown(name)}; the classes are {there}")
        weights[name] = weight
    return weights


def parse_weight(text: str) -> tuple[str, float]:
    """NAME=W as (name, weight above 0). Raises InputError."""
    name, equals, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not equals or not 0 < weight < math.inf:
        wanted = f"{BALANCED}, or NAME=W,… with numbers above 0"
        comma = "" if equals else "; if a name has a comma, enclose it and its weight in double quotes"
        raise InputError(f"--class-weights must be {wanted}; got {shown(text)}{comma}")
    return name.strip(), weight


def with_class_weights(weights: dict[str, float], task: Task) -> np.ndarray | None:
    """The weights of the training rows in the loss (N,): those that they have, times that of their class."""
    if not weights:
        return task.train.weights
    of_class = np.array(list(weights.values()))[task.train.labels]
    return of_class if task.train.weights is None else of_class * task.train.weights


def weight_lines(weights: dict[str, float]) -> list[str]:
    """What is printed before training: the weights, if there are any."""
    told = [f"{show(name)} {weight:.4g}" for name, weight in weights.items()]
    return [f"class weights: {list_some(told, 20)}"] if told else []
