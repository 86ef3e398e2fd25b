"""A tokenizer as canonical JSON: what BERT's consists of, the same bytes for the same tokenizer, what is refused."""

import json

import pytest
from whole_tokenizer import PAIR, TEXT, VOCAB, N, changed, token, whole

from minibert.errors import InputError
from minibert.storage import bert_tokenizer
from minibert.storage.tokenizer import canonical, check_tokenizer, describe, differences, parse, sha256_of_text
from minibert.text import Tokenizer

FINGERPRINT = "43af851239587e130ca71dd44195850fccb4dc0b09fa5abc8c519423596a08e8"


def ids_of(text):
    batch = Tokenizer(text).encode([TEXT], [PAIR])
    return batch.ids.tolist(), batch.segments.tolist()


@pytest.mark.parametrize(
    ("lowercase", "ids"),
    [
        (True, [2, 10, 1, 15, 16, 17, 10, 14, 4, 11, 20, 1, 12, 1, 3, 10, 3]),
        (False, [2, 9, 1, 15, 1, 17, 10, 14, 4, 11, 20, 1, 12, 1, 3, 10, 3]),
    ],
)
def test_bert_tokenizer_gives_the_ids_of_transformers(lowercase, ids):
    assert ids_of(bert_tokenizer(VOCAB, lowercase)) == (ids, [0] * 15 + [1, 1])


def test_each_option_does_what_it_says():
    def words(text, **options):
        tokenizer = Tokenizer(bert_tokenizer(VOCAB, **options))
        return tokenizer.words(tokenizer.encode([text]))[0][1:-1]

    assert words("Good") == ["good"] and words("Good", lowercase=False) == ["Good"]
    assert words("é") == ["e"] and words("é", lowercase=False) == ["é"]
    assert words("é", strip_accents=False) == ["é"] and words("é", lowercase=False, strip_accents=True) == ["e"]
    assert words("漢字") == ["漢", "[UNK]"] and words("漢字", chinese_chars=False) == ["漢字"]


def test_the_file_of_a_hub_checkpoint_is_the_same_tokenizer():
    ours = bert_tokenizer(VOCAB)
    assert canonical(whole()) == canonical(whole() | {"model": {"type": "WordPiece", **whole()["model"]}}) == ours
    assert sha256_of_text(ours) == FINGERPRINT  # whatever versions of Python and of the library
    cut = {"truncation": {"max_length": 3}, "padding": {"pad_id": 0}, "decoder": None}
    assert canonical(whole() | cut) == ours
    assert canonical(dict(reversed(whole().items()))) == ours and canonical(parse(ours)) == ours
    reordered = whole() | {"added_tokens": whole()["added_tokens"][::-1]}
    assert canonical(reordered) == ours


def test_another_tokenizer_has_another_fingerprint():
    others = [bert_tokenizer(VOCAB), bert_tokenizer(VOCAB, False), bert_tokenizer(VOCAB, True, False)]
    others += [bert_tokenizer(VOCAB, chinese_chars=False), bert_tokenizer([*VOCAB, "x"])]
    others += [canonical(whole(added=[token(N, "<E1>")])), canonical(whole(pre_tokenizer={"type": "Whitespace"}))]
    assert len({sha256_of_text(text) for text in others}) == len(others)


def test_what_people_are_told():
    cased, lowercase = bert_tokenizer(VOCAB, False), bert_tokenizer(VOCAB)
    assert describe(cased) == "WordPiece, 21 tokens, cased, accents kept, Chinese characters split"
    assert differences(lowercase, sha256_of_text(cased)) == "cased there, lowercase here; "
    assert differences(lowercase, "0" * 64) == ""
    other = canonical(whole(normalizer={"type": "NFC"}))
    assert describe(other) == "WordPiece, 21 tokens, normalizer NFC" and differences(other, "0" * 64) == ""


def vocab_with(**ids):
    return changed("model", vocab={word: i for i, word in enumerate(VOCAB)} | ids)


