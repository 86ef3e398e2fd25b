"""SQuAD v1.1 (Rajpurkar et al., 2016): questions, each with a paragraph that holds its answer, in the official JSON.

{"data": [{"paragraphs": [{"context": …, "qas": [QUESTION, …]}, …]}, …]}
QUESTION = {"id": …, "question": …, "answers": [{"text": …, "answer_start": …}, …]}

Files of SQuAD v2.0 add "is_impossible" to a question (some converters "isImpossible"). Where it is true, the paragraph
does not answer the question, and what stands under "answers" or "plausible_answers" is wrong: such questions are left
out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibert.data.reading import TO_UTF8, read_text
from minibert.data.task import Examples, Task
from minibert.errors import InputError, list_some, readable, shown
from minibert.json_values import parse_json

FILES = {"train": "train-v1.1.json", "dev": "dev-v1.1.json"}
NO_ANSWER = (-1, -1)
_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class Questions(Examples):
    """A split of questions. texts are the questions, pairs their paragraphs.

    labels (N, 2) int64: where the first usable answer begins in the paragraph and where it ends, in characters;
    (-1, -1) if there is none. ids (N): the questions' names. answers (N): the texts of all right answers.
    """

    ids: list[str]
    answers: list[tuple[str, ...]]


def read_squad(data) -> Task:
    """The task from a folder with train-v1.1.json and dev-v1.1.json, or from the folder that holds it as squad/.

    A part of the training set can stand for the whole: the one file called train*.json. Questions whose answers are not
    in the paragraph where `answer_start` says are named in the notes, and are not among the training rows. Impossible
    questions (SQuAD v2.0) are counted in the notes, and are in no split.
    Raises InputError naming file, question, what was found and what was expected.
    """
    if Path(data).is_file():
        names = " and ".join(FILES.values())
        raise InputError(f"task squad: --data {data} is one file; give the folder that holds {names}")
    paths = {split: find_file(data, split) for split in FILES}
    notes: list[str] = []
    train, dev = (read_questions(paths[split], notes) for split in FILES)
    notes += [note for split, part in (("train", train), ("dev", dev)) for note in _notes(paths[split], part, split)]
    answered = train.take(np.flatnonzero(train.labels[:, 0] >= 0))
    if not len(answered):
        raise InputError(
            f"{paths['train']}: none of its {len(train)} questions has an answer that its paragraph contains at "
            "answer_start. Are the places counted in characters, from 0?"
        )
    return Task("squad", "span", (), ("f1", "exact_match"), answered, {"dev": dev}, notes=tuple(notes))


def find_file(data, split: str) -> Path:
    """data itself if it is a file; else the split's file in data/squad or in data. Raises InputError."""
    data = Path(data)
    if data.is_file():
        return data
    for folder in (data / "squad", data):
        if (folder / FILES[split]).is_file():
            return folder / FILES[split]
        others = sorted(folder.glob(f"{split}*.json"))
        if len(others) > 1:
            names = ", ".join(path.name for path in others)
            raise InputError(f"{folder} holds {names}, and none is called {FILES[split]}; keep one of them")
        if others:
            return others[0]
    raise InputError(
        f"task squad: --data {data} {'does not hold it' if data.exists() else 'does not exist'}. Looked for "
        f"{FILES[split]}, or one other file {split}*.json, in {data / 'squad'} and in {data}. "
        "To download it: minibert download squad --out DIR"
    )


def read_questions(path: Path, notes: list[str] | None = None) -> Questions:
    """The questions of a file that have an answer, in its order; adds to notes how many have none (are impossible).

    Raises InputError.
    """
    content = _read_json(path)
    rows, seen, impossible = [], set(), []
    for where, context, question in _walk(content, str(path)):
        name = _get(question, "id", str, where)
        where = f"{path}, question {readable(name)}"
        if name in seen:
            raise InputError(f"{where}: there are two questions with this id, expected one")
        seen.add(name)
        if _is_impossible(question, where):
            impossible.append(name)
            continue
        text, answers = _get(question, "question", str, where), _answers(question, where)
        place = next((p for p in (_place(context, *answer) for answer in answers) if p != NO_ANSWER), NO_ANSWER)
        rows.append((text, context, place, name, tuple(answer for answer, _ in answers)))
    if not rows:
        raise InputError(f"{path} holds no question{_only_impossible(impossible)}")
    if impossible and notes is not None:
        notes.append(
            f"{Path(path).name}: left out {len(impossible)} of {len(seen)} questions, marked is_impossible as in SQuAD "
            f"v2.0 ({list_some(map(readable, impossible), 3)}); task squad is v1.1, where every question has an answer"
        )
    texts, contexts, places, ids, answers = (list(column) for column in zip(*rows, strict=True))
    return Questions(texts, contexts, np.array(places, np.int64), ids, answers)


