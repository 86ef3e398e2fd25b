"""The built-in task: large, balanced, hard enough, clean, and nothing of a dev or test text is found in training."""

import re
import unicodedata
from collections import Counter, defaultdict

import pytest

from minibert.data import load_task
from minibert.data.builtin import KINDS, opinion_kinds

TASK = load_task("opinions")
SPLITS = {"train": TASK.train, "dev": TASK.dev["dev"], "test": TASK.test}
BEYOND_ASCII = set("–—’‘“”…£€°½")  # letters of any script aside


def words(text):
    return re.findall(r"\w+", text.lower())


def three_grams(text):
    w = words(text)
    return set(zip(w, w[1:], w[2:], strict=False))


def near_duplicates(texts, others, share=0.6):
    """Pairs whose common word 3-grams are at least that share of the smaller text's."""
    grams = [three_grams(text) for text in texts]
    where = defaultdict(list)
    for i, found in enumerate(grams):
        for gram in found:
            where[gram].append(i)
    pairs = []
    for other in others:
        theirs = three_grams(other)
        common = Counter(i for gram in theirs for i in where[gram])
        pairs += [(texts[i], other) for i, n in common.items() if n >= share * min(len(grams[i]), len(theirs))]
    return pairs


def same_words(texts, others):
    """Texts that are the same but for case, punctuation and spaces."""
    known = {tuple(words(text)) for text in texts}
    return [text for text in others if tuple(words(text)) in known]


def test_at_least_a_thousand():
    assert sum(map(len, SPLITS.values())) >= 1000
    assert min(map(len, SPLITS.values())) >= 100


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_balanced_within_one_percent(split):
    labels = SPLITS[split].labels
    assert abs(labels.mean() - 0.5) <= 0.01


@pytest.mark.parametrize("split", SPLITS)
def test_a_third_is_hard_and_every_kind_has_both_labels(split):
    kinds, labels = opinion_kinds()[split], SPLITS[split].labels
    assert len(kinds) == len(labels)
    assert sum(kind != "plain" for kind in kinds) >= len(kinds) / 3
    assert len(set(zip(kinds, labels.tolist(), strict=True))) == 2 * len(KINDS)


def test_no_text_is_there_twice():
    texts = [text for split in SPLITS.values() for text in split.texts]
    assert [text for text, n in Counter(tuple(words(text)) for text in texts).items() if n > 1] == []


@pytest.mark.parametrize(("one", "other"), [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_no_text_is_nearly_in_another_split(one, other):
    assert same_words(SPLITS[one].texts, SPLITS[other].texts) == []
    assert near_duplicates(SPLITS[one].texts, SPLITS[other].texts) == []


def test_the_guard_finds_what_it_should():
    text = "The waiter was so kind that we came back on the next day"
    changed = "The waiter was so kind that we came back on the next evening, all of us"
    assert near_duplicates([text], [changed]) == [(text, changed)]
    assert near_duplicates([text], ["The waiter was rude, and we never came back"]) == []
    assert same_words(["So good!"], ["so, GOOD"]) == ["so, GOOD"]


def test_lengths_vary():
    lengths = sorted(len(text.split()) for split in SPLITS.values() for text in split.texts)
    assert lengths[0] <= 3
    assert lengths[-1] >= 40
    assert lengths[len(lengths) // 10] <= 10
    assert lengths[-len(lengths) // 10] >= 20


def test_only_letters_and_usual_punctuation():
    for split in SPLITS.values():
        for text in split.texts:
            assert text == text.strip() and "  " not in text, text
            assert text == unicodedata.normalize("NFC", text), text
            odd = {c for c in text if not (" " <= c <= "~" or c.isalpha() or c in BEYOND_ASCII)}
            assert not odd, (odd, text)
