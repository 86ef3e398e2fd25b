"""Answer spans: a question and its long paragraph cut into overlapping windows, and the answer found in them again.

    [CLS] question [SEP] tokens   0 ... n of the paragraph [SEP]
    [CLS] question [SEP] tokens 128 ... n + 128            [SEP]    and so on to the paragraph's end

Tokens remember which characters they come from, so that an answer is cut out of the paragraph as it is written there.
Accents and other marks that the tokenizer drops belong to no token; they go with the character before them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from minibert.data import training_fingerprint
from minibert.data.rows import token_hashes
from minibert.data.squad import Questions
from minibert.data.task import Task
from minibert.errors import InputError, list_some, readable
from minibert.graphemes import whole_ends
from minibert.metrics import normalize_answer, squad_scores
from minibert.text import Batch, Pieces, Tokenizer

STRIDE = 128  # tokens from one window's begin to the next one's; half a window if that is less, so that all overlap
MAX_QUESTION = 64  # tokens; what is longer is cut, as in BERT
MAX_ANSWER = 30  # tokens


@dataclass(frozen=True)
class Answer:
    """The best span of all windows: the paragraph's characters start:end, and the sum of its two logits."""

    text: str
    start: int
    end: int
    score: float


@dataclass
class Windows:
    """A tokenized split of questions: W windows as one packed batch, question by question.

    labels (W, 2): places in the window of the answer's first and last token; (0, 0), [CLS], if it is not there whole.
    question (W,): the number of the question; characters (T, 2): where each token begins and ends in the paragraph, the
    marks of its last character included, -1 for the question's and special tokens. longest: questions of more tokens
    than that are cut.
    """

    batch: Batch
    labels: np.ndarray
    question: np.ndarray
    characters: np.ndarray
    questions: Questions
    longest: int

    @property
    def weights(self) -> np.ndarray | None:
        """(W,) of each window in the loss: that of its question; None: 1 each."""
        weights = self.questions.weights
        return None if weights is None else weights[self.question]

    @property
    def n_examples(self) -> int:
        """How many questions are scored."""
        return len(self.questions)

    @property
    def first_windows(self) -> np.ndarray:
        """(N + 1,): where the windows of each question begin, and W."""
        return np.searchsorted(self.question, np.arange(len(self.questions) + 1))

    @property
    def held(self) -> np.ndarray:
        """(N,) bool: the questions whose answer a window holds whole."""
        return np.isin(np.arange(len(self.questions)), self.question[self.labels.any(axis=1)])

    def hashes(self, ordered: bool = False) -> np.ndarray:
        """`token_hashes` of each question with its paragraph, all its windows; in one order.   -> (N,) uint64"""
        rows = self.batch.offsets[self.first_windows]
        return token_hashes(self.batch.ids, np.zeros_like(self.batch.ids), rows)

    def score(self, logits: np.ndarray, metrics: tuple[str, ...], rows=None) -> dict[str, float]:
        """{metric: value from 0 to 1} of the logits (T, 2) of all windows; metrics among exact_match and f1.

        rows: of these questions alone, a mask (N,) bool.
        """
        scored = self.questions if rows is None else self.questions.take(np.flatnonzero(rows))
        scores = squad_scores(self.predictions(logits), scored.ids, scored.answers)
        return {name: scores[name] / 100 for name in metrics}

    def report(self, logits: np.ndarray) -> None:
        """None: answers are no classes."""

    def predictions(self, logits: np.ndarray) -> dict[str, str]:
        """{id: answer}, as the official scorer reads them."""
        found = self.answers(logits)
        return {name: answer.text for name, answer in zip(self.questions.ids, found, strict=True)}

    def answers(self, logits: np.ndarray) -> list[Answer]:
        """The best answer to each question: of all windows, the valid span with the largest sum of start and end logit.

        Valid: start <= end, at most MAX_ANSWER tokens, all of the paragraph. If two are equal, the first one is taken.
        """
        best = [Answer("", 0, 0, -np.inf) for _ in self.questions.texts]  # stays where a paragraph has no token
        for w, (a, b) in zip(self.question, pairwise(self.batch.offsets), strict=True):
            inside = a + np.flatnonzero(self.characters[a:b, 0] >= 0)
            if not inside.size:
                continue
            first, last, score = best_span(logits[inside])
            if score > best[w].score:
                start, end = int(self.characters[inside[first], 0]), int(self.characters[inside[last], 1])
                best[w] = Answer(self.questions.pairs[w][start:end], start, end, score)
        return best

    def notes(self, name: str = "") -> list[str]:
        """What to print of the split called `name` before it is used."""
        n, cut, questions = len(self.questions), self.batch.truncated, f"{name} questions".strip()
        notes = [f"{cut} of {n} {questions} are cut to {self.longest} tokens"] if cut else []
        if name != "train" and (never := never_exact(self)):
            listed = list_some([readable(self.questions.ids[i]) for i in never], 3)
            notes.append(
                f"{len(never)} of {n} {questions} have no right answer that can be given exactly ({listed}): longer "
                f"than {MAX_ANSWER} tokens, or not from the beginning of a token to the end of one"
            )
        return [f"{n} {questions} are read in {len(self.batch)} windows", *notes] if name else notes


