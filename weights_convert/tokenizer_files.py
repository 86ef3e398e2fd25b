"""The files of a Hugging Face folder that tell its tokenizer, and what stands in them.

tokenizer.json            the whole tokenizer
vocab.txt                 the vocabulary alone
tokenizer_config.json     the name of the tokenizer's class, options, special tokens, added tokens with their ids
special_tokens_map.json   special tokens by their use, such as cls_token
added_tokens.json         {added token: id}
config.json               of the model; it may name the tokenizer's class, too
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minibert.errors import InputError, shown
from minibert.storage import stand_in
from minibert.storage.tokenizer import CLS, SEP, UNK, added_token, parse

WHOLE, VOCAB, CASING = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
SPECIAL, ADDED, CONFIG = "special_tokens_map.json", "added_tokens.json", "config.json"

FOLLOW_WHOLE = f'"tokenizer_class": "PreTrainedTokenizerFast" in {CASING} makes {WHOLE} alone count'

# {option of tokenizer_config.json: (ours, what BertTokenizer takes if it is absent)}
OPTIONS = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("chinese_chars", True),
}
ROLES = {"unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "pad_token": "[PAD]", "mask_token": "[MASK]"}
LISTS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


@dataclass(frozen=True)
class Files:
    """What lies in a folder, None where a file is not there. vocab: the lines of vocab.txt."""

    folder: Path
    whole: dict | None
    vocab: list[str] | None
    casing: dict | None
    special: dict | None
    added: dict | None
    config: dict | None

    def path(self, name: str) -> Path:
        """Of the file of that name."""
        return self.folder / name


def read_files(folder: Path, names=None) -> Files:
    """Read the files of a folder; of `names` alone, if given. Raises InputError if one cannot be read."""

    def there(name: str) -> bool:
        return (names is None or name in names) and (folder / name).is_file()

    whole, casing, special, added, config = (
        read_json(folder / name) if there(name) else None for name in (WHOLE, CASING, SPECIAL, ADDED, CONFIG)
    )
    vocab = _read_vocab(folder / VOCAB) if there(VOCAB) else None
    return Files(folder, whole, vocab, casing, special, added, config)


def read_json(path: Path) -> dict:
    """A JSON object of a file. Raises InputError that names the file."""
    if instead := stand_in(path):
        raise InputError(f"{path}: {instead}")
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _read_vocab(path: Path) -> list[str]:
    if instead := stand_in(path):
        raise InputError(f"{path}: {instead}")
    try:
        # Not splitlines(): it would also split at characters that are words of the multilingual vocabularies.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return lines[:-1] if lines[-1] == "" else lines


def named_tokens(settings: dict | None, path: Path) -> list[tuple[str, str, dict]]:
    """The special tokens that tokenizer_config.json or special_tokens_map.json names: (key, token, {flag: value}).

    Raises InputError, beginning with `path`, for a value that is no token.
    """
    found = []
    for key, value in (settings or {}).items():
        if key in LISTS:
            values = list(value.values()) if isinstance(value, dict) else [] if value is None else value
        elif key.endswith("_token"):
            is_switch = isinstance(value, bool) and key not in ROLES  # such as add_bos_token
            values = [] if value is None or is_switch else [value]
        else:
            continue
        if not isinstance(values, list):
            raise InputError(f"{path}: {key} is {shown(value)}, expected a list of tokens")
        for token in values:
            entry = {"content": token} if isinstance(token, str) else token
            if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
                raise InputError(f"{path}: {key} has {shown(token)}, expected a token")
            found.append((key, entry["content"], _flags(entry, path)))
    return found


def _flags(token: dict, path: Path) -> dict[str, bool]:
    """How a token is found in a text, as far as it is said."""
    for flag in (*FLAGS, "special"):
        if not isinstance(token.get(flag, False), bool):
            raise InputError(f"{path}: {flag} of the token {shown(token['content'])} must be true or false")
    return {flag: token[flag] for flag in FLAGS if flag in token}


def stated_tokens(files: Files) -> list[dict]:
    """added_tokens_decoder of tokenizer_config.json as entries of added_tokens, by id."""
    decoder, entries = files.casing.get("added_tokens_decoder"), []
    if not isinstance(decoder, dict):
        raise InputError(f"{files.path(CASING)}: added_tokens_decoder must be an object, got {shown(decoder)}")
    for id, token in decoder.items():
        if not id.isdecimal() or not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise InputError(f"{files.path(CASING)}: added_tokens_decoder has {shown(id)}: {shown(token)}, no token")
        usual = added_token(int(id), token["content"], special=token.get("special") is True)
        entries.append(usual | _flags(token, files.path(CASING)))
    return sorted(entries, key=lambda entry: entry["id"])


def added_ids(files: Files) -> dict[str, int]:
    added = files.added or {}
    for token, id in added.items():
        if not isinstance(id, int) or isinstance(id, bool):
            raise InputError(f"{files.path(ADDED)}: {shown(token)} has the id {shown(id)}, expected a whole number")
    return added
