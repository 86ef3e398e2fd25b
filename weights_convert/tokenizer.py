"""The tokenizer of a Hugging Face folder, as transformers would load it, or a refusal.

A class BertTokenizer is BERT's tokenizer with the options of tokenizer_config.json: so does transformers 5 make it
whatever else tokenizer.json says, while transformers 4 follows tokenizer.json except for those options. What they would
read differently is refused. A class PreTrainedTokenizerFast (TokenizersBackend in transformers 5) is tokenizer.json.
"""

from __future__ import annotations

import json
from pathlib import Path

from minibert.errors import InputError, shown
from minibert.storage.tokenizer import NEEDED_TOKENS, SPECIAL_TOKENS, added_token, bert_tokenizer, parse
from weights_convert.agreement import check_added_file, from_whole
from weights_convert.tokenizer_files import (
    ADDED,
    CASING,
    CONFIG,
    FOLLOW_WHOLE,
    LISTS,
    OPTIONS,
    ROLES,
    SPECIAL,
    VOCAB,
    WHOLE,
    Files,
    added_ids,
    named_tokens,
    read_files,
    stated_tokens,
)

BERT_CLASSES = ("BertTokenizer", "BertTokenizerFast")
GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
# {setting that changes what a tokenizer does: the values that change nothing}
NOT_FOLLOWED = {
    "do_basic_tokenize": (None, True),
    "never_split": (None, []),
    "split_special_tokens": (None, False),
    "clean_text": (None, True),
    "wordpieces_prefix": (None, "##"),
    "do_word_tokenize": (None, True),
    "do_subword_tokenize": (None, True),
    "word_tokenizer_type": (None,),
    "subword_tokenizer_type": (None,),
    "mecab_kwargs": (None,),
    "sudachi_kwargs": (None,),
    "jumanpp_kwargs": (None,),
}


def read_tokenizer(folder: Path, lowercase: bool | None = None, names=None) -> tuple[str, list[str]]:
    """The tokenizer of a folder as canonical JSON, and notes of what is not kept.

    lowercase: what to assume if no file says (None: an error). names: the files to read; default: all.
    Raises InputError that names the file, or the two that disagree, and the first thing that cannot be followed.
    """
    files = read_files(folder, names)
    is_bert = _is_bert_class(files)
    _check_settings(files)
    _check_roles(files)
    if files.whole is not None:
        text = from_whole(files, is_bert)
    elif files.vocab is None:
        raise InputError(f"{files.path(VOCAB)}: no such file, and no {WHOLE} beside it; expected the vocabulary")
    elif not is_bert:
        raise InputError(f"{files.path(WHOLE)}: no such file; expected one, as {CASING} has no tokenizer_class of BERT")
    else:
        _check_one_list(files)
        _check_ends(files)
        text = _from_vocabulary(files, lowercase)
    return text, _notes(files)


# ------------------------------------------------------------------------------------------- class and settings


def _is_bert_class(files: Files) -> bool:
    """Whether transformers would make BERT's tokenizer, and not one that tokenizer.json alone tells."""
    found = []
    for name, settings in ((CASING, files.casing), (CONFIG, files.config)):
        settings = settings or {}
        if settings.get("auto_map"):
            raise InputError(
                f"{files.path(name)}: auto_map names code of the checkpoint's own, {shown(settings['auto_map'])}, "
                "which is never run; if it is a plain BERT without that code, take auto_map out"
            )
        kind = settings.get("tokenizer_class")
        if kind not in (None, *BERT_CLASSES, *GENERIC_CLASSES):
            advice = f"; if {WHOLE} does exactly what that class does: {FOLLOW_WHOLE}" if files.whole else ""
            raise InputError(
                f"{files.path(name)}: tokenizer_class is {shown(kind)}, expected BertTokenizer (or no class, or "
                f"PreTrainedTokenizerFast with a {WHOLE}): what {shown(kind)} does is not known here{advice}"
            )
        found += [kind] if kind else []
    return not found or found[0] in BERT_CLASSES


def _check_settings(files: Files) -> None:
    """Refuse settings that change what the tokenizer does in a way that is not followed."""
    settings = files.casing or {}
    for name, harmless in NOT_FOLLOWED.items():
        if settings.get(name) not in harmless:
            usual = harmless[-1] if len(harmless) > 1 else None
            raise InputError(
                f"{files.path(CASING)}: {name} is {shown(settings[name])}, which is not followed; expected "
                f"{json.dumps(usual)} or nothing, as BERT's own tokenizer has"
            )
    for name, (_, default) in OPTIONS.items():
        value = settings.get(name, default)
        if not isinstance(value, bool) and not (name == "strip_accents" and value is None):
            raise InputError(f"{files.path(CASING)}: {name} must be true or false, got {shown(value)}")


def _notes(files: Files) -> list[str]:
    notes = []
    truncation = (files.whole or {}).get("truncation")
    direction = truncation.get("direction") if isinstance(truncation, dict) else None
    said = (files.casing or {}).get("truncation_side")  # which goes before the other
    side, name = (said, CASING) if said is not None else (direction, WHOLE)
    if str(side).lower() == "left":
        notes.append(f"note: {name} cuts long texts at their beginning; minibert cuts them at their end")
    if truncation:
        length = truncation.get("max_length") if isinstance(truncation, dict) else truncation
        notes.append(f"note: {WHOLE} cuts texts to {length} tokens, which is not kept: --max-length sets the length")
    return notes


