"""A Hugging Face model folder: read one, write one. tokenizer.py reads the files of its tokenizer."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from minibert.config import BertConfig
from minibert.errors import InputError, shown
from minibert.storage import BackboneFile, cannot_be_written, sha256_of, temporary_folder
from minibert.storage.tokenizer import bert_tokenizer, check_tokenizer, model_vocab, parse, token_ids
from weights_convert.heads import TheirModel, encoder_alone
from weights_convert.names import Account, has_pooler, to_ours, to_theirs
from weights_convert.tensors import LAYOUTS, WEIGHTS, open_tensors, other_weights, safetensors
from weights_convert.tokenizer import BERT_CLASSES, GENERIC_CLASSES, read_tokenizer
from weights_convert.tokenizer_files import ADDED, CASING, CONFIG, ROLES, SPECIAL, VOCAB, WHOLE, read_json

# (our name, theirs, value if theirs is absent: what transformers' BertConfig takes then; None: it must be there)
SETTINGS = (
    ("vocab_size", "vocab_size", None),
    ("hidden_size", "hidden_size", None),
    ("n_layers", "num_hidden_layers", None),
    ("n_heads", "num_attention_heads", None),
    ("feed_forward_size", "intermediate_size", None),
    ("max_positions", "max_position_embeddings", 512),
    ("n_segments", "type_vocab_size", 2),
    ("layernorm_eps", "layer_norm_eps", 1e-12),
    ("hidden_dropout", "hidden_dropout_prob", 0.1),
    ("attention_dropout", "attention_probs_dropout_prob", 0.1),
)
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
CHANGED = {  # settings by which the weights are not those of the other settings
    "quantization_config": "the weights are quantized",
    "compression_config": "the weights are compressed",
    "pruned_heads": "attention heads were taken out",
}
RELEASE_CONFIG = "bert_config.json"  # beside TensorFlow's checkpoint
THEIR_ACTIVATION = {"gelu": "gelu", "gelu_tanh": "gelu_new"}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in our names. params: {flat name: float32 array}; tokenizer: canonical JSON; notes: to print."""

    config: BertConfig
    params: dict
    tokenizer: str
    account: Account
    sha256: str  # of the file of the weights; of shards end to end
    notes: list[str] = field(default_factory=list)


def read_checkpoint(weights: Path, lowercase: bool | None = None, names=None) -> Checkpoint:
    """Read the weights of a checkpoint (one of LAYOUTS), and the config and the tokenizer that lie beside them.

    lowercase: what to assume if no file says (None: that is an error). names: the files that may be read; default: all.
    A checkpoint without a pooler gives a config that says so. Raises InputError that names the file and the first thing
    that is wrong or missing.
    """
    folder = weights.parent
    of_release = weights.suffix == ".index" and not (folder / CONFIG).exists()
    config = read_config(folder / (RELEASE_CONFIG if of_release else CONFIG))
    tokenizer, notes = read_tokenizer(folder, lowercase, names)
    check_tokenizer(folder, tokenizer, config.vocab_size)
    if config.n_segments < 2:
        notes.append(f"note: {CONFIG} has type_vocab_size 1: tasks of pairs need two segments")
    tensors = open_tensors(weights)
    if not has_pooler(tensors.stored):
        config = replace(config, pooler=False)
        notes.append("note: there is no pooler in this checkpoint; --pooled-head needs one, nothing else does")
    unread = [name for name in LAYOUTS if name != weights.name and names is None and (folder / name).exists()]
    if unread:
        notes.append(f"note: {weights.name} was read, and {' and '.join(unread)} was not; they should be the same")
    adapters = [name for name in other_weights(folder) if name.startswith("adapter_") and names is None]
    if adapters:
        notes.append(f"note: {' and '.join(adapters)} was not read: these are the weights without that adapter")
    try:
        params, account = to_ours(tensors.read, tensors.stored, config)
    except InputError as error:
        raise InputError(f"{weights}: {error}") from None
    return Checkpoint(config, params, tokenizer, account, sha256_of(*tensors.files), notes)


