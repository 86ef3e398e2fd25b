"""A tokenizer as text: the `tokenizer.json` of the `tokenizers` library, in one canonical form.

added_tokens      tokens that are found in the text first, before anything else is done with it: [CLS], [MASK], ...
normalizer        what becomes of the characters: cleaned, lowercased, accents removed, spaces around Chinese characters
pre_tokenizer     where the text is cut into words: at spaces and punctuation
model             how a word becomes tokens: WordPiece takes the longest piece that the vocabulary has, again and again
post_processor    what is put around them: [CLS] text [SEP], or [CLS] text [SEP] pair [SEP]

Canonical: those parts and "version" alone, keys sorted, no spaces, added tokens by id, the post-processor as
`bert_post_processor` writes it. Truncation and padding belong to the use of a tokenizer, a decoder to what generates
text. Two files of the same tokenizer hold the same bytes, so that its SHA-256, the fingerprint, tells tokenizers apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tokenizers

from minibert.errors import InputError, one_line, shown
from minibert.json_values import parse_json

CLS, SEP, UNK = "[CLS]", "[SEP]", "[UNK]"
NEEDED_TOKENS = (UNK, CLS, SEP)
SPECIAL_TOKENS = ("[PAD]", UNK, CLS, SEP, "[MASK]")
PARTS = ("added_tokens", "model", "normalizer", "post_processor", "pre_tokenizer", "version")
NOT_KEPT = ("truncation", "padding", "decoder")

# ------------------------------------------------------------------------------------------------ BERT's tokenizer


def bert_tokenizer(
    vocab, lowercase: bool = True, strip_accents: bool | None = None, chinese_chars: bool = True, added_tokens=None
) -> str:
    """BERT's tokenizer as canonical JSON.

    vocab: the words, the place of a word is its id. lowercase: text is lowercased. strip_accents: accents are removed;
    None means "if lowercased", as in BERT. chinese_chars: each Chinese character is a word of its own. added_tokens:
    as `added_token` makes them; default: those of SPECIAL_TOKENS that the vocabulary has.
    Raises InputError if the vocabulary or an option cannot be used.
    """
    ids = _ids_of_words(vocab)
    _check_options(lowercase=lowercase, strip_accents=strip_accents, chinese_chars=chinese_chars)
    if added_tokens is None:
        added_tokens = [added_token(ids[token], token) for token in SPECIAL_TOKENS if token in ids]
    parts = {
        "version": "1.0",
        "added_tokens": added_tokens,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,  # control characters are removed, every kind of space becomes a plain one
            "handle_chinese_chars": chinese_chars,
            "lowercase": lowercase,
            "strip_accents": strip_accents,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": UNK,
            "continuing_subword_prefix": "##",  # of every piece but a word's first
            "max_input_chars_per_word": 100,  # a longer word is [UNK]
            "vocab": ids,
        },
    }
    return canonical(parts)


def added_token(id: int, content: str, special: bool = True, normalized: bool | None = None) -> dict:
    """An entry of added_tokens. normalized (default: if not special): it is looked for in the normalized text."""
    normalized = not special if normalized is None else normalized
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": special}
    return {"id": id, "content": content, **flags}


def bert_post_processor(cls: int, sep: int) -> dict:
    """[CLS] text [SEP] of segment 0, and of a pair the second text and its [SEP] of segment 1. cls, sep: their ids."""

    def token(name: str, segment: int) -> dict:
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name: str, segment: int) -> dict:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [token(CLS, 0), text("A", 0), token(SEP, 0)]
    ids = {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in ((CLS, cls), (SEP, sep))}
    pair = [*single, text("B", 1), token(SEP, 1)]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": ids}


def _ids_of_words(vocab) -> dict[str, int]:
    if not all(isinstance(word, str) for word in vocab):
        raise InputError("the vocabulary must be a list of words")
    ids: dict[str, int] = {}
    for i, word in enumerate(vocab):
        if "\n" in word or "\0" in word:
            raise InputError(f"vocabulary: word {i} is {shown(word)}; a word cannot hold a line end or a zero byte")
        if ids.setdefault(word, i) != i:
            raise InputError(f"vocabulary: {shown(word)} is there twice, as words {ids[word]} and {i}")
    return ids


def _check_options(**options) -> None:
    for name, value in options.items():
        if not isinstance(value, bool) and not (name == "strip_accents" and value is None):
            raise InputError(f"tokenizer: {name} must be true or false, got {shown(value)}")


# --------------------------------------------------------------------------------------------------- any tokenizer


def canonical(parts: dict) -> str:
    """The canonical JSON of a tokenizer.json that was read, or put together.

    That its post-processor does as BERT's is for the caller to check. Raises InputError that names what is wrong: an
    unknown part, no tokens, a token or an id twice, ids with a gap, [UNK], [CLS] or [SEP] missing or called otherwise.
    """
    unknown = sorted(set(parts) - {*PARTS, *NOT_KEPT})
    if unknown:
        raise InputError(f"has a part {shown(unknown[0])}, which is unknown; expected {', '.join(sorted(PARTS))}")
    ids = token_ids(parts)
    if parts["model"].get("unk_token", UNK) not in (UNK, None):
        raise InputError(f"unk_token is {shown(parts['model']['unk_token'])}, expected {UNK}")
    kept = {name: parts.get(name) for name in PARTS}
    kept["version"] = parts.get("version") or "1.0"
    kept["added_tokens"] = sorted(parts.get("added_tokens") or [], key=lambda token: token["id"])
    kept["post_processor"] = bert_post_processor(ids[CLS], ids[SEP])
    if "type" not in kept["model"] and "max_input_chars_per_word" in kept["model"]:
        kept["model"] = {**kept["model"], "type": "WordPiece"}  # older files do not say it
    text = json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"holds half a character ({shown(text[error.start])}), which is no text") from None
    return text


def parse(text: str, where: str = "its JSON") -> dict:
    """A JSON object, such as a tokenizer.json, which stands at `where`. Raises InputError if it is none, or has a key
    twice."""
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise InputError(f"{where} is {shown(value)}, expected an object")
    return value


def token_ids(parts: dict) -> dict[str, int]:
    """{token: its id}, of the model's vocabulary and the added tokens, in the order of ids.

    Raises InputError unless the ids are 0, 1, 2, ... without a gap, each of one token, and NEEDED_TOKENS are there.
    """
    ids = model_vocab(parts)
    for token in _added(parts):
        name, id = token["content"], token["id"]
        if ids.setdefault(name, id) != id:
            raise InputError(f"the token {shown(name)} is there twice, with the ids {shown(ids[name])} and {shown(id)}")
    by_id: dict[int, str] = {}
    for name, id in ids.items():
        if by_id.setdefault(id, name) != name:
            raise InputError(f"the id {shown(id)} is there twice, of {shown(by_id[id])} and of {shown(name)}")
    for id in range(len(ids)):
        if id not in by_id:
            raise InputError(f"no token has the id {id}, though there are {len(ids)}: expected ids without a gap")
    for name in NEEDED_TOKENS:
        if name not in ids:
            raise InputError(f"vocabulary: {name} is missing; every BERT vocabulary has {', '.join(NEEDED_TOKENS)}")
    return {by_id[id]: id for id in range(len(ids))}


def model_vocab(parts: dict) -> dict[str, int]:
    """{token: its id} of the model alone. Raises InputError if it has no vocabulary."""
    model = parts.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, list):  # Unigram: [token, its log probability]
        if not all(isinstance(entry, list) and entry and isinstance(entry[0], str) for entry in vocab):
            raise InputError("the model's vocabulary is not a list of tokens with their scores")
        ids = {entry[0]: i for i, entry in enumerate(vocab)}
        if len(ids) != len(vocab):
            raise InputError("the model's vocabulary has a token twice")
        return ids
    if not isinstance(vocab, dict) or not all(_is_id(id) for id in vocab.values()):
        raise InputError("the model has no vocabulary of tokens and their ids")
    return dict(vocab)


def _added(parts: dict) -> list[dict]:
    tokens = parts.get("added_tokens") or []
    if not isinstance(tokens, list):
        raise InputError(f"added_tokens is a {type(tokens).__name__}, expected a list")
    for token in tokens:
        named = isinstance(token, dict) and isinstance(token.get("content"), str) and _is_id(token.get("id"))
        if not named:
            raise InputError(f"added_tokens has {shown(token)}, expected a token with its content and its id")
    return tokens


def _is_id(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Whatever the library raises becomes an InputError of one line; a panic of it is no Exception."""
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise InputError(f"the tokenizers library ({tokenizers.__version__}) {what}: {one_line(error)}") from None


