"""A Hugging Face model folder: read one, write one. Its files are the four named below."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from minibert.config import BertConfig, InputError, parse_json
from minibert.params import flatten
from minibert.storage import BackboneFile, TokenizerSpec, cannot_be_written, temporary_folder
from weights_convert.names import Account, to_ours, to_theirs

WEIGHTS, CONFIG, VOCAB, CASING = "model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json"

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
THEIR_ACTIVATION = {"gelu": "gelu", "gelu_tanh": "gelu_new"}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in our names. params: {flat name: float32 array}."""

    config: BertConfig
    params: dict
    tokenizer: TokenizerSpec
    account: Account
    sha256: str  # of model.safetensors


def safetensors():
    """The safetensors package. Raises InputError that names the extra if it is not installed."""
    try:
        import safetensors.numpy
    except ImportError:
        raise InputError("safetensors is not installed; run: pip install 'minibert[convert]'") from None
    return safetensors


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces. Raises InputError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def read_checkpoint(weights: Path, lowercase: bool | None = None) -> Checkpoint:
    """Read a .safetensors file, and the config and vocabulary that lie beside it.

    lowercase: what to assume if no file says (None: that is an error). Raises InputError that names the file and the
    first thing that is wrong or missing.
    """
    folder = weights.parent
    config = read_config(folder / CONFIG)
    tokenizer = read_tokenizer(folder, lowercase)
    if not weights.is_file():
        pickled = weights.with_name("pytorch_model.bin").exists()
        advice = "; pytorch_model.bin is a pickle, which can run code and is never opened" if pickled else ""
        raise InputError(f"{weights}: no such file, expected the weights as safetensors{advice}")
    package = safetensors()
    try:
        with package.safe_open(weights, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
            stored = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            params, account = to_ours(file.get_tensor, stored, config)
    except InputError as error:
        raise InputError(f"{weights}: {error}") from None
    except (package.SafetensorError, OSError) as error:
        raise InputError(f"{weights}: is not a safetensors file, or damaged ({error})") from error
    return Checkpoint(config, params, tokenizer, account, sha256_of(weights))


def read_config(path: Path) -> BertConfig:
    """Read config.json. Raises InputError if the model is not a BERT encoder that minibert can compute."""
    settings = _read_json(path)
    for name, wanted in (("model_type", ("bert",)), ("hidden_act", tuple(ACTIVATIONS))):
        if settings.get(name, "gelu" if name == "hidden_act" else None) not in wanted:
            raise InputError(f"{path}: {name} is {settings.get(name)!r}, expected {' or '.join(wanted)}")
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{path}: position_embedding_type is {settings['position_embedding_type']!r}, expected absolute"
        )
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


def read_tokenizer(folder: Path, lowercase: bool | None = None) -> TokenizerSpec:
    """Read the vocabulary (vocab.txt, else tokenizer.json) and the casing (tokenizer_config.json, else tokenizer.json).

    lowercase: what to assume if no file says (None: an error). Raises InputError if a file is missing or wrong.
    """
    whole = folder / "tokenizer.json"
    if (folder / VOCAB).is_file():
        vocab = _read_vocab(folder / VOCAB)
    elif whole.is_file():
        vocab = _vocab_of_tokenizer_json(whole)
    else:
        raise InputError(f"{folder / VOCAB}: no such file, and no tokenizer.json beside it; expected the vocabulary")
    if (folder / CASING).is_file():
        settings, names = _read_json(folder / CASING), ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
        casing = {"do_lower_case": True, **settings}  # the value that transformers takes for BERT if it is absent
    elif whole.is_file():
        casing, names = _read_json(whole).get("normalizer"), ("lowercase", "strip_accents", "handle_chinese_chars")
        if not isinstance(casing, dict) or "lowercase" not in casing:
            raise InputError(f"{whole}: has no BERT normalizer that tells whether text is lowercased")
    elif lowercase is not None:
        casing, names = {"lowercase": lowercase}, ("lowercase", "", "")
    else:
        raise InputError(f'{folder / CASING}: no such file; expected one such as {{"do_lower_case": true}}')
    try:
        return TokenizerSpec(vocab, casing[names[0]], casing.get(names[1]), casing.get(names[2], True))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def _read_vocab(path: Path) -> tuple[str, ...]:
    try:
        # Not splitlines(): it would also split at characters that are words of the multilingual vocabularies.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return tuple(lines[:-1] if lines[-1] == "" else lines)


def _vocab_of_tokenizer_json(path: Path) -> tuple[str, ...]:
    model = _read_json(path).get("model")
    ids = model.get("vocab") if isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece" else None
    if not isinstance(ids, dict) or not all(isinstance(i, int) for i in ids.values()):
        raise InputError(f"{path}: has no WordPiece vocabulary")
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(f"{path}: the ids of the vocabulary are not 0, 1, 2, ... without a gap")
    return tuple(sorted(ids, key=ids.__getitem__))


def _read_json(path: Path) -> dict:
    try:
        value = parse_json(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: is a JSON {type(value).__name__}, expected an object")
    return value


def write_folder(backbone: BackboneFile, folder: Path) -> None:
    """Write a folder that `BertModel.from_pretrained` and `AutoTokenizer.from_pretrained` of transformers load.

    The folder is made if need be; each file appears whole or not at all. Raises InputError if it cannot be written.
    """
    package = safetensors()
    tensors = to_theirs(flatten(backbone.params), backbone.config.n_layers)
    texts = {
        CONFIG: json.dumps(_their_config(backbone), indent=2) + "\n",
        CASING: json.dumps(_their_casing(backbone), indent=2) + "\n",
        VOCAB: "".join(f"{word}\n" for word in backbone.vocab),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(".writing-", folder) as work:
            package.numpy.save_file(tensors, work / WEIGHTS, metadata={"format": "pt"})
            for name, text in texts.items():
                (work / name).write_text(text, encoding="utf-8", newline="")
            shutil.copymode(work / CONFIG, work / WEIGHTS)  # safetensors lets only the owner read
            for name in (WEIGHTS, *texts):
                os.replace(work / name, folder / name)
    except (OSError, package.SafetensorError) as error:
        raise cannot_be_written(folder, error) from error


def _their_config(backbone: BackboneFile) -> dict:
    config = backbone.config
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for ours, theirs, _ in SETTINGS},
        "hidden_act": THEIR_ACTIVATION[config.activation],
        "position_embedding_type": "absolute",
        "pad_token_id": backbone.vocab.index("[PAD]") if "[PAD]" in backbone.vocab else 0,
    }


def _their_casing(backbone: BackboneFile) -> dict:
    special = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": backbone.lowercase,
        "strip_accents": backbone.strip_accents,
        "tokenize_chinese_chars": backbone.tokenize_chinese,
        "model_max_length": backbone.config.max_positions,
        **{name: token for name, token in special.items() if token in backbone.vocab},
    }
