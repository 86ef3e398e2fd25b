"""Three heads of a real BERT, recorded: lesson 3 shows real attention without the weights of a BERT."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = Path(__file__).parent / "data" / "heads.npz"


class RealHeads(NamedTuple):
    """Queries and keys of some heads of a BERT on a packed batch. d_head = q.shape[1] / len(heads)."""

    words: list[str]  # T word pieces
    offsets: np.ndarray  # (B + 1,)
    heads: list[tuple[int, int]]  # (layer, head), both counted from 0; each has d_head columns of q and k
    q: np.ndarray  # (T, len(heads) d_head), float64
    k: np.ndarray  # (T, len(heads) d_head), float64


def real_heads(path: Path = FILE) -> RealHeads:
    """Three heads of minilm-l6 on two sentences that differ in one word. record_heads.py made the file.

    path: another file that record_heads.py wrote.
    """
    with np.load(path) as file:
        return RealHeads(
            file["words"].tolist(),
            file["offsets"].astype(np.int64),
            [tuple(head) for head in file["heads"].tolist()],
            file["q"].astype(np.float64),
            file["k"].astype(np.float64),
        )