def load_tokenizer(text: str) -> tokenizers.Tokenizer:
    """The library's tokenizer of a tokenizer.json, without truncation and padding.

    Raises InputError with what the library says if it cannot read it, or if it numbers tokens otherwise.
    """
    with library_errors("cannot read it"):
        tokenizer = tokenizers.Tokenizer.from_str(text)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for token in parse(text).get("added_tokens") or []:
        found = tokenizer.token_to_id(token["content"])
        if found != token["id"]:
            raise InputError(
                f"added token {shown(token['content'])} has the id {shown(token['id'])}, but the tokenizers library, "
                f"which numbers added tokens in their order, makes it {found}"
            )
    return tokenizer


def check_tokenizer(where: str | Path, text: str, rows: int) -> None:
    """Raise InputError, beginning with `where`, unless text is canonical JSON and every id one of `rows` rows."""
    try:
        parts = parse(text)
        if canonical(parts) != text:
            raise InputError("is not in its canonical form")
        ids = token_ids(parts)
    except InputError as error:
        raise InputError(f"{where}: tokenizer: {error}") from None
    beyond = next((token for token, id in ids.items() if id >= rows), None)
    if beyond is not None:
        raise InputError(
            f"{where}: the tokenizer has {len(ids)} tokens, the embedding rows for {rows}: there is none for "
            f"{shown(beyond)}, id {ids[beyond]}"
        )


