"""What tests of training and of the command line share: a tiny random backbone with a vocabulary, and texts for it."""

import csv
import os
import random
from pathlib import Path

from minibert.backbone import random_backbone
from minibert.config import BertConfig
from minibert.storage import bert_tokenizer, write_backbone

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
WORDS = ["good", "fine", "great", "lovely", "bad", "poor", "awful", "dull", "the", "a", "film", "book", "tea", "was"]
WORDS += ["is", "not", "very", ",", ".", "!"]
VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ly")
CONFIG = BertConfig(len(VOCAB), hidden_size=32, n_layers=2, n_heads=2, feed_forward_size=64, max_positions=24)


def write_tiny_backbone(path, seed=0):
    """A random backbone file; weights are large enough for its features to tell texts apart."""
    arrays = random_backbone(CONFIG, seed=seed, std=0.15).params
    write_backbone(path, CONFIG, arrays, bert_tokenizer(VOCAB), "random", "0" * 64)
    return path


def random_texts(n, seed=0, pairs=False):
    """n different texts of 2 to 8 words (or pairs with a tab between), n labels: nothing to learn but by heart."""
    rng = random.Random(seed)
    texts = {}
    while len(texts) < n:
        words = [" ".join(rng.choices(WORDS, k=rng.randint(4, 10))) for _ in range(2 if pairs else 1)]
        texts["\t".join(words)] = ("no", "yes")[len(texts) % 2]
    return list(texts), list(texts.values())


def write_csv(path, columns):
    """{column name: cells} to a comma-separated file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def environment(**more) -> dict[str, str]:
    """The environment of a process that imports minibert and these helpers."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])} | more
