"""Record what real_heads() reads: queries and keys of some heads of a BERT, on some sentences.

    python -m minibert.lessons.record_heads [FILE]      writes data/heads.npz again, or FILE

Needs the weights of minilm-l6, as lessons.weights() finds them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from minibert import load_backbone
from minibert.lessons import plain
from minibert.lessons.real_heads import FILE, RealHeads
from minibert.lessons.setting import weights

SENTENCES = ["The cat drank the milk because it was thirsty.", "The cat drank the milk because it was fresh."]
HEADS = [(0, 2), (2, 9), (3, 1)]  # the word before; [CLS], whatever the word; the noun of a pronoun


def record(backbone, texts: list[str], heads: list[tuple[int, int]]) -> RealHeads:
    """Queries and keys of the heads, (layer, head), when the backbone reads the texts."""
    batch = backbone.encode(texts)
    of_layers = queries_and_keys(backbone, batch)
    d_head = backbone.config.hidden_size // backbone.config.n_heads
    columns = [(layer, slice(head * d_head, (head + 1) * d_head)) for layer, head in heads]
    q, k = (np.concatenate([of_layers[layer][i][:, head] for layer, head in columns], axis=1) for i in (0, 1))
    words = [word for sequence in backbone.tokenizer.words(batch) for word in sequence]
    return RealHeads(words, batch.offsets, heads, q, k)


def queries_and_keys(backbone, batch) -> list[tuple[np.ndarray, np.ndarray]]:
    """Those of each layer, (T, D) each, in float64: plain.layer keeps them for backward."""
    params = {name: np.asarray(array, np.float64) for name, array in backbone.parameters().items()}
    x, _ = plain.embeddings(batch.ids, batch.segments, batch.positions, plain.below(params, "embeddings"))
    found = []
    for i in range(backbone.config.n_layers):
        x, (_, _, _, attention, *_) = plain.layer(
            x, plain.below(params, f"encoder/layers/{i}"), batch.offsets, backbone.config.n_heads
        )
        q, k, *_ = attention
        found.append((q, k))
    return found


def write(found: RealHeads, path: Path = FILE) -> None:
    """Write it for real_heads(); q and k in float16, which moves no attention weight by more than 0.001."""
    small = {"q": found.q.astype(np.float16), "k": found.k.astype(np.float16)}
    np.savez_compressed(path, words=found.words, offsets=found.offsets, heads=found.heads, **small)


if __name__ == "__main__":
    write(record(load_backbone(weights()), SENTENCES, HEADS), Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
