"""`predict` for several tasks of a bank together: each line by the task that it names (--mixed), or every text by each
of the tasks (--name A,B,…). The task "none" is the plain backbone: its last hidden state of [CLS]."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

from minibert.cli.inputs import print_notes
from minibert.cli.texts import read_lines, second_text, text_and_pair
from minibert.data.task import Examples, count_empty
from minibert.errors import InputError, need, printable, shown
from minibert.interrupt import compile_kernels
from minibert.mixed import PLAIN, MixedModel
from minibert.run import open_backbone
from minibert.storage import TaskRecord, bank_file, find_task, read_bank
from minibert.trained import unscored_note


class Request(NamedTuple):
    """A text, the task that it is for, and the second text of a pair."""

    task: str
    text: str
    pair: str | None


def several_tasks(args) -> dict[str, TaskRecord] | None:
    """The bank's tasks if texts are for several of them, or for the plain backbone; None if they are for one. (A name
    may have a comma in it.)"""
    if not args.mixed and "," not in (args.name or "") and args.name != PLAIN:
        return None
    records = read_bank(bank_file(args.bank))
    return None if args.name in records else records


def predict_mixed(args, records: dict[str, TaskRecord]) -> None:
    """Label texts by several tasks: one line each, task, label, probability, text, in the order of the texts."""
    path = bank_file(args.bank)
    names = None if args.mixed else _names(args.name, records, path)
    requests = _requests(args, records, names, path)
    asked = dict.fromkeys(request.task for request in requests)
    need(
        args.json or not (PLAIN in asked and PLAIN not in records),
        f"task {PLAIN}, the plain backbone, gives a vector and no label: add --json",
    )
    mixed = MixedModel(open_backbone(args.backbone), {name: records[name] for name in asked if name in records}, path)
    tasks, texts, pairs = (list(column) for column in zip(*requests, strict=True))
    splits = mixed.tokenize(texts, tasks, pairs)
    compile_kernels("predict")
    print_notes(_notes(mixed, splits, requests))
    answers = {task: iter(rows) for task, rows in mixed.answers(splits).items()}
    for request in requests:
        _print(args, mixed, request, next(answers[request.task]))


def _names(given: str, records: dict[str, TaskRecord], path) -> list[str]:
    names = [name.strip() for name in given.split(",")]
    for name in names:
        need(names.count(name) == 1, f"--name {given}: {shown(name)} is there {names.count(name)} times")
        if name != PLAIN:
            find_task(path, records, name)
    return names


def _requests(args, records: dict[str, TaskRecord], names: list[str] | None, path) -> list[Request]:
    """What is asked for; names None: each line says its task. Raises InputError."""
    lines, pair = read_lines(args, {}), second_text(args)
    if names is None:
        return [_of_line(i, line, records, pair, path) for i, line in enumerate(lines, 1)]
    reading = {name: records[name].reads_pairs for name in names if name in records}
    if len(set(reading.values())) > 1:
        two = [next(name for name, pairs in reading.items() if pairs == wanted) for wanted in (True, False)]
        raise InputError(
            f"--name: {shown(two[0])} reads pairs, {shown(two[1])} single texts, so they cannot read the same lines; "
            "with --mixed each line has its own task"
        )
    like = next((records[name] for name in reading), None)  # whose lines the plain backbone reads, too
    cut = [(line, pair) if like is None else text_and_pair(i, line, like, pair) for i, line in enumerate(lines, 1)]
    return [Request(name, *both) for both in cut for name in names]


def _of_line(number: int, line: str, records: dict[str, TaskRecord], pair: str | None, path) -> Request:
    task, tab, rest = line.partition("\t")
    need(bool(tab), f"text {number}: with --mixed a line is a task, a tab, and the text; there is no tab")
    if task == PLAIN and task not in records:
        return Request(task, rest, pair)
    record = find_task(f"text {number}: {path}", records, task, f"{PLAIN} (the plain backbone)")
    fits = pair is not None or record.reads_pairs or "\t" not in rest
    need(fits, f"text {number}: task {shown(task)} reads single texts, and there is a tab within the text")
    return Request(task, *text_and_pair(number, rest, record, pair))


def _notes(mixed: MixedModel, splits: dict, requests: list[Request]) -> list[str]:
    """What is to be told before the scores: as for a single task, with the names of the tasks."""
    notes = []
    for task, split in splits.items():
        notes += unscored_note(mixed.records[task]) if task in mixed.records else []
        own = [request for request in requests if request.task == task]
        pairs = None if own[0].pair is None else [request.pair for request in own]
        empty = count_empty(Examples([request.text for request in own], pairs, None))
        notes += [f"task {task}: {empty} of {len(own)} rows have an empty text"] if empty else []
        notes += [f"task {task}: {note}" for note in split.notes()]
        if task in mixed.alone:
            method = mixed.records[task].method
            notes.append(f"task {task} (method {method}) shares no products with other tasks: it has its own passes")
    if PLAIN in splits and not mixed.is_plain(PLAIN):
        notes.append(f"task {PLAIN} is the bank's task of that name, not the plain backbone")
    return notes


def _print(args, mixed: MixedModel, request: Request, prediction) -> None:
    """One line. Of tasks without a label or a probability these columns are a score, and empty."""
    task, given = request.task, [request.text, *([] if request.pair is None else [request.pair])]
    if mixed.is_plain(task):
        fields, answer = [], {"vector": [float(x) for x in prediction]}
    else:
        fields, answer = mixed.models[task].head_record.describe(prediction, mixed.records[task].labels)
    if args.json:
        out = {"task": task, **dict(zip(("text", "pair"), given, strict=False)), **answer}
        print(json.dumps(out, ensure_ascii=not shows_all_text()))
    else:
        print("\t".join(map(printable, [task, *fields, *[""] * (2 - len(fields)), *given])))


def shows_all_text() -> bool:
    """Whether standard output takes every character. If not, JSON's own escapes are used: others would not be JSON."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
