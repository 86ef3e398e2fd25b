"""Texts to packed batches: truncation, pairs, characters of all kinds."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model
from tiny import VOCAB, WORDS

from minibert.backbone import Backbone
from minibert.errors import InputError
from minibert.model import Model
from minibert.storage import bert_tokenizer
from minibert.storage.tokenizer import canonical
from minibert.text import Tokenizer, pack


def test_strange_texts_are_encoded_and_scored(backbone):
    texts = [
        "",
        " \t\n",
        "a" * 10_000,
        "good " * 10_000,
        "🙂👩‍👩‍👧 fine",
        "\x00\x01\x1b[0m\x7f",
        "\ud83d",
        "\udc00 a \ud800",
    ]
    texts += ["नमस्ते שלום 漢字", "\u202egood\u202c", "e\u0301" * 50, "\ufffd", "[CLS] [SEP] [PAD]", "\U0010ffff"]
    batch = backbone.encode(texts, max_length=16)
    lengths = np.diff(batch.offsets)
    assert lengths.min() == 2 and lengths.max() == 16
    assert np.isfinite(make_model(backbone).forward(batch)).all()
    pairs = backbone.encode(texts, texts[::-1], max_length=16)
    assert np.isfinite(make_model(backbone).forward(pairs)).all()


def test_half_a_character_is_dropped_and_two_halves_are_joined(backbone):
    with_halves = encode(backbone, ["good\ud83d film", "\udc00awful", "\ud83d\ude42"])
    without = encode(backbone, ["good film", "awful", "🙂"])
    np.testing.assert_array_equal(with_halves.ids, without.ids)
    np.testing.assert_array_equal(with_halves.offsets, without.offsets)


def test_truncation_is_counted(backbone):
    batch = backbone.encode(["good " * n for n in (5, 6, 7, 50)], max_length=8)
    assert np.diff(batch.offsets).tolist() == [7, 8, 8, 8]
    assert batch.truncated == 2
    assert encode(backbone, TEXTS).truncated == 0


@pytest.mark.parametrize("lengths, kept", [((9, 2), (5, 2)), ((2, 9), (2, 5)), ((1, 1), (1, 1)), ((20, 5), (4, 3))])
def test_of_a_pair_the_longer_text_is_cut(backbone, lengths, kept):
    first, second = (" ".join(WORDS[:n]) for n in lengths)
    batch = backbone.encode([first], [second], max_length=10)
    kept_of_first, kept_of_second = kept
    words = ["[CLS]", *WORDS[:kept_of_first], "[SEP]", *WORDS[:kept_of_second], "[SEP]"]
    assert backbone.tokenizer.words(batch) == [words]
    assert batch.segments.tolist() == [0] * (kept_of_first + 2) + [1] * (kept_of_second + 1)
    assert batch.positions.tolist() == list(range(len(words)))


def test_a_task_belongs_to_its_tokenizer_as_well_as_to_its_weights(backbone):
    record = make_model(backbone).to_record("mood", ("no", "yes"))
    assert record.backbone_tokenizer == backbone.tokenizer.fingerprint == backbone.tokenizer_fingerprint
    assert Model.from_record(backbone, record).trained().keys() == record.params.keys()
    cased = Tokenizer(bert_tokenizer(backbone.tokenizer.vocab, lowercase=False))
    other = Backbone(backbone.config, backbone.parameters(), cased, backbone.fingerprint)
    with pytest.raises(InputError, match=r"than this backbone file has \(lowercase there, cased here; fingerprints"):
        Model.from_record(other, record)
    assert Model.from_record(other, replace(record, backbone_tokenizer=""))  # an older bank does not say
    assert Model.from_record(Backbone(backbone.config, backbone.parameters(), None, backbone.fingerprint), record)


def test_a_tokenizer_of_another_kind_counts_characters_as_well():
    """Byte-pair encoding, cut at spaces: the ids and the places in the text."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "g", "o", "d", "go", "good"]
    model = {"type": "BPE", "unk_token": "[UNK]", "vocab": {word: i for i, word in enumerate(vocab)}}
    model["merges"] = ["g o"]
    parts = {"added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}
    tokenizer = Tokenizer(canonical(parts))
    batch = tokenizer.encode(["good  dog!"], ["go"])
    assert batch.ids.tolist() == [2, 7, 5, 6, 6, 5, 4, 1, 3, 7, 3]
    assert batch.segments.tolist() == [0] * 9 + [1, 1]
    (pieces,) = tokenizer.pieces(["good  dog!"])
    assert pieces.characters.tolist() == [[0, 2], [2, 3], [3, 4], [6, 7], [7, 8], [8, 9], [9, 10]]


def test_a_sequence_without_tokens_is_refused():
    with pytest.raises(InputError, match="sequence 1 has no tokens"):
        pack([[1, 2], [], [3]], [[0, 0], [], [0]])


def test_take_picks_sequences_in_any_order(backbone):
    batch, each = encode(backbone, TEXTS), [encode(backbone, [text]) for text in TEXTS]
    taken = batch.take([2, 0, 2])
    np.testing.assert_array_equal(taken.ids, np.concatenate([each[i].ids for i in (2, 0, 2)]))
    np.testing.assert_array_equal(taken.positions, np.concatenate([each[i].positions for i in (2, 0, 2)]))
    assert len(batch.take([])) == 0


def test_threads_that_cut_texts_to_different_lengths():
    tokenizer = Tokenizer(bert_tokenizer(VOCAB))
    texts, switching = ["good tea was bad film good tea was bad film"] * 20, sys.getswitchinterval()
    lengths = (4, 6, 9, None)

    def count(length):
        for _ in range(100):
            if length is None:
                assert {len(found.ids) for found in tokenizer.pieces(texts)} == {10}
            else:
                assert set(np.diff(tokenizer.encode(texts, max_length=length).offsets)) == {length}

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(lengths)) as pool:
            list(pool.map(count, lengths))
    finally:
        sys.setswitchinterval(switching)