def read_config(path: Path) -> BertConfig:
    """Read config.json, or bert_config.json, which names no type of model.

    Raises InputError if the model is not a BERT encoder that minibert can compute.
    """
    settings = read_json(path)
    if path.name == RELEASE_CONFIG:
        settings.setdefault("model_type", "bert")
    for name, wanted in (("model_type", ("bert",)), ("hidden_act", tuple(ACTIVATIONS))):
        if settings.get(name, "gelu" if name == "hidden_act" else None) not in wanted:
            raise InputError(f"{path}: {name} is {shown(settings.get(name))}, expected {' or '.join(wanted)}")
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{path}: position_embedding_type is {shown(settings['position_embedding_type'])}, expected absolute"
        )
    for name, what in CHANGED.items():
        if settings.get(name):
            raise InputError(f"{path}: {name} is {shown(settings[name])}: {what}; expected a plain BERT without it")
    if settings.get("is_decoder") or settings.get("add_cross_attention"):
        raise InputError(f"{path}: is a decoder (is_decoder or add_cross_attention), expected an encoder")
    values = {}
    for ours, theirs, default in SETTINGS:
        if theirs not in settings and default is None:
            raise InputError(f"{path}: {theirs} is missing")
        values[ours] = settings.get(theirs, default)
    try:
        return BertConfig(**values, activation=ACTIVATIONS[settings.get("hidden_act", "gelu")])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def write_folder(backbone: BackboneFile, folder: Path, model: TheirModel | None = None) -> list[str]:
    """Write a folder that `from_pretrained` of transformers' models and of AutoTokenizer loads.

    model: of this backbone; default: the encoder alone, a BertModel.
    The folder is made if need be; each file appears whole or not at all; other files of a tokenizer, which would not
    agree, are removed. Returns the names of the files. Raises InputError if it cannot be written.
    """
    package = safetensors()
    model = model or encoder_alone(backbone)
    parts = parse(backbone.tokenizer)
    texts = {
        CONFIG: _json_text(_their_config(model, parts)),
        CASING: _json_text(_their_casing(backbone, parts)),
        WHOLE: _json_text(_their_tokenizer(parts)),
    }
    vocabulary = _vocabulary_file(parts)
    if vocabulary:
        texts[VOCAB] = vocabulary
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(".writing-", folder) as work:
            package.numpy.save_file(_their_tensors(model), work / WEIGHTS, metadata={"format": "pt"})
            for name, text in texts.items():
                (work / name).write_text(text, encoding="utf-8", newline="")
            shutil.copymode(work / CONFIG, work / WEIGHTS)  # safetensors lets only the owner read
            for name in (WEIGHTS, *texts):
                os.replace(work / name, folder / name)
        for name in {VOCAB, ADDED, SPECIAL} - set(texts):
            (folder / name).unlink(missing_ok=True)
    except (OSError, package.SafetensorError) as error:
        raise cannot_be_written(folder, error) from error
    return [WEIGHTS, *texts]


def _json_text(value: dict) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _their_tensors(model: TheirModel) -> dict:
    """By their names: before those of the encoder stands "bert." where there is a head."""
    prefix = "bert." if model.head else ""
    tensors = {prefix + name: array for name, array in to_theirs(model.params, model.config).items()}
    return tensors | {name: np.ascontiguousarray(array) for name, array in model.head.items()}


def _their_config(model: TheirModel, parts: dict) -> dict:
    config = model.config
    return {
        "architectures": [model.architecture],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for ours, theirs, _ in SETTINGS},
        "hidden_act": THEIR_ACTIVATION[config.activation],
        "position_embedding_type": "absolute",
        "pad_token_id": token_ids(parts).get("[PAD]", 0),
        **model.settings,
    }


def _their_casing(backbone: BackboneFile, parts: dict) -> dict:
    """tokenizer_config.json, with the class that makes transformers load exactly this tokenizer."""
    added = {token["content"]: token for token in parts["added_tokens"]}
    flags = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in parts["added_tokens"]}
    settings = {
        "tokenizer_class": GENERIC_CLASSES[0],
        "added_tokens_decoder": flags,
        "model_max_length": backbone.config.max_positions,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{role: token for role, token in ROLES.items() if added.get(token, {}).get("special")},
    }
    if "add_prefix_space" in (parts["pre_tokenizer"] or {}):
        settings["add_prefix_space"] = parts["pre_tokenizer"]["add_prefix_space"]
    if _is_berts(parts):
        normalizer = parts["normalizer"]
        settings["tokenizer_class"] = BERT_CLASSES[0]
        settings["do_lower_case"] = normalizer["lowercase"]
        settings["strip_accents"] = normalizer["strip_accents"]
        settings["tokenize_chinese_chars"] = normalizer["handle_chinese_chars"]
    return settings


def _is_berts(parts: dict) -> bool:
    """Whether `bert_tokenizer` makes this tokenizer, with its usual special tokens and no others."""
    normalizer, vocab = parts["normalizer"] or {}, model_vocab(parts)
    options = [normalizer.get(name) for name in ("lowercase", "strip_accents", "handle_chinese_chars")]
    try:
        made = parse(bert_tokenizer(sorted(vocab, key=vocab.get), *options))
    except InputError:
        return False
    return made == parts and len(made["added_tokens"]) == len(ROLES)


def _their_tokenizer(parts: dict) -> dict:
    """tokenizer.json; WordPiece has its usual decoder, which is not kept as it changes no token."""
    model, decoder = parts["model"], None
    if model.get("type") == "WordPiece":
        decoder = {"type": "WordPiece", "prefix": model["continuing_subword_prefix"], "cleanup": True}
    return {**parts, "truncation": None, "padding": None, "decoder": decoder}


def _vocabulary_file(parts: dict) -> str:
    """vocab.txt of a WordPiece model; "" if a file of one word a line cannot hold it."""
    vocab = model_vocab(parts)
    words = sorted(vocab, key=vocab.get)
    in_lines = not any("\n" in word or "\r" in word for word in words)
    if parts["model"].get("type") != "WordPiece" or not in_lines or max(vocab.values()) >= len(vocab):
        return ""
    return "".join(f"{word}\n" for word in words)
