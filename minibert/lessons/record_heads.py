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
    _, of_layers = encoder(backbone, batch)
    d_head = backbone.config.hidden_size // backbone.config.n_heads
    columns = [(layer, slice(head * d_head, (head + 1) * d_head)) for layer, head in heads]
    q, k = (np.concatenate([of_layers[layer][i][:, head] for layer, head in columns], axis=1) for i in (0, 1))
    words = [word for sequence in backbone.tokenizer.words(batch) for word in sequence]
    return RealHeads(words, batch.offsets, heads, q, k)


def encoder(backbone, batch):
    """Hidden states (T, D), and the queries and keys (T, D) of each layer, by the functions of plain/, in float64."""
    params = {name: np.asarray(array, np.float64) for name, array in backbone.parameters().items()}
    eps, all_queries_and_keys = backbone.config.layernorm_eps, []

    def linear(x, name):
        return plain.linear(x, params[f"{name}/W"], params[f"{name}/b"])[0]

    def layernorm(x, name):
        return plain.layernorm(x, params[f"{name}/norm/gamma"], params[f"{name}/norm/beta"], eps)[0]

    tables = {"word": batch.ids, "position": batch.positions, "segment": batch.segments}
    x = sum(plain.embedding(rows, params[f"embeddings/{name}/W"])[0] for name, rows in tables.items())
    x = layernorm(x, "embeddings")
    for i in range(backbone.config.n_layers):
        attention, feed_forward = f"encoder/layers/{i}/attention", f"encoder/layers/{i}/feed_forward"
        q, k, v = (linear(x, f"{attention}/{name}") for name in ("query", "key", "value"))
        all_queries_and_keys.append((q, k))
        y, _ = plain.attention(q, k, v, batch.offsets, backbone.config.n_heads)
        x = layernorm(x + linear(y, f"{attention}/output"), attention)
        y, _ = plain.gelu(linear(x, f"{feed_forward}/intermediate"))
        x = layernorm(x + linear(y, f"{feed_forward}/output"), feed_forward)
    return x, all_queries_and_keys


def write(found: RealHeads, path: Path = FILE) -> None:
    """Write it for real_heads(); q and k in float16, which moves no attention weight by more than 0.001."""
    small = {"q": found.q.astype(np.float16), "k": found.k.astype(np.float16)}
    np.savez_compressed(path, words=found.words, offsets=found.offsets, heads=found.heads, **small)


if __name__ == "__main__":
    write(record(load_backbone(weights()), SENTENCES, HEADS), Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
