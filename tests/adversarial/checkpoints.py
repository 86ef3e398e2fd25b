"""Hugging Face folders: mutated weights (safetensors), and mutated config.json, vocab.txt, tokenizer.json and
tokenizer_config.json. Both go through `to-hdf5`, and the backbone that it wrote is compared."""

from __future__ import annotations

import json
import math
import struct
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from random import Random

import numpy as np
import safetensors.numpy
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from minibert.config import BertConfig
from minibert.params import flatten
from minibert.storage import read_backbone
from weights_convert import cli
from weights_convert.names import has_pooler, name_map

from .case import Case, Refuse, difference
from .json_files import UNCHANGED, load
from .mutations import NUMBERS, Raw, damage, dump, mutate_json, mutate_text_bytes

CONFIG = BertConfig(vocab_size=14, hidden_size=4, n_layers=1, n_heads=2, feed_forward_size=6, max_positions=12)
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s", "é", "e", "The", "##ing", "漢", "a"]
THEIR_CONFIG = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 14, "hidden_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 6, "max_position_embeddings": 12, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "type_vocab_size": 2, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
}  # fmt: skip
THEIR_NAMES = {
    "vocab_size": "vocab_size", "hidden_size": "hidden_size", "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads", "feed_forward_size": "intermediate_size",
    "max_positions": "max_position_embeddings", "n_segments": "type_vocab_size", "layernorm_eps": "layer_norm_eps",
    "hidden_dropout": "hidden_dropout_prob", "attention_dropout": "attention_probs_dropout_prob",
}  # fmt: skip
USED = {
    *THEIR_NAMES.values(),
    "model_type",
    "hidden_act",
    "is_decoder",
    "position_embedding_type",
    "add_cross_attention",
}
CASING = {"do_lower_case", "strip_accents", "tokenize_chinese_chars"}
CLASSES = (None, "BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast")
SAMPLES = (
    "the thes",
    "The É e\u0301 a",
    "漢the 漢漢",
    "aing, the. [MASK] zzz",
    " A\u00a0a\ttheing ",
    "[SEP] the",
    "théing ##s",
)
DTYPES = {"BF16": "<f4", "F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8"}


def _tensors(seed: int, dtype=np.float32) -> dict[str, np.ndarray]:
    rng, shapes, tensors = np.random.default_rng(seed), CONFIG.shapes(), {}
    for theirs, (ours, transposed) in name_map(CONFIG.n_layers).items():
        tensors[theirs] = rng.standard_normal(shapes[ours][::-1] if transposed else shapes[ours]).astype(dtype)
    return tensors | {"embeddings.position_ids": np.arange(12)[None]}


