"""Files of answers to questions: what `eval` does with --predictions and --predictions-out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from minibert.data.squad import find_file, read_predictions, read_questions
from minibert.errors import InputError, flag
from minibert.metrics import squad_scores
from minibert.storage import TaskRecord, write_text


def check_eval(args) -> None:
    """Raise InputError if eval was given options that do not go together."""
    if args.predictions is not None:
        _check_squad("--predictions", args.task)
    if args.dev_rows is not None and args.split not in (None, "dev"):
        raise InputError(f"--dev-rows is for the dev split; leave it out with --split {args.split}")
    if args.predictions is None:
        missing = [f"--{name}" for name in ("backbone", "bank") if getattr(args, name) is None]
        if missing:
            raise InputError(f"eval needs {' and '.join(missing)} (or --predictions FILE: the answers of task squad)")
    else:
        needless = ("backbone", "bank", "name", "predictions_out", "dev_rows")
        needless = [flag(name) for name in needless if getattr(args, name) is not None]
        if needless:
            raise InputError(f"--predictions scores every answer of a file and runs no model: leave out {needless[0]}")
        if args.data is None:
            raise InputError("--predictions needs --data: the file with the questions, or its folder")
        if args.split not in (None, "train", "dev"):
            raise InputError(f"task squad has answers for train and dev; leave out --split {args.split}")


def check_answers(args, record: TaskRecord) -> None:
    """Raise InputError if the answers of a trained task are to be written, and it has none, or not to that place."""
    if args.predictions_out is not None:
        _check_squad("--predictions-out", args.task or record.training.get("task"))
        _check_place(Path(args.predictions_out))


def _check_squad(option: str, task: str | None) -> None:
    if task != "squad":
        raise InputError(f"{option} needs --task squad: no other task has answers to write or read")


def _check_place(path: Path) -> None:
    """Raise InputError if answers cannot be written there. Earlier answers may be replaced, another file may not."""
    if not path.parent.is_dir():
        raise InputError(f"--predictions-out {path}: there is no folder {path.parent}")
    if path.exists():
        try:
            read_predictions(path)
        except InputError:
            raise InputError(
                f"--predictions-out {path} is there, and is no file of answers; it is not replaced"
            ) from None


def eval_predictions(args) -> None:
    """Score a file of answers as SQuAD's own scorer does, and print the same JSON object."""
    path = find_file(args.data, "train" if args.split == "train" else "dev")
    notes: list[str] = []
    questions, predictions = read_questions(path, notes), read_predictions(Path(args.predictions))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    known = set(questions.ids)
    unanswered, unknown = len(known - set(predictions)), len(set(predictions) - known)
    if unanswered:
        print(f"note: {unanswered} of {len(questions)} questions have no answer and score 0", file=sys.stderr)
    if unknown:
        left_out = " or that are impossible" if notes else ""
        print(f"note: {unknown} answers are to questions that {path} does not have{left_out}", file=sys.stderr)
    print(json.dumps(squad_scores(predictions, questions.ids, questions.answers)))


def write_predictions(path, predictions: dict[str, str]) -> None:
    """{id: answer} as the official scorer reads it."""
    write_text(Path(path), json.dumps(predictions, indent=1) + "\n")
