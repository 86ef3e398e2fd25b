"""The backbone file: a pre-trained BERT and its vocabulary.

/params/...          the parameters, group by group as in the tree
/tokenizer/vocab     the vocabulary; attributes lowercase, strip_accents, chinese_chars, sha256
attributes           config as JSON, source, source_sha256, fingerprint of the weights
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py

from minibert.config import BertConfig, InputError
from minibert.params import flatten, unflatten
from minibert.storage import hdf5

GET_BACKBONE = "get one with: python -m weights_convert fetch minilm-l6 --out FILE"
SPECIAL_TOKENS = ("[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class TokenizerSpec:
    """A WordPiece vocabulary (the place of a word is its id) and how BERT's tokenizer treats text before it.

    lowercase: text is lowercased. strip_accents: accents are removed; None means "if lowercased", as in BERT.
    chinese_chars: each Chinese character is a word of its own.
    """

    vocab: tuple[str, ...]
    lowercase: bool = True
    strip_accents: bool | None = None
    chinese_chars: bool = True

    def __post_init__(self):
        if not all(isinstance(token, str) for token in self.vocab):
            raise InputError("the vocabulary must be a list of words")
        seen: dict[str, int] = {}
        for i, token in enumerate(self.vocab):
            if "\n" in token or "\0" in token:
                raise InputError(f"vocabulary: word {i} is {token!r}; a word cannot hold a line end or a zero byte")
            if seen.setdefault(token, i) != i:
                raise InputError(f"vocabulary: {token!r} is there twice, as words {seen[token]} and {i}")
        for token in SPECIAL_TOKENS:
            if token not in seen:
                raise InputError(
                    f"vocabulary: {token} is missing; every BERT vocabulary has {', '.join(SPECIAL_TOKENS)}"
                )
        for name, kinds in (("lowercase", bool), ("strip_accents", (bool, type(None))), ("chinese_chars", bool)):
            if not isinstance(getattr(self, name), kinds):
                raise InputError(f"tokenizer: {name} must be true or false, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class BackboneFile:
    """What a backbone file holds. params: a tree of C-contiguous float32 arrays, shapes as `config.shapes()`."""

    config: BertConfig
    params: dict
    vocab: list[str]
    lowercase: bool
    strip_accents: bool | None
    tokenize_chinese: bool
    source: str
    source_sha256: str
    fingerprint: str


def write_backbone(
    path: str | Path, config: BertConfig, params: dict, tokenizer: TokenizerSpec, source: str, source_sha256: str
) -> None:
    """Write a backbone.

    params: tree (or flat dict) of float32 arrays, shapes as `config.shapes()`. source: where the weights come from, for
    people; source_sha256: of the file they were read from. If anything does not fit, raises InputError.
    """
    flat = flatten(params)
    hdf5.check_arrays(path, flat, config.shapes())
    _check_vocab_fits(path, tokenizer, config)
    with hdf5.write_file(path, "minibert-backbone") as file:
        hdf5.write_text(file, "config", config.to_json())
        hdf5.write_text(file, "source", source)
        hdf5.write_text(file, "source_sha256", source_sha256)
        hdf5.write_text(file, "fingerprint", hdf5.fingerprint(flat))
        hdf5.write_arrays(file.create_group("params"), {name: flat[name] for name in config.shapes()})
        group = file.create_group("tokenizer")
        words = [word.encode() for word in tokenizer.vocab]
        group.create_dataset("vocab", data=words, dtype=h5py.string_dtype("utf-8", max(map(len, words))))
        hdf5.write_text(group, "sha256", _vocab_sha256(tokenizer.vocab))
        for name in ("lowercase", "strip_accents", "chinese_chars"):
            hdf5.write_json(group, name, getattr(tokenizer, name))


def read_backbone(path: str | Path) -> BackboneFile:
    """Read a backbone and check all of it: names, shapes, dtypes, finiteness, fingerprint, vocabulary.

    Raises InputError that names the file and the first thing that is wrong.
    """
    with hdf5.read_file(path, "minibert-backbone", GET_BACKBONE) as file:
        hdf5.check_children(file, ("params", "tokenizer"), path)
        config = hdf5.read_settings(BertConfig, file, "config", path)
        expected = {name: (shape, "float32") for name, shape in config.shapes().items()}
        flat = hdf5.read_arrays(hdf5.child(file, "params", h5py.Group, path), expected, path)
        stored = hdf5.read_text(file, "fingerprint", path)
        hdf5.check_sha256(path, "the weights", stored, hdf5.fingerprint(flat), GET_BACKBONE)
        tokenizer = _read_tokenizer(hdf5.child(file, "tokenizer", h5py.Group, path), path)
        _check_vocab_fits(path, tokenizer, config)
        return BackboneFile(
            config=config,
            params=unflatten(flat),
            vocab=list(tokenizer.vocab),
            lowercase=tokenizer.lowercase,
            strip_accents=tokenizer.strip_accents,
            tokenize_chinese=tokenizer.chinese_chars,
            source=hdf5.read_text(file, "source", path),
            source_sha256=hdf5.read_text(file, "source_sha256", path),
            fingerprint=stored,
        )


def _read_tokenizer(group: h5py.Group, path: str | Path) -> TokenizerSpec:
    hdf5.check_children(group, ("vocab",), path)
    dataset = hdf5.plain_dataset(group, "vocab", path)
    if dataset.ndim != 1 or dataset.dtype.kind != "S":
        raise InputError(f"{path}: /tokenizer/vocab is {dataset.dtype} {dataset.shape}, expected a list of UTF-8 words")
    try:
        vocab = tuple(word.decode() for word in dataset[()].tolist())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: /tokenizer/vocab is not UTF-8 text: {error}") from None
    hdf5.check_sha256(path, "the vocabulary", hdf5.read_text(group, "sha256", path), _vocab_sha256(vocab), GET_BACKBONE)
    casing = {
        name: hdf5.read_json(group, name, path, kinds)
        for name, kinds in (("lowercase", bool), ("strip_accents", (bool, type(None))), ("chinese_chars", bool))
    }
    try:
        return TokenizerSpec(vocab, **casing)
    except InputError as error:
        raise hdf5.in_file(path, error) from None


def _vocab_sha256(vocab: tuple[str, ...]) -> str:
    return hashlib.sha256("".join(f"{word}\n" for word in vocab).encode()).hexdigest()


def _check_vocab_fits(path: str | Path, tokenizer: TokenizerSpec, config: BertConfig) -> None:
    if len(tokenizer.vocab) > config.vocab_size:
        raise InputError(
            f"{path}: the vocabulary has {len(tokenizer.vocab)} words, the embedding rows for {config.vocab_size}"
        )
