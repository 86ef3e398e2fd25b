"""Offsets and positions of answers have 64 bits where NumPy's default integers have 32: NumPy 1 on Windows."""

import numpy as np
import pytest
import tiny

from minibert.bert import context_of
from minibert.data.squad import without_answers
from minibert.spans import cut_windows
from minibert.storage import bert_tokenizer
from minibert.text import Batch, Tokenizer


@pytest.fixture
def short_integers(monkeypatch):
    """np.arange, np.cumsum and np.full give 32 bits for Python's integers, unless the dtype is named."""

    def shortened(function):
        def short(*args, dtype=None, **more):
            found = function(*args, **more) if dtype is None else function(*args, dtype=dtype, **more)
            by_default = dtype is None and not any(isinstance(a, (np.ndarray, np.generic, type)) for a in args)
            return found.astype(np.int32) if by_default and found.dtype == np.int64 else found

        return short

    for name in ("arange", "cumsum", "full"):
        monkeypatch.setattr(np, name, shortened(getattr(np, name)))
    assert np.arange(3).dtype == np.cumsum([1, 2]).dtype == np.int32


def batch_of(lengths):
    zeros = np.zeros(sum(lengths), np.int32)
    return Batch(zeros, zeros, zeros, np.array([0, *lengths], np.int64).cumsum(dtype=np.int64))


def test_windows_of_questions(short_integers):
    questions = without_answers(["what ?"], ["good tea was very bad , very bad film"])
    assert questions.labels.dtype == np.int64
    windows = cut_windows(Tokenizer(bert_tokenizer(tiny.VOCAB)), questions, 9)
    assert windows.batch.offsets.dtype == windows.labels.dtype == windows.question.dtype == np.int64
    assert windows.batch.positions.dtype == windows.batch.segments.dtype == np.int32


def test_queries_of_the_last_layer(short_integers):
    batch = batch_of([3, 1, 4])
    for all_rows in (False, True):
        context = context_of(batch, tiny.CONFIG, all_rows=all_rows)
        assert context.offsets_q.dtype == context.offsets_kv.dtype == np.int64