def _is_impossible(question: dict, where: str) -> bool:
    keys = [key for key in question if key.lower().replace("_", "").replace("-", "") == "isimpossible"]
    said = {_get(question, key, bool, where) for key in keys}
    if len(said) > 1:
        raise InputError(f"{where}: {' and '.join(map(shown, keys))} contradict each other; keep one of them")
    return True in said


def read_predictions(path: Path) -> dict[str, str]:
    """{id: answer} of a predictions file in the official format. Raises InputError."""
    predictions = _read_json(path)
    if not isinstance(predictions, dict):
        raise InputError(f"{path}: expected an object, an answer for each id; found {_shown(predictions)}")
    return {name: _get(predictions, name, str, str(path)) for name in predictions}


def _only_impossible(impossible: list[str]) -> str:
    if not impossible:
        return ""
    return (
        f" with an answer: all {len(impossible)} are marked is_impossible (SQuAD v2.0). Give a file of SQuAD v1.1, or "
        "one of v2.0 with answered questions"
    )


def _read_json(path: Path):
    return parse_json(read_text(path, advice=f"JSON is UTF-8: {TO_UTF8}"), str(path))


def without_answers(questions: list[str], paragraphs: list[str]) -> Questions:
    """Questions that are to be answered, by people who do not know the answer."""
    n = len(questions)
    return Questions(questions, paragraphs, np.full((n, 2), -1, np.int64), [str(i) for i in range(n)], [()] * n)


def unlabelled(texts: list[str], pairs: list[str] | None, reads_all_tokens: bool) -> Examples:
    """Texts (or pairs) for a model to answer; for a head that reads all tokens, questions and their paragraphs."""
    return without_answers(texts, pairs) if reads_all_tokens else Examples(texts, pairs, None)


def _walk(content, path: str):
    """Yield (where it is, paragraph, the question's object) for each question."""
    for i, article in enumerate(_get(content, "data", list, path), 1):
        where = f"{path}, article {i}"
        for j, paragraph in enumerate(_get(article, "paragraphs", list, where), 1):
            context = _get(paragraph, "context", str, f"{where}, paragraph {j}")
            for k, question in enumerate(_get(paragraph, "qas", list, f"{where}, paragraph {j}"), 1):
                yield f"{where}, paragraph {j}, question {k}", context, question


def _get(node, key: str, kind: type, where: str):
    """node[key], if node is an object with that key and the value is of that kind. Raises InputError."""
    if not isinstance(node, dict):
        raise InputError(f"{where}: expected an object with {key!r}, found {_shown(node)}. Is it a SQuAD v1.1 file?")
    if key not in node:
        raise InputError(f"{where}: {key!r} is missing, expected {_KINDS[kind]}. Is it a SQuAD v1.1 file?")
    value = node[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where}: {shown(key)} must be {_KINDS[kind]}, found {_shown(value)}")
    return value


def _shown(value) -> str:
    """A value, in the words of JSON."""
    return json.dumps(value) if value is None or isinstance(value, bool) else shown(value)


def _answers(question: dict, where: str) -> list[tuple[str, int]]:
    """(text, answer_start) of each answer, one or more."""
    answers = [
        (_get(answer, "text", str, where), _get(answer, "answer_start", int, where))
        for answer in _get(question, "answers", list, where)
    ]
    if not answers:
        raise InputError(f"{where}: has no answer, expected one or more (SQuAD v2.0 has such questions, v1.1 has none)")
    return answers


def _place(context: str, text: str, start: int) -> tuple[int, int]:
    """The characters of an answer; NO_ANSWER if they are not what the paragraph holds there."""
    end = start + len(text)
    return (start, end) if start >= 0 and text.strip() and context[start:end] == text else NO_ANSWER


def _notes(path: Path, questions: Questions, split: str) -> list[str]:
    missing = np.flatnonzero(questions.labels[:, 0] < 0)
    if not missing.size:
        return []
    first = list_some(map(readable, [questions.ids[i] for i in missing]), 3)
    then = "they are not trained on" if split == "train" else "they are scored by the answers' texts all the same"
    return [
        f"{path.name}: {missing.size} of {len(questions)} questions have no answer that their paragraph contains at "
        f"answer_start ({first}); {then}"
    ]