def trainable(task: Task, train: Windows) -> tuple[Task, Windows]:
    """A task and its tokenized training set; of questions without those whose answer no window holds whole.

    All their windows would be trained to point at [CLS]. Such an answer is longer than a window, or has no token, as a
    zero-width space has none. Raises InputError if no question is left.
    """
    lost = ~train.held if isinstance(train, Windows) else np.zeros(1, bool)
    if not lost.any():
        return task, train
    names, n = [readable(train.questions.ids[i]) for i in np.flatnonzero(lost)], len(lost)
    note = f"{len(names)} of {n} train questions have an answer that no window holds whole, or that has no token"
    note += f" ({list_some(names, 3)})"
    if lost.all():
        raise InputError(f"{note}: there is nothing to train on; give a larger --max-length?")
    kept = replace(task, train=task.train.take(np.flatnonzero(~lost)), notes=(*task.notes, f"{note}: left out"))
    return replace(kept, drawn_from=task.drawn_from or training_fingerprint(task)), _without(train, lost)


def _without(windows: Windows, lost: np.ndarray) -> Windows:
    """The windows of the questions that are not lost (N,)."""
    kept = np.flatnonzero(~lost[windows.question])
    tokens = np.repeat(~lost[windows.question], np.diff(windows.batch.offsets))
    number = np.cumsum(~lost) - 1
    return replace(
        windows,
        batch=replace(windows.batch.take(kept), truncated=windows.batch.truncated),
        labels=windows.labels[kept],
        question=number[windows.question[kept]],
        characters=windows.characters[tokens],
        questions=windows.questions.take(np.flatnonzero(~lost)),
    )


def never_exact(windows: Windows) -> list[int]:
    """The numbers of the questions whose answer stands in the paragraph, but of whose right answers a span of tokens
    gives none, whatever the model says: no prediction is an exact match."""
    first, found = windows.first_windows, []
    for i, answers in enumerate(windows.questions.answers):
        places, paragraph = range(first[i], first[i + 1]), windows.questions.pairs[i]
        known = windows.questions.labels[i, 0] >= 0
        if known and answers and not any(_can_be_given(windows, places, paragraph, answer) for answer in answers):
            found.append(i)
    return found


def _can_be_given(windows: Windows, places: range, paragraph: str, answer: str) -> bool:
    """Whether a span in one of the windows is the answer, as the official scorer compares them."""
    wanted, begin = normalize_answer(answer), paragraph.find(answer)
    if begin < 0:  # the answer is written in another way
        return wanted in normalize_answer(paragraph)
    while begin >= 0:
        for w in places:
            characters = windows.characters[windows.batch.offsets[w] : windows.batch.offsets[w + 1]]
            i, j = _tokens_of(characters, np.array([begin, begin + len(answer)]))
            if i >= 0 and _gives(paragraph, characters[i : j + 1], wanted):
                return True
        begin = paragraph.find(answer, begin + 1)
    return not wanted  # as any token of punctuation alone


def _gives(paragraph: str, characters: np.ndarray, wanted: str) -> bool:
    """Whether the span, without tokens at its ends that the scorer drops, is the answer, and is not too long."""

    def same(i: int, j: int) -> bool:
        return normalize_answer(paragraph[characters[i, 0] : characters[j, 1]]) == wanted

    i, j = 0, len(characters) - 1
    if not same(i, j):
        return False
    while j - i >= MAX_ANSWER and same(i + 1, j):
        i += 1
    while j - i >= MAX_ANSWER and same(i, j - 1):
        j -= 1
    return j - i < MAX_ANSWER


