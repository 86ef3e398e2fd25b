"""A backbone for a course: that of a file, with the word pieces that the course needs, and weights in float16.

MiniLM has 30,522 word pieces, half of its bytes. A text all of whose pieces are kept is cut as before: the longest
piece that fits is still there, and no longer one has come. The weights are rounded to float16, so hidden states differ
a little from those of the file that it was made of.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from minibert.errors import InputError
from minibert.storage import read_backbone, write_backbone
from minibert.storage.tokenizer import canonical, model_vocab, parse
from minibert.text import Tokenizer

PIECES = 8000  # if the texts need no more: with the commonest pieces a learner can write sentences of their own


def write(source: Path, out: Path, texts: list[str], pieces: int = PIECES) -> int:
    """Write the course's backbone. texts: what must be cut into the same pieces as before. Returns how many it has.

    Raises InputError if the source cannot be read, or has a tokenizer of another kind than WordPiece.
    """
    file = read_backbone(source)
    parts = parse(file.tokenizer)
    if parts["model"].get("type") != "WordPiece":
        raise InputError(f"{source}: only of a WordPiece tokenizer can pieces be left out")
    kept = _kept(Tokenizer(file.tokenizer), parts, texts, pieces)
    new = {old: i for i, old in enumerate(kept)}
    parts["model"]["vocab"] = {token: new[old] for token, old in model_vocab(parts).items() if old in new}
    parts["added_tokens"] = [token | {"id": new[token["id"]]} for token in parts["added_tokens"]]
    params = dict(file.params)
    words = {"W": np.ascontiguousarray(params["embeddings"]["word"]["W"][kept])}
    params["embeddings"] = {**params["embeddings"], "word": words}
    config = replace(file.config, vocab_size=len(kept))
    told = f"{file.source}; {len(kept):,} of its {file.config.vocab_size:,} word pieces, in float16"
    write_backbone(out, config, params, canonical(parts), told, file.source_sha256, half=True)
    return len(kept)


def _kept(tokenizer: Tokenizer, parts: dict, texts: list[str], pieces: int) -> list[int]:
    """The ids to keep, in their order: those of the texts, special tokens, single characters, then the first ones.

    The vocabulary of BERT has its words in the order of how often they are used."""
    needed = {token["id"] for token in parts["added_tokens"]}
    for found in tokenizer.pieces(texts):
        needed |= set(found.ids.tolist())
    plain = [i for i, token in enumerate(tokenizer.vocab) if token.isascii() and not token.startswith("[unused")]
    needed |= {i for i in plain if len(tokenizer.vocab[i].removeprefix("##")) == 1}
    more = [i for i in plain if i not in needed][: max(0, pieces - len(needed))]
    return sorted(needed | set(more))
