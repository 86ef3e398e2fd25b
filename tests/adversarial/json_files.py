"""SQuAD files, files of predictions and ledgers: JSON that people, other programs and we have written."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from random import Random

from minibert.data import load_task
from minibert.data.squad import read_predictions
from minibert.lab.ledger import HEADER, read_ledger

from .case import Case, Refuse, difference
from .mutations import Doubled, dump, mutate_json, mutate_text_bytes, strict_json

WORDS = ("the", "soup", "naïve", "e\u0301té", "漢字", "in", "1066,", "(born", "🙂", "a.", '"b"', "\u2028", "of")
UNCHANGED = 0.02


def changed(rng: Random, value, other, mutate: bool) -> tuple[bytes, str]:
    """The bytes of a JSON file in which something is changed, as JSON or as text."""
    indent, ascii_only = rng.choice((None, None, 1)), rng.random() < 0.5
    plain = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    if not mutate:
        return plain, "unchanged"
    if rng.random() < 0.6:
        text, what = mutate_json(rng, value)
        return text.encode("utf-8", "surrogatepass"), what
    return mutate_text_bytes(rng, plain, json.dumps(other).encode())


def decoded(data: bytes, encoding: str = "utf-8") -> str:
    """A text without its byte-order mark; that of UTF-16 or UTF-32 is obeyed where UTF-8 is expected. Raises
    UnicodeError."""
    if encoding == "utf-8":
        wide = {
            (0xFF, 0xFE): "utf-16",
            (0xFE, 0xFF): "utf-16",
            (0xFF, 0xFE, 0, 0): "utf-32",
            (0, 0, 0xFE, 0xFF): "utf-32",
        }
        encoding = wide.get(tuple(data[:4])) or wide.get(tuple(data[:2])) or encoding
    return data.decode(encoding).removeprefix("\ufeff")


def load(path: Path, once=None, wide: bool = False):
    """The JSON value of a file: UTF-8, with or without a byte-order mark, every key once (or those of `once`). wide:
    UTF-16 and UTF-32 with a mark, too. Raises Refuse."""
    try:
        data = path.read_bytes()
        return strict_json(decoded(data) if wide else data.decode().removeprefix("\ufeff"), once)
    except Doubled as error:
        raise Refuse(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Refuse(f"not JSON: {type(error).__name__}") from None


# -------------------------------------------------------------------------------------------------------------- SQuAD


def _sentence(rng: Random, n: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))


def _question(rng: Random, name: str, context: str) -> dict:
    answers = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        words = context.split(" ")
        i = rng.randrange(len(words))
        text = " ".join(words[i : i + rng.randint(1, 3)])
        answers.append({"text": text, "answer_start": len(" ".join(words[:i])) + (i > 0)})
    question = {"id": name, "question": _sentence(rng, 4), "answers": answers}
    return question | ({"is_impossible": False} if rng.random() < 0.2 else {})


def _squad(rng: Random, prefix: str) -> dict:
    articles = []
    for i in range(2):
        paragraphs = []
        for j in range(2):
            context = _sentence(rng, 9)
            qas = [_question(rng, f"{prefix}{i}{j}{k}", context) for k in range(2)]
            paragraphs.append({"context": context, "qas": qas})
        articles.append({"title": f"article {i}", "paragraphs": paragraphs})
    return {"version": "1.1", "data": articles}


def squads():
    """The maker of folders of task squad in which one file is mutated."""

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate = mutate and rng.random() >= UNCHANGED
        values = {split: _squad(rng, split[0]) for split in ("train", "dev")}
        spoilt, whats = rng.choice(("train", "dev")), []
        for split, value in values.items():
            data, what = changed(rng, value, values["dev"], mutate and split == spoilt)
            (folder / f"{split}-v1.1.json").write_bytes(data)
            whats.append(f"{split}: {what}")
        return Case(
            [folder],
            ", ".join(whats),
            lambda: load_task("squad", folder),
            lambda: [{split: _plain_squad(folder / f"{split}-v1.1.json") for split in values}],
            _same_squad,
            may_refuse=mutate,
        )

    return make


def _plain_squad(path: Path) -> dict[str, tuple]:
    """{id: (question, context, answers, where the answer begins and ends), or None if is_impossible}, in the file's
    order."""
    found: dict[str, tuple] = {}
    for article in _member(load(path, wide=True), "data", list):
        for paragraph in _member(article, "paragraphs", list):
            context = _member(paragraph, "context", str)
            for question in _member(paragraph, "qas", list):
                name = _member(question, "id", str)
                if name in found:
                    raise Refuse("an id is there twice")
                found[name] = _plain_question(question, context)
    if not any(found.values()):
        raise Refuse("no question that has an answer")
    return found


def _member(node, key: str, kind: type):
    if not isinstance(node, dict) or not isinstance(node.get(key), kind) or isinstance(node[key], bool):
        raise Refuse(f"{key} is missing or of another type")
    return node[key]


def _plain_question(question: dict, context: str) -> tuple:
    impossible = question.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise Refuse("is_impossible is neither true nor false")
    if impossible:
        return None
    listed = [(_member(a, "text", str), _member(a, "answer_start", int)) for a in _member(question, "answers", list)]
    if not listed:
        raise Refuse("no answer")
    places = [(start, start + len(text)) for text, start in listed
              if start >= 0 and text.strip() and context[start : start + len(text)] == text]  # fmt: skip
    texts = tuple(text for text, _ in listed)
    return _member(question, "question", str), context, texts, places[0] if places else (-1, -1)


def _same_squad(task, plain: dict) -> str:
    found = {"train": task.train, "dev": task.dev["dev"]}
    for split, expected in plain.items():
        part = found[split]
        if len(set(part.ids)) != len(part.ids) or not set(part.ids) <= set(expected):
            return f"{split}: other questions"
        if sorted(part.ids, key=list(expected).index) != part.ids:
            return f"{split}: another order"
        for name, *row in zip(part.ids, part.texts, part.pairs, part.answers, part.labels.tolist(), strict=True):
            if expected[name] is None:
                return f"{split}: a question that is_impossible is not left out"
            *texts, place = expected[name]
            if row[:3] != texts:
                return f"{split}: another text at {name!r}"
            if not _same_place(row[1], row[3], place):
                return f"{split}: the answer is at {row[3]}, expected {place}"
        gone = [name for name in expected if name not in part.ids]
        if any(expected[name] and (split == "dev" or expected[name][3] != (-1, -1)) for name in gone):
            return f"{split}: questions are gone"
        impossible = sum(question is None for question in expected.values())
        if impossible and not any(f"left out {impossible} of" in note and split in note for note in task.notes):
            return f"{split}: {impossible} questions are left out without a note"
        if len(gone) > impossible and not any("not trained on" in note for note in task.notes):
            return f"{split}: questions without a place are gone without a note"
    return ""


def _same_place(context: str, label: list[int], place: tuple[int, int]) -> bool:
    """An answer may end later than its text does: with the marks that belong to its last character."""
    more = context[place[1] : label[1]]
    marks = all(unicodedata.category(c)[0] == "M" or unicodedata.category(c) == "Cf" for c in more)
    return label[0] == place[0] and (label[1] == place[1] or (label[1] > place[1] and marks))


# -------------------------------------------------------------------------------------------------------- predictions


def predictions():
    """The maker of mutated files of predictions."""

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, path = mutate and rng.random() >= UNCHANGED, folder / "predictions.json"
        values = [{f"q{i}": _sentence(rng, rng.randint(0, 3)) for i in range(rng.randint(1, 5))} for _ in range(2)]
        data, what = changed(rng, *values, mutate)
        path.write_bytes(data)
        return Case(
            [path], what, lambda: read_predictions(path), lambda: [_plain_predictions(path)], difference, mutate
        )

    return make


def _plain_predictions(path: Path) -> dict:
    value = load(path, wide=True)
    if not isinstance(value, dict) or not all(isinstance(answer, str) for answer in value.values()):
        raise Refuse("not an object of texts")
    return value


# -------------------------------------------------------------------------------------------------------------- ledger


def _record(rng: Random, i: int) -> dict:
    trial = {"task": "sst2", "method": "adapter", "data": None, "train": {"lr": 1e-3, "seed": i}}
    result = {"task": "sst2", "metric": "accuracy", "dev": {"accuracy": i / 7}, "data": "d" * 64, "backbone": "b" * 64}
    result |= {"trained_params": 7, "total_params": 70, "train_rows": 9, "wall_seconds": 3.5, "threads": 1}
    result |= {"text": _sentence(rng, 2)}
    result |= {"test": {"accuracy": 0.5}} if rng.random() < 0.3 else {}
    failed = rng.random() < 0.2
    return {"id": f"{i:08x}", "status": "failed" if failed else "done", "trial": trial, "work": 2.5} | (
        {"error": "no memory"} if failed else {"result": result}
    )


def ledgers():
    """The maker of mutated ledgers."""

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, path = mutate and rng.random() >= UNCHANGED, folder / "ledger.jsonl"
        records = [_record(rng, i) for i in range(rng.randint(1, 5))]
        lines, what = [HEADER, *map(json.dumps, records)], "unchanged"
        if mutate and rng.random() < 0.6:
            i = rng.randrange(len(lines))
            lines[i], what = mutate_json(rng, json.loads(lines[i]))
        data = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
        if mutate and (what == "unchanged" or rng.random() < 0.1):
            data, more = mutate_text_bytes(rng, data, dump(records).encode())
            what += ", " + more
        path.write_bytes(data)
        return Case([path], what, lambda: read_ledger(path), lambda: _plain_ledger(path), difference, mutate)

    return make


def _plain_ledger(path: Path) -> list[list]:
    """The readings of a ledger: a last line without its end is kept if it is whole, and left out if it is torn."""
    data = path.read_bytes()
    *lines, rest = data.split(b"\n")
    if not lines:
        if HEADER.encode().startswith(rest):  # a crash tore the first line
            return [[]]
        raise Refuse("no header")
    if lines[0] != HEADER.encode():
        raise Refuse("another header")
    records = [_plain_record(line) for line in lines[1:]]
    try:
        json.loads(rest)
    except (ValueError, RecursionError):
        return [records]
    return [[*records, _plain_record(rest)]]


NUMBERS = {"trained_params": int, "total_params": int, "train_rows": int, "threads": int, "wall_seconds": (int, float)}


def _plain_record(line: bytes) -> dict:
    try:
        value = strict_json(line.decode(json.detect_encoding(line), "surrogatepass"))
    except Doubled as error:
        raise Refuse(str(error), line=True) from None
    except (ValueError, RecursionError):
        raise Refuse("a line is not JSON", line=True) from None
    if not isinstance(value, dict) or value.get("status") not in ("done", "failed"):
        raise Refuse("a line is no record", line=True)
    for key, kind in {"id": str, "trial": dict, "work": (int, float)}.items():
        _needs(value, key, kind)
    _needs(value["trial"], "task", str)
    if value["status"] == "failed":
        _needs(value, "error", str)
        return value
    _needs(value, "result", dict)
    result = value["result"]
    for key, kind in ({"task": str, "metric": str, "dev": dict, "data": str, "backbone": str} | NUMBERS).items():
        _needs(result, key, kind)
    test = result.get("test")
    if not isinstance(test, (dict, type(None))) or any(
        result["metric"] not in part for part in (result["dev"], test) if part is not None
    ):
        raise Refuse("a score is missing, or no score", line=True)
    for score in [*result["dev"].values(), *(result.get("test") or {}).values()]:
        if type(score) not in (int, float):
            raise Refuse("a score is missing, or no score", line=True)
    if not result["wall_seconds"] > 0:
        raise Refuse("wall_seconds is not above 0", line=True)
    return value


def _needs(value: dict, key: str, kind) -> None:
    if not isinstance(value.get(key), kind) or isinstance(value[key], bool):
        raise Refuse(f"{key} is missing or of another type", line=True)