def best_span(logits: np.ndarray) -> tuple[int, int, float]:
    """The tokens i <= j < i + MAX_ANSWER with the largest start[i] + end[j].   (n, 2) -> (i, j, that sum)"""
    start, end = logits.astype(np.float64).T
    ends = np.concatenate([end, np.full(MAX_ANSWER - 1, -np.inf)])
    sums = start[:, None] + np.lib.stride_tricks.sliding_window_view(ends, MAX_ANSWER)  # (n, 30): end[i], end[i+1], ...
    i, length = divmod(int(sums.argmax()), MAX_ANSWER)
    return i, i + length, float(sums[i, length])


def cut_windows(tokenizer: Tokenizer, questions: Questions, max_length: int) -> Windows:
    """Tokenize questions and paragraphs into windows of at most max_length tokens.

    A window that does not hold the answer is trained to point at [CLS], as BERT's code does (though its comment says
    "throw it out"): else the model would never learn to be less sure there than in the window with the answer.
    Raises InputError if max_length leaves no room.
    """
    if max_length < 5:
        raise InputError(f"max_length must leave room for a question and a paragraph, 5 or more; got {max_length}")
    longest = min(MAX_QUESTION, (max_length - 3) // 2)
    queries = tokenizer.pieces(questions.texts)
    distinct = list(dict.fromkeys(questions.pairs))  # a paragraph has five questions or so
    whole = (_with_marks(text, pieces) for text, pieces in zip(distinct, tokenizer.pieces(distinct), strict=True))
    paragraphs = dict(zip(distinct, whole, strict=True))
    cutter = _Cutter(tokenizer, max_length, longest)
    for i, question in enumerate(queries):
        cutter.add(i, question.ids, paragraphs[questions.pairs[i]], questions.labels[i])
    return cutter.windows(questions)


def _with_marks(text: str, pieces: Pieces) -> Pieces:
    begins, ends = pieces.characters.T
    return Pieces(pieces.ids, np.stack([begins, whole_ends(text, ends)], axis=1))


class _Cutter:
    """Collects windows."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, longest: int):
        self.cls, self.sep, self.max_length, self.longest = tokenizer.cls, tokenizer.sep, max_length, longest
        self.truncated = 0
        self.ids, self.characters, self.labels, self.question, self.second = [], [], [], [], []

    def add(self, number: int, question: np.ndarray, paragraph: Pieces, answer: np.ndarray) -> None:
        """All windows of a question. answer: its characters in the paragraph, or (-1, -1)."""
        self.truncated += len(question) > self.longest
        head = np.concatenate([[self.cls], question[: self.longest], [self.sep]])
        room = self.max_length - len(head) - 1
        first, last = _tokens_of(paragraph.characters, answer)
        before, after = np.full((len(head), 2), -1, np.int32), np.full((1, 2), -1, np.int32)
        for begin, end in window_places(len(paragraph.ids), room):
            here = begin <= first <= last < end
            self.ids.append(np.concatenate([head, paragraph.ids[begin:end], [self.sep]]))
            self.characters.append(np.concatenate([before, paragraph.characters[begin:end], after]))
            self.labels.append((first - begin + len(head), last - begin + len(head)) if here else (0, 0))
            self.question.append(number)
            self.second.append(len(head))

    def windows(self, questions: Questions) -> Windows:
        """All that was collected, packed."""
        offsets = np.cumsum([0] + [len(ids) for ids in self.ids], dtype=np.int64)
        positions = np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], np.diff(offsets))
        segments = positions >= np.repeat(self.second, np.diff(offsets))
        ids = np.concatenate(self.ids)
        batch = Batch(*(a.astype(np.int32) for a in (ids, segments, positions)), offsets, self.truncated)
        labels, question = np.array(self.labels, np.int64), np.array(self.question, np.int64)
        return Windows(batch, labels, question, np.concatenate(self.characters), questions, self.longest)


def window_places(n: int, room: int) -> list[tuple[int, int]]:
    """Begin and end of the windows of `room` tokens over n tokens; the last one ends at n."""
    stride = min(STRIDE, (room + 1) // 2)
    begins = range(0, max(n - room, 0) + stride, stride)  # to the first window that reaches n
    return [(begin, min(begin + room, n)) for begin in begins]


def _tokens_of(characters: np.ndarray, answer: np.ndarray) -> tuple[int, int]:
    """First and last of the tokens (n, 2) that share a character with the answer; (-1, -1) if none does."""
    shared = np.flatnonzero((characters[:, 0] < answer[1]) & (characters[:, 1] > answer[0]))
    return (int(shared[0]), int(shared[-1])) if shared.size else (-1, -1)
