"""What `eval` prints of classes: the scores of each, and the confusion matrix."""

from __future__ import annotations

from minibert.class_scores import MOST_CLASSES, score_rows
from minibert.data.labels import show

WIDEST = 100  # columns of a terminal for the confusion matrix
LONGEST_NAME = 30
UNKNOWN_ROW = "(unknown)"


def class_lines(report: dict | None) -> list[str]:
    """The lines of a `class_report`; none without one."""
    if report is None:
        return []
    return [*_most_frequent(report), *_scores(report), *_confusion(report)]


def _most_frequent(report: dict) -> list[str]:
    most = report.get("most_frequent")
    return [f"  majority class ({_name(most['class'])}): accuracy {most['accuracy']:.4f}"] if most else []


def _scores(report: dict) -> list[str]:
    classes, averages = score_rows(report)
    rows = [(_name(name), *numbers) for name, *numbers in classes] + averages
    width = max(len(name) for name, *_ in rows)
    head = ("class", "precision", "recall", "F1", "support")
    return [
        f"  {name:<{width}}{precision:>11}{recall:>9}{f1:>9}{support:>9}".rstrip()
        for name, precision, recall, f1, support in (head, *rows)
    ]


def _confusion(report: dict) -> list[str]:
    """A row for each label, a column for each prediction; columns without room for names have numbers."""
    if "confusion" not in report:
        return []
    names, rows = [_name(row["class"]) for row in report["classes"]], list(report["confusion"])
    if len(names) > MOST_CLASSES:
        return [f"  {len(names)} classes: the confusion matrix is in --json alone"]
    tops, sides = names, list(names)
    if (2 + max(map(len, names))) + sum(_width(top, rows) for top in tops) > WIDEST:
        tops, sides = [str(i) for i in range(len(names))], [f"{i} {name}" for i, name in enumerate(names)]
    if any(report["confusion_unknown"]):
        rows, sides = [*rows, report["confusion_unknown"]], [*sides, UNKNOWN_ROW]
    side, widths = max(map(len, sides)), [_width(top, rows) for top in tops]
    lines = ["  confusion matrix: a row for each label, a column for each prediction"]
    lines.append("  " + " " * side + "".join(f"{top:>{w}}" for top, w in zip(tops, widths, strict=True)))
    for name, row in zip(sides, rows, strict=True):
        lines.append(f"  {name:<{side}}" + "".join(f"{n:>{w}}" for n, w in zip(row, widths, strict=True)))
    return lines


def _width(top: str, rows: list[list[int]]) -> int:
    return 2 + max(len(top), *(len(str(n)) for row in rows for n in row))


def _name(label: str) -> str:
    name = show(label)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
