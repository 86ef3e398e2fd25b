"""The scale of a regression's scores, and what to do where a head hardly reaches it."""

from __future__ import annotations

import math

import numpy as np

from minibert.data.task import Task

FAR, NARROW = 10.0, 0.1  # a mean or a standard deviation beyond FAR, or a standard deviation below NARROW


def scale_notes(task: Task) -> list[str]:
    """A note on training scores far from 0 and 1, where a head starts and Adam's steps have their size; none for a
    task without scores, and for scores that are all the same. Trained is on the scores as they are."""
    if task.labels or task.train.labels.ndim != 1:
        return []
    scores = task.train.labels.astype(np.float64)
    mean, spread = float(scores.mean()), float(scores.std())
    if spread == 0 or (abs(mean) <= FAR and NARROW <= spread <= FAR):
        return []
    digits = 2 - math.floor(math.log10(spread))  # three of the spread, and the mean as exactly
    shift, scale = (f"{round(x, digits):.12g}" for x in (mean, spread))
    return [
        f"the training scores have mean {shift} and standard deviation {scale}; a head starts near 0 and learns best "
        f"near 1, so it may not reach them. Train on (score - {shift}) / {scale}, and turn each prediction back: "
        f"prediction * {scale} + {shift}".replace("- -", "+ ").replace("+ -", "- ")
    ]