def sha256_of_text(text: str) -> str:
    """SHA-256 (hex) of a text's UTF-8 bytes: of canonical JSON, the tokenizer's fingerprint."""
    return hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------ for people


def describe(text: str) -> str:
    """A tokenizer in one line: the kind of its model, how many tokens, what becomes of the text."""
    parts = json.loads(text)
    how = _describe_normalizer(parts["normalizer"])
    return f"{parts['model'].get('type', 'another kind')}, {len(token_ids(parts)):,} tokens, {how}"


def _describe_normalizer(normalizer) -> str:
    kind = normalizer.get("type") if isinstance(normalizer, dict) else None
    if kind != "BertNormalizer":
        return f"normalizer {kind}"
    lowercase, accents = normalizer.get("lowercase"), normalizer.get("strip_accents")
    removed = lowercase if accents is None else accents
    chinese = "" if normalizer.get("handle_chinese_chars") else "not "
    casing = "lowercase" if lowercase else "cased"
    return f"{casing}, accents {'removed' if removed else 'kept'}, Chinese characters {chinese}split"


def differences(text: str, other: str) -> str:
    """What two tokenizers differ in, for people, as far as the fingerprint `other` of the second one can tell it.

    Only casing is tried: it is what is confused most often. "" if that is not it.
    """
    parts = json.loads(text)
    normalizer = parts["normalizer"]
    if not isinstance(normalizer, dict) or not isinstance(normalizer.get("lowercase"), bool):
        return ""
    normalizer["lowercase"] = not normalizer["lowercase"]
    if sha256_of_text(canonical(parts)) != other:
        return ""
    there, here = ("lowercase", "cased") if normalizer["lowercase"] else ("cased", "lowercase")
    return f"{there} there, {here} here; "
