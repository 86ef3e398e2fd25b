"""The backbone file: a pre-trained BERT and its tokenizer.

/params/...          the parameters, group by group as in the tree
/tokenizer/json      the tokenizer as canonical JSON (see tokenizer.py), UTF-8; attribute sha256 of /tokenizer
attributes           config as JSON, source, source_sha256, fingerprint of the weights; stored_as, "float16", where the
                     parameters lie in half precision: they are read as float32, and the fingerprint is of that

Version 1 has /tokenizer/vocab, the vocabulary, and lowercase, strip_accents, chinese_chars as attributes of /tokenizer:
BERT's tokenizer is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from minibert.config import BertConfig
from minibert.errors import InputError, need, shown
from minibert.params import flatten, unflatten
from minibert.storage import hdf5
from minibert.storage.tokenizer import bert_tokenizer, check_tokenizer, sha256_of_text

HALF = "float16"
GET_BACKBONE = "get one with: python -m weights_convert fetch minilm-l6 --out FILE"


@dataclass(frozen=True)
class BackboneFile:
    """What a backbone file holds. params: a tree of C-contiguous float32 arrays, shapes as `config.shapes()`.

    tokenizer: its canonical JSON. fingerprint: of the weights.
    """

    config: BertConfig
    params: dict
    tokenizer: str
    source: str
    source_sha256: str
    fingerprint: str

    @property
    def tokenizer_fingerprint(self) -> str:
        """SHA-256 of the tokenizer's JSON."""
        return sha256_of_text(self.tokenizer)

    @property
    def encoder_fingerprint(self) -> str:
        """Of the embeddings and layers alone: the same whether a checkpoint was saved with its pooler or without."""
        return hdf5.fingerprint({name: part for name, part in self.params.items() if name != "pooler"})


def write_backbone(
    path: str | Path,
    config: BertConfig,
    params: dict,
    tokenizer: str,
    source: str,
    source_sha256: str,
    half: bool = False,
) -> None:
    """Write a backbone.

    params: tree (or flat dict) of float32 arrays, shapes as `config.shapes()`. tokenizer: canonical JSON, of
    `bert_tokenizer` or `canonical`. source: where the weights come from, for people; source_sha256: of the file they
    were read from. half: round the weights to float16, and store them so, in half the bytes. If anything does not fit,
    raises InputError.
    """
    flat = flatten(params)
    hdf5.check_arrays(path, flat, config.shapes())
    if half:
        stored = {name: _rounded(array) for name, array in flat.items()}
        flat = {name: array.astype(np.float32) for name, array in stored.items()}
        too_large = [name for name, array in flat.items() if not np.isfinite(array).all()]
        need(not too_large, f"{path}: not written, as {', '.join(too_large[:1])} holds numbers too large for float16")
    check_tokenizer(path, tokenizer, config.vocab_size)
    with hdf5.write_file(path, "minibert-backbone") as file:
        hdf5.write_text(file, "config", config.to_json())
        hdf5.write_text(file, "source", source)
        hdf5.write_text(file, "source_sha256", source_sha256)
        hdf5.write_text(file, "fingerprint", hdf5.fingerprint(flat))
        if half:
            hdf5.write_text(file, "stored_as", HALF)
        arrays = stored if half else flat
        hdf5.write_arrays(file.create_group("params"), {name: arrays[name] for name in config.shapes()})
        group = file.create_group("tokenizer")
        hdf5.write_arrays(group, {"json": np.frombuffer(tokenizer.encode(), np.uint8)})
        hdf5.write_text(group, "sha256", sha256_of_text(tokenizer))


def _rounded(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def read_backbone(path: str | Path) -> BackboneFile:
    """Read a backbone and check all of it: names, shapes, dtypes, finiteness, fingerprint, tokenizer.

    Raises InputError that names the file and the first thing that is wrong.
    """
    with hdf5.read_file(path, "minibert-backbone", GET_BACKBONE) as file:
        hdf5.check_children(file, ("params", "tokenizer"), path)
        config = hdf5.read_settings(BertConfig, file, "config", path)
        dtype = _stored_as(file, path)
        expected = {name: (shape, dtype) for name, shape in config.shapes().items()}
        flat = hdf5.read_arrays(hdf5.child(file, "params", h5py.Group, path), expected, path)
        flat = {name: array.astype(np.float32, copy=False) for name, array in flat.items()}
        stored = hdf5.read_text(file, "fingerprint", path)
        hdf5.check_sha256(path, "the weights", stored, hdf5.fingerprint(flat), GET_BACKBONE)
        read_tokenizer = _read_tokenizer if file.attrs["version"] >= 2 else _read_vocabulary
        tokenizer = read_tokenizer(hdf5.child(file, "tokenizer", h5py.Group, path), path)
        check_tokenizer(path, tokenizer, config.vocab_size)
        return BackboneFile(
            config=config,
            params=unflatten(flat),
            tokenizer=tokenizer,
            source=hdf5.read_text(file, "source", path),
            source_sha256=hdf5.read_text(file, "source_sha256", path),
            fingerprint=stored,
        )


def _stored_as(file: h5py.File, path: str | Path) -> str:
    if "stored_as" not in file.attrs:
        return "float32"
    found = hdf5.read_text(file, "stored_as", path)
    if found != HALF:
        raise InputError(f"{path}: the weights are stored as {shown(found)}, expected {HALF}")
    return found


def _read_tokenizer(group: h5py.Group, path: str | Path) -> str:
    hdf5.check_children(group, ("json",), path)
    try:
        text = hdf5.read_bytes(group, "json", path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: /tokenizer/json is not UTF-8 text: {error}") from None
    hdf5.check_sha256(path, "the tokenizer", hdf5.read_text(group, "sha256", path), sha256_of_text(text), GET_BACKBONE)
    return text


def _read_vocabulary(group: h5py.Group, path: str | Path) -> str:
    """The tokenizer of a file of version 1."""
    hdf5.check_children(group, ("vocab",), path)
    dataset = hdf5.plain_dataset(group, "vocab", path)
    if dataset.ndim != 1 or dataset.dtype.kind != "S":
        raise InputError(f"{path}: /tokenizer/vocab is {dataset.dtype} {dataset.shape}, expected a list of UTF-8 words")
    try:
        vocab = [word.decode() for word in dataset[()].tolist()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: /tokenizer/vocab is not UTF-8 text: {error}") from None
    found = sha256_of_text("".join(f"{word}\n" for word in vocab))
    hdf5.check_sha256(path, "the vocabulary", hdf5.read_text(group, "sha256", path), found, GET_BACKBONE)
    casing = {
        name: hdf5.read_json(group, name, path, kinds)
        for name, kinds in (("lowercase", bool), ("strip_accents", (bool, type(None))), ("chinese_chars", bool))
    }
    try:
        return bert_tokenizer(vocab, **casing)
    except InputError as error:
        raise hdf5.in_file(path, error) from None
