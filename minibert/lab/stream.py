"""Tasks in a stream, from one backbone: each adds its own few parameters, and none changes another (section 1)."""

from __future__ import annotations

import numpy as np

from minibert.evaluate import predict
from minibert.lab.experiment import Experiment, Keep, Measurement, Report, Scope, format_rows
from minibert.storage import add_task, read_bank
from minibert.trial import Trial


def stream(scope: Scope) -> Experiment:
    """Add one task after another to one bank file; after each, ask all earlier ones again and compare bit for bit."""
    trials = {task: scope.trial(task, "adapter", scope.seeds[0]) for task in scope.tasks}
    results = yield Keep(trials.values())
    trials = {task: trial for task, trial in trials.items() if trial in results}  # one that failed adds no task
    rows = yield Measurement("earlier tasks asked again", tuple(trials.values()), lambda: _added(scope, trials))
    return Report({"stream": rows}, format_rows(rows))


def _added(scope: Scope, trials: dict[str, Trial]) -> list[dict]:
    """Rows (added, metric, dev, trained %, total parameters, earlier tasks, unchanged), one a task of the stream."""
    bank = scope.runs / "stream.h5"
    bank.unlink(missing_ok=True)
    answers, rows, total = {}, [], scope.backbone_params
    for task, trial in trials.items():
        add_task(bank, scope.trained(trial))
        records = read_bank(bank)
        unchanged = sum(np.array_equal(answers[old], _ask(scope, trials[old], records[old])[0]) for old in answers)
        earlier = len(answers)
        answers[task], metric, value = _ask(scope, trial, records[task])
        own = records[task].n_params
        total += own
        rows.append(
            {
                "added": task,
                "metric": metric,
                "dev": 100 * value,
                "trained_percent": 100 * own / scope.backbone_params,
                "total_params": total / scope.backbone_params,
                "earlier_tasks": earlier,
                "unchanged": unchanged,
            }
        )
    return rows


def _ask(scope: Scope, trial, record) -> tuple[np.ndarray, str, float]:
    """What a task of the bank answers on its dev split, its metric, and its score."""
    model, split, (metric, *_) = scope.reopened(trial, record)
    answers = predict(model, split.batch)
    return answers, metric, split.score(answers, (metric,))[metric]
