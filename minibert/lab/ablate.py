"""Remove trained adapters from a span of layers, without training again: the heatmaps of figure 6 (section 3.6).

An adapter is a skip connection with something added, so without it a layer is the pre-trained one, but for its
LayerNorms. How much a task's score falls shows where its adapters do their work.
"""

from __future__ import annotations

import math

import numpy as np
from tqdm import tqdm

from minibert.errors import InputError
from minibert.evaluate import Split, evaluate
from minibert.model import Model


def ablated_scores(model: Model, split: Split, metric: str) -> tuple[float, np.ndarray]:
    """The score with all adapters, and scores[i, j] without those of layers i to j, both counted in.   (L, L)

    Below the diagonal there is no span: NaN. Raises InputError if the model has no adapters.
    """
    if model.adapter is None:
        raise InputError(f"the task was trained with method {model.method}: it has no adapters to remove")
    n_layers = model.config.n_layers
    spans = [(i, j) for i in range(n_layers) for j in range(i, n_layers)]
    scores = np.full((n_layers, n_layers), np.nan)
    for i, j in tqdm(spans, unit="span", leave=False, disable=None):
        scores[i, j] = evaluate(model.without_adapters(range(i, j + 1)), split, (metric,))[metric]
    return evaluate(model, split, (metric,))[metric], scores


def ablation_metric(metrics: tuple[str, ...]) -> str:
    """Accuracy where the task has it, as in the paper: F1 hardly falls when all is answered alike. Else the first."""
    return "accuracy" if "accuracy" in metrics else metrics[0]


def ablation_rows(task: str, metric: str, full: float, scores: np.ndarray) -> list[dict]:
    """One row a span, for a CSV file: the score without its adapters, that with all, and the `changes` between them."""
    n_layers = len(scores)
    return [
        {"task": task, "first": i, "last": j, metric: scores[i, j], "full": full, **changes(scores[i, j], full)}
        for i in range(n_layers)
        for j in range(i, n_layers)
    ]


def changes(score: float, full: float) -> dict[str, float]:
    """change: how far the score is above `full`, that with all adapters, times 100; relative: the same in percent of
    the size of `full`, NaN if that is 0."""
    return {"change": 100 * (score - full), "relative": 100 * (score - full) / abs(full) if full else math.nan}


def format_heatmap(full: float, scores: np.ndarray) -> str:
    """The changes of the score, times 100, as a table: a row for the first layer removed, a column for the last."""
    n_layers = len(scores)
    lines = ["first \\ last" + "".join(f"{j:>8}" for j in range(n_layers))]
    for i in range(n_layers):
        cells = (f"{100 * (scores[i, j] - full):+8.1f}" if j >= i else " " * 8 for j in range(n_layers))
        lines.append(f"{i:>12}" + "".join(cells))
    return "\n".join(lines)