BAD = {
    "unknown part": (whole() | {"filter": 1}, "has a part 'filter', which is unknown"),
    "no model": ({"version": "1.0"}, "the model has no vocabulary"),
    "ids as text": (changed("model", vocab={"a": "0"}), "the model has no vocabulary of tokens and their ids"),
    "scores": (changed("model", vocab=[["a", -1.0], 3]), "not a list of tokens with their scores"),
    "scores twice": (changed("model", vocab=[["a", -1.0], ["a", -2.0]]), "has a token twice"),
    "gap": (vocab_with(more=N + 1), "no token has the id 21, though there are 22"),
    "id twice": (vocab_with(more=7), "the id 7 is there twice, of 'é' and of 'more'"),
    "added twice": (whole(added=[token(N, "good")]), "the token 'good' is there twice, with the ids 10 and 21"),
    "added gap": (whole(added=[token(N + 3, "<E1>")]), "no token has the id 21"),
    "added without an id": (whole(added_tokens=[{"content": "x"}]), "expected a token with its content and its id"),
    "added as an object": (whole(added_tokens={"x": 3}), "added_tokens is a dict, expected a list"),
    "other unknown token": (changed("model", unk_token="<unk>"), "unk_token is '<unk>', expected [UNK]"),
    "half a character": (vocab_with(**{"\ud800": N}), "holds half a character"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_tokenizer_that_cannot_be_kept_is_told(case):
    parts, words = BAD[case]
    with pytest.raises(InputError) as caught:
        canonical(parts)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["[UNK]", "[CLS]", "[SEP]"])
def test_the_three_tokens_are_needed(name):
    vocab = {word.replace(name, "other"): i for i, word in enumerate(VOCAB)}
    tokens = [entry for entry in whole()["added_tokens"] if entry["content"] != name]
    with pytest.raises(InputError) as caught:
        canonical(changed("model", vocab=vocab) | {"added_tokens": tokens})
    assert f"{name} is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("vocab", "options", "words"),
    [
        (("[UNK]", "[CLS]"), {}, r"\[SEP\] is missing"),
        ((*VOCAB, "the"), {}, "'the' is there twice, as words 5 and 21"),
        ((*VOCAB, "b\n"), {}, "line end"),
        ((*VOCAB, 3), {}, "list of words"),
        (VOCAB, {"lowercase": "yes"}, "lowercase must be true or false"),
        (VOCAB, {"lowercase": None}, "lowercase must be true or false"),
        (VOCAB, {"strip_accents": 1}, "strip_accents must be true or false"),
    ],
)
def test_bert_tokenizer_checks_what_it_is_given(vocab, options, words):
    with pytest.raises(InputError, match=words):
        bert_tokenizer(vocab, **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1: not valid JSON"),
        ("[1]", r"its JSON is \[1\], expected an object"),
        ('{"vocab": {"a": 0, "a": 1}}', "'a' is there twice in one object"),
        ("[" * 100_000, "lie too deep in one another"),
    ],
)
def test_text_that_is_no_json_object(text, words):
    with pytest.raises(InputError, match=words):
        parse(text)


def test_only_the_canonical_form_is_kept():
    check_tokenizer("x.h5", bert_tokenizer(VOCAB), N)
    with pytest.raises(InputError, match=r"x\.h5: tokenizer: is not in its canonical form"):
        check_tokenizer("x.h5", json.dumps(whole()), N)
    with pytest.raises(InputError, match="has 21 tokens, the embedding rows for 20: there is none for 'covid', id 20"):
        check_tokenizer("x.h5", bert_tokenizer(VOCAB), N - 1)


def test_what_the_library_cannot_read_is_an_error_of_one_line():
    for parts, words in [
        (whole(pre_tokenizer={"type": "Magic"}), "cannot read it"),
        (changed("model", type="Magic"), "cannot read it"),
        (whole(added=[{"id": N, "content": "x"}]), "cannot read it"),
    ]:
        with pytest.raises(InputError) as caught:
            Tokenizer(canonical(parts))
        assert words in str(caught.value) and "\n" not in str(caught.value)
