"""report.html: what a finished run was, on one page that needs nothing else, no network and no script.

here         what it says: settings, scores, the classes, its most confident errors
page.py      how it is written: everything that comes from files is escaped
curves.py    the learning curves, drawn by matplotlib (extra: plots) as SVG that stands in the page
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from minibert.class_scores import MOST_CLASSES, score_rows
from minibert.evaluate import Split, format_scores, predict
from minibert.methods import parameter_table, percent
from minibert.params import flatten
from minibert.report import page
from minibert.report.curves import check_matplotlib, learning_curves
from minibert.storage import write_text
from minibert.train import Training

MOST_WRONG = 20  # texts


def write_report(training: Training, result: dict, notes: Sequence[str]) -> None:
    """Write RUN/report.html of a run that is finished. notes: what was told before its first step. Raises InputError:
    matplotlib is not installed, or the bank does not hold the run's best epoch."""
    check_matplotlib()
    sections = [
        page.section("Scores", *_scores(training, result)),
        page.section("Learning curves", *learning_curves(training.progress.history, training.progress.best_epoch)),
        *_about_dev(training),
        page.section("What was trained", _trained(training)),
        page.section("Settings", _settings(training)),
    ]
    if notes:
        sections.append(page.section("Notes", page.bullets(notes)))
    title = f"{training.task.name}, {training.model.method}, seed {training.config.seed}"
    write_text(training.folder.report, page.page(title, sections))


def _scores(training: Training, result: dict) -> list[str]:
    splits = {"train": training.task.train, **training.task.dev, "test": training.task.test}
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in splits.items() if examples is not None)
    rows = [[split, format_scores(result[split])] for split in ("dev", "test") if result.get(split)]
    trained, total = result["trained_params"], result["total_params"]
    share = f"{trained:,} of {total:,} ({percent(trained, total)} %)"
    ended = f", ended after epoch {training.progress.epoch} (--patience)" if training.out_of_patience else ""
    rows += [["best epoch", f"{result['best_epoch']} of {result['epochs']}{ended}"], ["rows", sizes]]
    rows += [["parameters trained", share], ["time", f"{result['seconds']:.0f} s"]]
    return [page.table(None, rows)]


def _trained(training: Training) -> str:
    shapes = {name: a.shape for name, a in training.model.parameters().items()}
    groups = parameter_table(shapes, set(training.model.trained()))
    rows = [[group, f"{n:,}", f"{used:,}", f"{percent(used, groups[-1][1])} %"] for group, n, used in groups]
    return page.table(["group", "parameters", "trained", "of all"], rows, numbers=(1, 2, 3))


def _settings(training: Training) -> str:
    flat = flatten({name: value for name, value in training.settings.items() if value not in (None, {}, [])})
    return page.table(["setting", "value"], [[name, _value(value)] for name, value in flat.items()])


def _value(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# ---------------------------------------------------------------------------------------------------------- dev rows


def _about_dev(training: Training) -> Iterator[str]:
    """Sections on the dev split that chose the epoch, predicted by that epoch again."""
    name, split = next(iter(training.dev.items()))
    if not isinstance(split, Split):  # questions: there are no classes, and texts are whole paragraphs
        return
    outputs = predict(training.best_model(), split.batch)
    report = split.report(outputs)
    if report is not None:
        yield page.section(f"Classes ({name})", _classes(report))
        if "confusion" in report:
            yield page.section("Confusion", *_confusion(report))
    rows = _wrong(training, split, outputs)
    yield page.section(
        "Most confident errors" if training.task.labels else "Largest errors", *_wrong_texts(training, name, rows)
    )


def _classes(report: dict) -> str:
    classes, averages = score_rows(report)
    head = ["class", "precision", "recall", "F1", "support"]
    rows = [[*row, f"{support:,}"] for *row, support in classes]
    return page.table(head, [*rows, *averages], numbers=(1, 2, 3, 4), last=len(averages))


def _confusion(report: dict) -> list[str]:
    names, counts = [c["class"] for c in report["classes"]], np.array(report["confusion"])
    if len(names) <= MOST_CLASSES:
        return [page.text("A row for each label, a column for each prediction."), page.matrix(names, counts)]
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES]
    pairs = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
    rows = [[names[label], names[guess], str(wrong[label, guess])] for label, guess in pairs]
    told = f"{len(names)} classes: the confusions that are most frequent."
    return [page.text(told), page.table(["label", "taken for", "rows"], rows, numbers=(2,))]


def _wrong(training: Training, split: Split, outputs: np.ndarray) -> list[tuple[int, str, str, str]]:
    """(row, label, prediction, how sure) of rows that are wrong, the surest first; of scores, the largest errors."""
    labels, names = np.asarray(split.labels), training.task.labels
    if outputs.ndim == 1:
        error = np.abs(outputs - labels)
        rows = np.argsort(-error, kind="stable")[:MOST_WRONG]
        return [(i, f"{labels[i]:.4g}", f"{outputs[i]:.4g}", f"{error[i]:.4g}") for i in rows if error[i] > 0]
    if labels.ndim == 2:  # one of several labels: present with a low probability, or absent with a high one
        sure = np.where(split.predicted(outputs) != labels, np.abs(outputs - labels), 0.0)
        worst = sure.argmax(axis=1)
    else:
        worst = outputs.argmax(axis=1)
        sure = np.where((worst != labels)[:, None], outputs, 0.0)
    sure = sure[np.arange(len(sure)), worst]
    found = []
    for i in np.argsort(-sure, kind="stable")[:MOST_WRONG]:
        if sure[i] > 0:
            name = names[worst[i]]
            if labels.ndim == 2:
                has, says = (f"{name}: yes", f"{name}: no") if labels[i, worst[i]] else (f"{name}: no", f"{name}: yes")
            else:
                has, says = names[labels[i]], name
            found.append((i, has, says, f"{sure[i]:.4f}"))
    return found


def _wrong_texts(training: Training, name: str, rows: list[tuple[int, str, str, str]]) -> list[str]:
    examples = training.task.dev[name]
    if not rows:
        return [page.text(f"No {name} text is wrong.")]
    texts = [examples.texts[i] if examples.pairs is None else [examples.texts[i], examples.pairs[i]] for i, *_ in rows]
    cells = [[text, *row[1:]] for text, row in zip(texts, rows, strict=True)]
    sure = "probability" if training.task.labels else "error"
    return [
        page.text(f"{len(rows)} of {len(examples):,} {name} texts, the worst first."),
        page.table(["text", "label", "predicted", sure], cells, numbers=(3,), texts=(0,)),
    ]
