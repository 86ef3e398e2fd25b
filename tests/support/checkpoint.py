"""What the tests of weights_convert share: a tiny random checkpoint in the form of Hugging Face, and its commands."""

import json
from types import SimpleNamespace

import numpy as np
import safetensors.numpy

from minibert.config import BertConfig
from weights_convert import cli
from weights_convert.names import name_map

CONFIG = BertConfig(vocab_size=9, hidden_size=8, n_layers=2, n_heads=2, feed_forward_size=12, max_positions=6)
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s", "é"]
FILES = ("config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json")


def random_tensors(dtype=np.float32):
    """A checkpoint in Hugging Face's names and orientation."""
    rng, shapes = np.random.default_rng(0), CONFIG.shapes()
    tensors = {}
    for theirs, (ours, transposed) in name_map(CONFIG.n_layers).items():
        shape = shapes[ours][::-1] if transposed else shapes[ours]
        tensors[theirs] = rng.standard_normal(shape).astype(dtype)
    return tensors | {"embeddings.position_ids": np.arange(6)[None]}


THEIR_CONFIG = {
    "model_type": "bert",
    "vocab_size": 9,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 6,
    "hidden_act": "gelu",
}


def write_checkpoint(path):
    """Make a Hugging Face folder."""
    path.mkdir()
    safetensors.numpy.save_file(random_tensors(), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(THEIR_CONFIG))
    (path / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCAB), encoding="utf-8")
    (path / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    return path


def run_command(capsys, *arguments):
    """Run a command; gives its exit code, what it printed, and its one line of error."""
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (code, err.count("\n")) in ((0, 0), (2, 1)), err
    assert code == 0 or err.startswith("error: ")
    return SimpleNamespace(code=code, out=out, err=err)