def _check_roles(files: Files) -> None:
    """[UNK], [CLS] and [SEP] are called so, and the two files name the same tokens."""
    roles: dict[str, tuple[str, str]] = {}
    for name, settings in ((CASING, files.casing), (SPECIAL, files.special)):
        nothing = [key for key in ROLES if settings and key in settings and settings[key] is None]
        if nothing and files.whole is None:
            raise InputError(f"{files.path(name)}: {nothing[0]} is null; expected {ROLES[nothing[0]]!r}, as BERT has")
        for key, token, _ in named_tokens(settings, files.path(name)):
            if key in LISTS:
                continue
            if ROLES.get(key) in NEEDED_TOKENS and token != ROLES[key]:
                raise InputError(
                    f"{files.path(name)}: {key} is {shown(token)}, expected {ROLES[key]!r}: minibert reads "
                    "BERT's sequences"
                )
            other, first = roles.setdefault(key, (name, token))
            if first != token:
                raise InputError(
                    f"{files.path(name)}: {key} is {shown(token)}, in {other} it is {shown(first)}; make the two agree"
                )


# ------------------------------------------------------------------------------------- without a tokenizer.json


def _check_one_list(files: Files) -> None:
    """Refuse further special tokens of which the two files have different lists: transformers 4 knows those of both,
    transformers 5 those of tokenizer_config.json alone, also if it has an empty list."""
    found = {CASING: []} if (files.casing or {}).get(LISTS[0]) is not None else {}
    for name, settings in ((CASING, files.casing), (SPECIAL, files.special)):
        for key, token, flags in named_tokens(settings, files.path(name)):
            if key in LISTS:
                found.setdefault(name, []).append((token, sorted(flags.items())))
    if len(found) == 2 and found[CASING] != found[SPECIAL]:
        one, other = ([token for token, _ in found[name]] for name in (CASING, SPECIAL))
        there = shown(other) if one != other else "with other flags"
        raise InputError(
            f"{files.path(CASING)}: the further special tokens are {shown(one)}, in {SPECIAL} {there}; versions "
            "of transformers follow different ones; make the two agree as the weights were trained"
        )


def _check_ends(files: Files) -> None:
    """Refuse a word with white space at its end: transformers 5 drops it, transformers 4 does not. (A word that is
    nothing else is found in no text.)"""
    for i, word in enumerate(files.vocab):
        if word.rstrip() not in ("", word):
            raise InputError(
                f"{files.path(VOCAB)}: line {i + 1} is {shown(word)}, with white space at its end, which transformers "
                "5 drops and transformers 4 keeps; take it out"
            )


def _from_vocabulary(files: Files, lowercase: bool | None) -> str:
    """BERT's tokenizer, of vocab.txt, options and added tokens, with the ids that transformers gives."""
    if files.casing is None and lowercase is None:
        raise InputError(f'{files.path(CASING)}: no such file; expected one such as {{"do_lower_case": true}}')
    settings = {"do_lower_case": True if lowercase is None else lowercase, **(files.casing or {})}
    options = {ours: settings.get(theirs, default) for theirs, (ours, default) in OPTIONS.items()}
    try:
        bert_tokenizer(files.vocab)  # checks the words
        text = bert_tokenizer(files.vocab, added_tokens=_added_tokens(files), **options)
    except InputError as error:
        raise InputError(f"{files.path(VOCAB)}: {error}") from None
    check_added_file(files, parse(text), VOCAB)
    return text


def _added_tokens(files: Files) -> list[dict]:
    """Entries of added_tokens: those with a stated id first, then special tokens that are named and not yet there."""
    ids = {word: i for i, word in enumerate(files.vocab)}
    entries: dict[str, dict] = {}

    def add(token: dict, name: str) -> None:
        id = ids.setdefault(token["content"], len(ids))
        if token["id"] not in (None, id):
            raise InputError(
                f"{name} gives the added token {shown(token['content'])} the id {shown(token['id'])}, but it is {id}: "
                f"the word's line in {VOCAB}, or the next one after it and after the added tokens before"
            )
        entries[token["content"]] = {**token, "id": id}

    named = [*named_tokens(files.casing, files.path(CASING)), *named_tokens(files.special, files.path(SPECIAL))]
    special = {token for _, token, _ in named} | set(SPECIAL_TOKENS)
    if (files.casing or {}).get("added_tokens_decoder") is not None:
        for token in stated_tokens(files):
            add(token, CASING)
    else:
        for content, id in sorted(added_ids(files).items(), key=lambda item: item[1]):
            add(added_token(id, content, special=content in special), ADDED)
    roles = {key: (token, flags) for key, token, flags in named if key not in LISTS}
    for key, default in ROLES.items():
        roles.setdefault(key, (default, {}))
    for content, flags in [*roles.values(), *((token, flags) for key, token, flags in named if key in LISTS)]:
        if content not in entries:
            add({**added_token(0, content), **flags, "id": None}, CASING)
    return list(entries.values())
