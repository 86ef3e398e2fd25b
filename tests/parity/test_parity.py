"""minibert beside transformers and PyTorch: tokens, hidden states, gradients. Run by `make parity`."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_models import options_of
from torch_bert import TorchModel
from transformers import AutoTokenizer, BertModel

from minibert import AdapterConfig, BertConfig, Model, load_backbone
from minibert.backbone import random_backbone
from minibert.config import METHODS
from minibert.gradcheck import away_from_identity, tiny_batch, true_gradient_is_zero


@pytest.fixture(scope="session")
def backbone(backbone_path):
    return load_backbone(backbone_path)


@pytest.fixture(scope="session")
def tokenizer(hf_folder):
    return AutoTokenizer.from_pretrained(hf_folder)


def random_strings(count, seed=0):
    """Strings of all kinds of characters: ASCII, Latin, CJK, emoji, accents, controls, private use, special tokens."""
    rng = random.Random(seed)
    ranges = [(32, 126), (0, 31), (127, 0x24F), (0x300, 0x36F), (0x370, 0x1FFF), (0x2000, 0x2BFF), (0x3040, 0x9FFF)]
    ranges += [(0xAC00, 0xD7A3), (0xE000, 0xFFFD), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0, 0x10FFFF)]
    pieces = ["[SEP]", "[CLS]", "[MASK]", "[UNK]", " [ SEP ] ", "don't", "##ing", "\u200b", "\ufeff", "a" * 101]
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(0, 30)):
            if rng.random() < 0.05:
                text += rng.choice(pieces)
            else:
                low, high = rng.choice(ranges)
                code = rng.randint(low, high)
                text += chr(code) if not 0xD800 <= code <= 0xDFFF else " "
            text += " " * (rng.random() < 0.2)
        yield text


def assert_same_tokens(backbone, tokenizer, texts, pairs, max_length):
    ours = backbone.encode(texts, pairs, max_length)
    theirs = tokenizer(texts, pairs, truncation=True, max_length=max_length)
    for b, ids in enumerate(theirs["input_ids"]):
        rows = slice(ours.offsets[b], ours.offsets[b + 1])
        assert ours.ids[rows].tolist() == ids, repr(texts[b])
        assert ours.segments[rows].tolist() == theirs["token_type_ids"][b], repr(texts[b])


def test_token_ids_of_random_unicode(backbone, tokenizer):
    strings = list(random_strings(10_000))
    assert_same_tokens(backbone, tokenizer, strings, None, 128)
    assert_same_tokens(backbone, tokenizer, strings[:3000], strings[3000:6000], 24)


@pytest.mark.parametrize("max_length", [128, 16, 5])
def test_token_ids_of_texts(backbone, tokenizer, texts, max_length):
    singles, (first, second) = texts
    assert_same_tokens(backbone, tokenizer, singles, None, max_length)
    assert_same_tokens(backbone, tokenizer, first, second, max_length)


def torch_hidden(hf_folder, tokenizer, texts, pairs):
    model = BertModel.from_pretrained(hf_folder, attn_implementation="eager").eval()
    inputs = tokenizer(texts, pairs, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state.numpy()
    return hidden[inputs["attention_mask"].numpy().astype(bool)]


@pytest.mark.parametrize("back_end", ["numba", "plain", "numpy"])
def test_hidden_states(backbone_path, hf_folder, tokenizer, texts, back_end, tmp_path):
    singles, (first, second) = texts
    theirs = np.concatenate(
        [torch_hidden(hf_folder, tokenizer, singles, None), torch_hidden(hf_folder, tokenizer, first, second)]
    )
    code = """
import json, sys, numpy as np
from minibert import load_backbone
backbone = load_backbone(sys.argv[1])
singles, (first, second) = json.load(open(sys.argv[2]))
parts = [backbone.forward(backbone.encode(singles)), backbone.forward(backbone.encode(first, second))]
np.save(sys.argv[3], np.concatenate(parts))
"""
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    arguments = [str(backbone_path), str(tmp_path / "texts.json"), str(tmp_path / "hidden.npy")]
    subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, env={**os.environ, "MINIBERT_KERNELS": back_end}
    )
    ours = np.load(tmp_path / "hidden.npy")
    worst = np.abs(ours - theirs).max()
    print(f"\n{back_end}: {len(singles) + len(first)} texts, {len(ours)} tokens, largest difference {worst:.1e}")
    assert worst <= 2e-5


def compare_gradients(model, batch, labels):
    loss, ours = model.loss_and_grads(batch, labels)
    torch_loss, theirs = TorchModel(model).loss_and_grads(batch, labels, model.head)
    assert abs(loss - torch_loss) <= 1e-5 * max(1, abs(torch_loss))
    largest = max(np.abs(theirs[name]).max() for name in ours)
    errors = {}
    for name, grad in ours.items():
        if true_gradient_is_zero(name):
            assert np.abs(grad).max() <= 1e-5 * largest and np.abs(theirs[name]).max() <= 1e-5 * largest, name
            continue
        size = np.abs(theirs[name]).max()
        assert size > 1e-6 * largest, f"{name}: the gradient is too small to compare"
        errors[name] = np.abs(grad - theirs[name]).max() / size
    return errors


@pytest.mark.parametrize("head", ["classify", "regress"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_a_small_bert(method, head):
    config = BertConfig(vocab_size=60, hidden_size=24, n_layers=3, n_heads=3, feed_forward_size=40, max_positions=16)
    backbone = random_backbone(config, seed=1, std=0.2)
    for pooled in (False, True):
        n_out = 3 if head == "classify" else 1
        model = Model(backbone, head, n_out, method, pooled=pooled, **options_of(method, size=5, top_k=2))
        away_from_identity(model)
        batch, labels = tiny_batch(config, head, n_classes=3)
        errors = compare_gradients(model, batch, labels)
        worst = max(errors, key=errors.get)
        print(f"\n{method} {head} pooled={pooled}: {len(errors)} tensors, worst {worst} {errors[worst]:.1e}")
        assert errors[worst] <= 1e-4


@pytest.mark.parametrize("activation", ["gelu_tanh", "swish", "relu", "tanh"])
def test_gradients_of_other_activations(activation):
    gelu = activation if activation == "gelu_tanh" else "gelu"
    config = BertConfig(60, 24, 2, 3, 40, max_positions=16, activation=gelu)
    model = Model(random_backbone(config, 2, std=0.2), adapter=AdapterConfig(size=5, activation=activation))
    away_from_identity(model)
    errors = compare_gradients(model, *tiny_batch(config, "classify", n_classes=2))
    assert max(errors.values()) <= 1e-4


@pytest.mark.parametrize("head", ["classify", "regress"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_the_real_backbone(backbone, texts, method, head):
    model = Model(backbone, head, 2 if head == "classify" else 1, method, **options_of(method, size=16, top_k=2))
    away_from_identity(model, std=0.02)
    batch = backbone.encode(texts[0][:8])
    labels = np.arange(8) % 2 if head == "classify" else np.linspace(0, 5, 8)
    errors = compare_gradients(model, batch, labels)
    worst = max(errors, key=errors.get)
    print(f"\n{method} {head}: {len(errors)} tensors, worst {worst} {errors[worst]:.1e}")
    assert errors[worst] <= 1e-4