def bert_tokenizer(words: list[str], lowercase: bool, accents: bool | None = None, chinese: bool = True) -> Tokenizer:
    """What transformers makes of a vocabulary and a casing. Raises ValueError if a special token is missing."""
    tokenizer = Tokenizer(
        WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = BertNormalizer(True, chinese, accents, lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens([word for word in VOCAB[:5] if word in words])
    special = [(word, words.index(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return tokenizer


def tokenizer_json(lowercase: bool) -> dict:
    """A tokenizer.json as transformers writes it."""
    return json.loads(bert_tokenizer(VOCAB, lowercase).to_str())


def _write(folder: Path, rng: Random, weights: bytes, name_of_weights="model.safetensors") -> dict[str, object]:
    """A good folder. Returns the values of its JSON files by name."""
    lowercase = rng.random() < 0.5
    files: dict[str, object] = {"config.json": THEIR_CONFIG}
    kind = rng.choice(("old", "new", "both", "both"))
    if kind != "new":
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCAB), encoding="utf-8", newline="")
    if kind != "old":
        files["tokenizer.json"] = tokenizer_json(lowercase)
    if kind != "new" or not lowercase or rng.random() < 0.5:  # BERT's tokenizer lowercases if nothing is said
        files["tokenizer_config.json"] = {"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"}
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    (folder / name_of_weights).write_bytes(weights)
    return files


def _case(folder: Path, what: str, mutate: bool) -> Case:
    source, out = folder / "checkpoint", folder / "out.h5"

    def read():
        with redirect_stdout(StringIO()):
            cli.to_hdf5(source, out)
        return read_backbone(out)

    return Case([source], what, read, lambda: _plain(source), _same, may_refuse=mutate, located=False)


def weights():
    """The maker of folders with mutated model.safetensors."""
    good = [
        safetensors.numpy.save(_tensors(seed, dtype)) for seed, dtype in enumerate((np.float32, np.float32, np.float16))
    ]

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, data, what = mutate and rng.random() >= UNCHANGED, rng.choice(good), "unchanged"
        if mutate:
            change = rng.choice((_damage_header, _damage_header, _change_header, _change_header, _change_numbers, None))
            data, what = change(rng, data) if change else damage(rng, data, rng.choice(good))
        (folder / "checkpoint").mkdir()
        _write(folder / "checkpoint", rng, data)
        return _case(folder, what, mutate)

    return make


def _split(data: bytes) -> tuple[bytes, bytes]:
    size = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + size], data[8 + size :]


def _damage_header(rng, data):
    header, body = _split(data)
    header, what = damage(rng, header, header)
    size = len(header) if rng.random() < 0.7 else rng.choice(NUMBERS[5:])
    return struct.pack("<Q", size % 2**64) + header + body, f"header: {what}"


def _change_header(rng, data):
    header, body = _split(data)
    value = json.loads(header)
    if rng.random() < 0.4:
        text, what = mutate_json(rng, value)
    else:
        name = rng.choice(sorted(value))
        what, entry = f"the entry of {name}", value[name]
        key = rng.choice(("dtype", "shape", "data_offsets", "name", "name", "other", "more"))
        if key == "dtype":
            entry["dtype"] = rng.choice(("F16", "F64", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "f32", "X"))
        elif key == "shape":
            entry["shape"] = rng.choice(
                (entry["shape"][::-1], [math.prod(entry["shape"])], [2**31, 2**33, 0], [0], [-1], [*entry["shape"], 1])
            )
        elif key == "data_offsets":
            entry["data_offsets"] = rng.choice(
                (entry["data_offsets"][::-1], [0, 2**63], rng.choice(list(value.values()))["data_offsets"])
            )
        elif key == "name":
            new = rng.choice(_other_names(name))
            value[new] = value.pop(name)
        elif key == "more":
            value["__metadata__"] = rng.choice(({"format": "pt"}, {"a": 1}, [], "x" * 100_000))
        else:
            other = rng.choice(sorted(value))
            value[name], value[other] = value[other], value[name]
        what += f": {key}"
        text = json.dumps(value)
    header = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header)) + header + body, f"header: {what}"


def _other_names(name: str) -> tuple[str, ...]:
    layers = name.replace("layer.0", "layer.1"), name.replace("layer.0", "layer.00")
    odd = "cls.x", "x\n\x1b[2J", name.upper(), "x" * 3000
    return *layers, *odd, f"bert.{name}", f"bert.bert.{name}", name.replace("weight", "gamma")


def _change_numbers(rng, data):
    header, body = _split(data)
    body = bytearray(body)
    place = rng.randrange(0, len(body) - 8, 4)
    value = rng.choice(
        (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\1\0\0\0", b"\0\0\0\x80", rng.randbytes(4))
    )
    body[place : place + 4] = value
    return struct.pack("<Q", len(header)) + header + bytes(body), f"numbers: {value!r} at {place}"


def settings():
    """The maker of folders in which another file than the weights is mutated."""
    good = safetensors.numpy.save(_tensors(0))

    def make(rng: Random, folder: Path, mutate: bool = True) -> Case:
        mutate, source, what = mutate and rng.random() >= UNCHANGED, folder / "checkpoint", "unchanged"
        source.mkdir()
        files = _write(source, rng, good)
        if mutate:
            names = [path.name for path in sorted(source.iterdir()) if path.name != "model.safetensors"]
            name = rng.choice((*names, *(n for n in names if n == "tokenizer.json")))
            path = source / name
            if name in files and rng.random() < 0.75:
                text, what = _change_value(rng, name, files[name])
                path.write_bytes(text.encode("utf-8", "surrogatepass"))
            elif rng.random() < 0.1:
                path.unlink()
                what = "gone"
            else:
                data, what = mutate_text_bytes(rng, path.read_bytes(), json.dumps(THEIR_CONFIG).encode())
                path.write_bytes(data)
            what = f"{name}: {what}"
        return _case(folder, what, mutate)

    return make


def _change_value(rng: Random, name: str, value: dict) -> tuple[str, str]:
    if name == "config.json" and rng.random() < 0.4:
        key = rng.choice(sorted(set(value) - {"architectures"}))
        new = rng.choice((*NUMBERS, 3, Raw("1e9"), "4", None, 4.0, True, "relu", "roberta", Raw("NaN")))
        return dump(value | {key: new}), f"{key} is {new!r}"
    if name == "tokenizer.json" and rng.random() < 0.5:
        return _change_tokenizer(rng, value)
    if name == "tokenizer_config.json" and rng.random() < 0.5:
        key = rng.choice(
            ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "tokenizer_class", "do_basic_tokenize")
        )
        new = rng.choice((True, False, None, 1, "true", "BertJapaneseTokenizer", "BertTokenizerFast"))
        return dump(value | {key: new}), f"{key} is {new!r}"
    return mutate_json(rng, value)


def _change_tokenizer(rng: Random, value: dict) -> tuple[str, str]:
    """A tokenizer that is well formed, and another one."""
    value = json.loads(json.dumps(value))
    changes = {
        "normalizer": ({"type": "Lowercase"}, None, {"type": "NFC"}, {**value["normalizer"], "strip_accents": True},
                       {**value["normalizer"], "lowercase": not value["normalizer"]["lowercase"]},
                       {**value["normalizer"], "clean_text": False},
                       {**value["normalizer"], "handle_chinese_chars": False}),
        "pre_tokenizer": ({"type": "Whitespace"}, {"type": "WhitespaceSplit"}, None),
        "post_processor": (None, {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
                           {"type": "BertProcessing", "sep": ["[CLS]", 2], "cls": ["[SEP]", 3]}),
        "truncation": ({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},),
        "padding": ({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "[PAD]"},),
        "model": ({**value["model"], "continuing_subword_prefix": "@@"},
                  {**value["model"], "max_input_chars_per_word": 3},
                  {**value["model"], "unk_token": "[MASK]"}, {**value["model"], "type": "WordLevel"}),
        "added_tokens": ([], value["added_tokens"][:2],
                         [*value["added_tokens"], {"id": 5, "content": "the", "single_word": False, "lstrip": False,
                                                   "rstrip": False, "normalized": True, "special": False}],
                         [*value["added_tokens"], {"id": 13, "content": "new", "single_word": True, "lstrip": False,
                                                   "rstrip": False, "normalized": False, "special": False}]),
    }  # fmt: skip
    key = rng.choice(sorted(changes))
    value[key] = rng.choice(changes[key])
    if rng.random() < 0.1:
        vocab = value["model"]["vocab"]
        a, b = rng.sample(sorted(vocab), 2)
        vocab[a], vocab[b] = vocab[b], rng.choice((vocab[a], vocab[b], 100))
        key += f" and the ids of {a} and {b}"
    return json.dumps(value), f"another {key}"


# ---------------------------------------------------------------------------------------------------------- the oracle


def _plain(source: Path) -> list[dict]:
    """The config, the arrays in our names, and the ids of some texts."""
    settings, config = load(source / "config.json", USED), {}
    if not isinstance(settings, dict) or settings.get("model_type") != "bert":
        raise Refuse("another model")
    if settings.get("hidden_act", "gelu") not in ("gelu", "gelu_new", "gelu_pytorch_tanh"):
        raise Refuse("another activation")
    if settings.get("is_decoder") or settings.get("position_embedding_type", "absolute") != "absolute":
        raise Refuse("another model")
    defaults = asdict(CONFIG)
    for ours, theirs in THEIR_NAMES.items():
        if theirs not in settings and ours in ("vocab_size", "hidden_size", "n_layers", "n_heads", "feed_forward_size"):
            raise Refuse("a setting is missing")
        default = 512 if ours == "max_positions" else defaults[ours]
        config[ours] = settings.get(theirs, default)
    config["activation"] = "gelu" if settings.get("hidden_act", "gelu") == "gelu" else "gelu_tanh"
    params = _plain_weights(source)
    config["pooler"] = "pooler/b" in params
    return [{"config": config, "params": params, "ids": ids} for ids in _plain_ids(source)]


def _plain_weights(source: Path) -> dict[str, np.ndarray]:
    from . import bin_files  # which is built on this one

    readers = {
        "model.safetensors": _stored,
        bin_files.SHARDS: lambda path: bin_files.stored_in_shards(path, _stored),
        bin_files.BIN: bin_files.stored,
    }
    try:
        read, path = next((read, source / name) for name, read in readers.items() if (source / name).exists())
        entries = read(path)
        stored = {_plain_name(name): array for name, array in entries.items()}
        params = {}
        for theirs, (ours, transposed) in name_map(CONFIG.n_layers, has_pooler(stored)).items():
            array = stored[theirs].T if transposed else stored[theirs]
            params[ours] = np.ascontiguousarray(array, np.float32)
    except Refuse:
        raise
    except Exception as error:
        raise Refuse(f"a plain reading of the weights fails: {type(error).__name__}") from None
    if len(stored) != len(entries):
        raise Refuse("two tensors of one name")
    if not all(np.isfinite(array).all() for array in params.values()):
        raise Refuse("a weight is not finite")
    return params


def _stored(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file."""
    header, body = _split(path.read_bytes())
    entries = json.loads(header)
    entries.pop("__metadata__", None)
    stored = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        data = body[begin:end]
        if entry["dtype"] == "BF16":
            data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
        stored[name] = np.frombuffer(data, DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return stored


def _plain_name(name: str) -> str:
    name = name.removeprefix("bert.")
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def _plain_ids(source: Path) -> list[list[list[int]]]:
    """The ids that the checkpoint's own tokenizer gives, by the tokenizers library: the readings that are right."""
    casing = None
    if (source / "tokenizer_config.json").exists():
        casing = load(source / "tokenizer_config.json", CASING)
        if not isinstance(casing, dict) or casing.get("tokenizer_class") not in CLASSES:
            raise Refuse("another class of tokenizer")
        if casing.get("do_basic_tokenize") is False:
            raise Refuse("texts are not split into words")
    words = _words(source / "vocab.txt")
    try:
        if (source / "tokenizer.json").exists():
            return _ids_of_tokenizer_json(source / "tokenizer.json", casing, words)
        if words is None or len(set(words)) != len(words) or not (source / "tokenizer_config.json").exists():
            raise Refuse("no vocabulary, no casing, or a word that is there twice")
        tokenizer = bert_tokenizer(words, *_casing(casing, True))
        tokenizer.add_special_tokens(VOCAB[:5])  # transformers adds those that the vocabulary does not have
        return [_ids(tokenizer)]
    except Refuse:
        raise
    except BaseException as error:  # what Rust panics with is no Exception
        raise Refuse(f"the tokenizers library refuses it: {type(error).__name__}") from None


def _casing(casing: dict, lowercase: bool, accents: bool | None = None, chinese: bool = True) -> tuple:
    found = casing.get("do_lower_case", lowercase), casing.get("strip_accents", accents)
    return *found, casing.get("tokenize_chinese_chars", chinese)


def _words(path: Path) -> list[str] | None:
    if not path.exists():
        return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise Refuse("vocab.txt is not UTF-8") from None
    words = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return words[:-1] if words[-1] == "" else words


def _ids_of_tokenizer_json(path: Path, casing: dict | None, words: list[str] | None) -> list[list[list[int]]]:
    """Of the file itself; and with the casing of tokenizer_config.json, which some versions of transformers prefer."""
    text = path.read_bytes().decode().removeprefix("\ufeff")
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(text)))  # -0 is 0, though the library does not read it so
    found = tokenizer.get_vocab(with_added_tokens=True)
    own = tokenizer.get_vocab(with_added_tokens=False)
    if words is not None and (
        any(found.get(word) != i for i, word in enumerate(words)) or max(own.values()) >= len(words)
    ):
        raise Refuse("vocab.txt and tokenizer.json differ")
    readings = [_ids(tokenizer)]
    inner = json.loads(text)["normalizer"]
    if isinstance(inner, dict) and inner.get("type") == "BertNormalizer" and casing is not None:
        for lowercase in (inner["lowercase"], True):
            other = _casing(casing, lowercase, inner.get("strip_accents"), inner["handle_chinese_chars"])
            tokenizer.normalizer = BertNormalizer(inner["clean_text"], other[2], other[1], other[0])
            readings.append(_ids(tokenizer))
    return readings


def _ids(tokenizer: Tokenizer) -> list[list[int]]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = [tokenizer.encode(text).ids for text in SAMPLES]
    if any(i >= CONFIG.vocab_size for row in ids for i in row):
        raise Refuse("a token without an embedding")
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if any(row[0] != first or row[-1] != last for row in ids):
        raise Refuse("texts are not put between [CLS] and [SEP]")
    return ids


def _same(file, plain: dict) -> str:
    found = {"config": asdict(file.config), "params": flatten(file.params), "ids": _ids_of(file)}
    return difference(found, plain)


def _ids_of(file) -> list[list[int]]:
    if hasattr(file, "tokenizer"):
        return _ids(Tokenizer.from_str(file.tokenizer))
    return _ids(bert_tokenizer(file.vocab, file.lowercase, file.strip_accents, file.tokenize_chinese))
