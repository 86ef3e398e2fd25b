"""Where a folder has a tokenizer.json, it is what is kept, once every other file was found to agree with it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from minibert.errors import InputError, shown
from minibert.storage.tokenizer import (
    NEEDED_TOKENS,
    bert_tokenizer,
    canonical,
    library_errors,
    load_tokenizer,
    model_vocab,
    parse,
    token_ids,
)
from weights_convert.tokenizer_files import (
    ADDED,
    CASING,
    FLAGS,
    FOLLOW_WHOLE,
    OPTIONS,
    ROLES,
    SPECIAL,
    VOCAB,
    WHOLE,
    Files,
    added_ids,
    named_tokens,
    stated_tokens,
)

PROBE = [
    "",
    "The quick brown fox, it's 3.14 -- isn't it? (No!)",
    "Café naïve ÀÉÎ ñ ß İstanbul ŒUVRE e\u0301 ﬁ Ⅳ",
    "漢字とかな 한국어 中文。你好！ नमस्ते שלום مرحبا Привет",
    "tab\tline\nreturn\r\u00a0\u2028space \u0000\u0007\u001b[0m\u007f\ufffd\u200b\u200d\u00ad",
    "🙂👩‍👩‍👧 © ™ ½ ≠ … – — “quoted” ‘so’ $5 €7 a_b #tag @user http://x.org/?q=1&r=2",
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101 + " " + "d" * 300,
    "  leading, trailing and   many spaces  ",
    "unaffable tokenization UNKNOWN Zzyzx ##ing ## # [ ] [CLS [cls] [UNK]x[SEP]",
]


def from_whole(files: Files, is_bert: bool) -> str:
    """tokenizer.json in canonical form, once every other file agrees with it."""
    path, parts = files.path(WHOLE), files.whole
    try:
        given = load_tokenizer(json.dumps(parts))
        text = canonical(parts)
        kept = load_tokenizer(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if parts["model"].get("dropout"):
        raise InputError(f"{path}: the model has a dropout of {parts['model']['dropout']}: its tokens are random")
    _check_template(path, parts.get("post_processor"))
    parts = parse(text)
    _check_vocab(files, parts)
    _check_options(files, parts, given, is_bert)
    if is_bert:
        _check_is_bert(files, parts)
    _check_prefix_space(files, parts)
    _check_decoder(files, parts)
    check_added_file(files, parts, WHOLE)
    _check_named(files, parts, is_bert)
    _check_reproduced(path, given, kept, parts)
    return text


def _check_template(path: Path, post_processor) -> None:
    """Every special token of a template has its ids: the library would end in a panic while encoding."""
    template = post_processor if isinstance(post_processor, dict) else {}
    pieces = [*(template.get("single") or []), *(template.get("pair") or [])]
    used = {piece["SpecialToken"]["id"] for piece in pieces if isinstance(piece, dict) and "SpecialToken" in piece}
    for name in sorted(used - set(template.get("special_tokens") or {})):
        raise InputError(f"{path}: post_processor puts {shown(name)}, whose ids its special_tokens do not give")


def _check_vocab(files: Files, parts: dict) -> None:
    """vocab.txt has the same words with the same ids."""
    if files.vocab is None:
        return
    path, ids, own = files.path(VOCAB), token_ids(parts), model_vocab(parts)
    advice = "keep the file that the weights were trained with, and delete the other"
    for i, word in enumerate(files.vocab):
        if ids.get(word) != i:
            there = f"the id {ids[word]}" if word in ids else "no such token"
            raise InputError(f"{path}: {shown(word)} has the id {i}, in {WHOLE} {there}; {advice}")
    if len(files.vocab) not in (len(own), len(ids)):
        raise InputError(f"{path}: has {len(files.vocab)} words, {WHOLE} {len(own)}; {advice}")


def _check_options(files: Files, parts: dict, given, is_bert: bool) -> None:
    """do_lower_case, strip_accents and tokenize_chinese_chars say what the normalizer does."""
    settings, found = files.casing or {}, _treatment(parts["normalizer"], given)
    lowercase = settings.get("do_lower_case", True)
    for name, (_, default) in OPTIONS.items():
        if name not in settings and not is_bert:
            continue  # the class of tokenizer.json alone does not read them
        expected = settings.get(name, default)
        if name == "strip_accents" and expected is None:
            if not is_bert and "do_lower_case" not in settings:
                continue
            expected = lowercase
        if found[name] not in (None, expected):
            said = f"{name} is {json.dumps(expected)}" if settings.get(name) is not None else _unsaid(name, expected)
            raise InputError(
                f"{files.path(WHOLE)}: {_does(name, found[name])}, but in {CASING} {said}; make the two agree as the "
                "weights were trained" + (f"; {FOLLOW_WHOLE}" if is_bert else "")
            )


def _treatment(normalizer, given) -> dict[str, bool | None]:
    """What the normalizer does, as the options of tokenizer_config.json call it; None: it cannot be told."""

    def normalized(text: str) -> str:
        return text if given.normalizer is None else given.normalizer.normalize_str(text)

    kind = normalizer.get("type") if isinstance(normalizer, dict) else None
    return {
        "do_lower_case": "A" not in normalized("A"),
        "strip_accents": "\u0301" not in unicodedata.normalize("NFD", normalized("é")),
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"] if kind == "BertNormalizer" else None,
    }


def _unsaid(option: str, value: bool) -> str:
    return f"{option} is not said, which means {json.dumps(value)}"


def _does(option: str, value: bool) -> str:
    what = {"do_lower_case": "lowercase text", "strip_accents": "remove accents"}
    return f"does{'' if value else ' not'} {what.get(option, 'split Chinese characters')}"


def _check_is_bert(files: Files, parts: dict) -> None:
    """All parts of BERT's tokenizer are as BertTokenizer has them; options were compared before."""
    usual = parse(bert_tokenizer(NEEDED_TOKENS))

    def compared(parts: dict) -> dict:
        model = {f"model.{name}": value for name, value in parts["model"].items() if name != "vocab"}
        normalizer = parts["normalizer"] if isinstance(parts["normalizer"], dict) else {}
        cleaned = {f"normalizer.{name}": normalizer.get(name) for name in ("type", "clean_text")}
        return {**model, **cleaned, "pre_tokenizer": parts["pre_tokenizer"]}

    found, expected = compared(parts), compared(usual)
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise InputError(
                f"{files.path(WHOLE)}: {name} is {json.dumps(found.get(name))[:80]}, a BertTokenizer's "
                f"{json.dumps(expected.get(name))}; transformers 5 would not follow it, transformers 4 would; "
                f"{FOLLOW_WHOLE}"
            )


def _check_prefix_space(files: Files, parts: dict) -> None:
    pre = parts["pre_tokenizer"] if isinstance(parts["pre_tokenizer"], dict) else {}
    said = (files.casing or {}).get("add_prefix_space", False)
    if pre.get("add_prefix_space", said) != said:
        raise InputError(
            f"{files.path(WHOLE)}: add_prefix_space is {json.dumps(pre['add_prefix_space'])}, in {CASING} it is "
            f"{json.dumps(said)} (false if absent), which transformers follows; make the two agree"
        )


def _check_decoder(files: Files, parts: dict) -> None:
    """added_tokens_decoder of tokenizer_config.json is the list of added tokens."""
    if (files.casing or {}).get("added_tokens_decoder") is None:
        return
    path, decoder = files.path(CASING), {token["id"]: token for token in stated_tokens(files)}
    ours = {token["id"]: token for token in parts["added_tokens"]}
    for id in sorted({**ours, **decoder}):
        in_whole, said = ours.get(id), decoder.get(id)
        if in_whole != said:
            raise InputError(
                f"{path}: added_tokens_decoder has {_token(said, in_whole)} with the id {id}, {WHOLE} has "
                f"{_token(in_whole, said)}; make the two agree as the weights were trained"
            )


def _token(token: dict | None, other: dict | None) -> str:
    """A token for people: its text, and the flags in which it differs from another one."""
    if token is None:
        return "no token"
    flags = [f for f in (*FLAGS, "special") if other and other["content"] == token["content"] and other[f] != token[f]]
    return f"{shown(token['content'])}" + "".join(f" ({flag} {json.dumps(token[flag])})" for flag in flags)


def check_added_file(files: Files, parts: dict, where: str) -> None:
    """added_tokens.json lists the tokens that the model's vocabulary does not have, with their ids."""
    if files.added is None:
        return
    path, ids, own = files.path(ADDED), token_ids(parts), model_vocab(parts)
    listed = added_ids(files)
    contents = {token["content"] for token in parts["added_tokens"]}
    for token in [*listed, *(token for token in contents if token not in own)]:
        if listed.get(token) != ids.get(token) or token not in contents:
            said = f"has the id {listed[token]}" if token in listed else "is missing"
            there = f"the id {ids[token]}" if token in contents else "no such added token"
            raise InputError(
                f"{path}: {shown(token)} {said}, {where} with {CASING} gives {there}; make the two agree as the "
                "weights were trained"
            )


def _check_named(files: Files, parts: dict, is_bert: bool) -> None:
    """Every special token that is named is an added token, with the same flags: else transformers would add it."""
    added, ids = {token["content"]: token for token in parts["added_tokens"]}, token_ids(parts)
    named = [(CASING, *token) for token in named_tokens(files.casing, files.path(CASING))]
    named += [(SPECIAL, *token) for token in named_tokens(files.special, files.path(SPECIAL))]
    if is_bert:
        named += [(CASING, key, token, {}) for key, token in ROLES.items() if token in ids]
    for name, key, token, flags in named:
        entry = added.get(token, {})
        if not entry.get("special") or any(entry[flag] != value for flag, value in flags.items()):
            raise InputError(
                f"{files.path(name)}: {key} is {shown(token)}, which is not among the special added tokens of {WHOLE} "
                f"{'with the same flags' if entry.get('special') else ''}".rstrip()
                + "; transformers would add it: save the tokenizer anew with it, so that the files agree"
            )


def _check_reproduced(path: Path, given, kept, parts: dict) -> None:
    """What is kept turns texts and pairs into the same tokens as tokenizer.json itself."""
    tokens = [token["content"] for token in parts["added_tokens"]]
    texts = PROBE + [f(token) for token in tokens for f in ("{}".format, "good {} film".format, "x{}y".format)]
    texts += [" ".join(tokens).upper(), " ".join(tokens).lower()]
    pairs = list(zip(texts, texts[::-1], strict=True))
    for inputs, special in ((texts, False), (texts, True), (pairs, True)):
        for text, one, two in zip(inputs, *(_encode(path, t, inputs, special) for t in (given, kept)), strict=True):
            if one == two:
                continue
            if not special:
                what = "other places in the text" if one[0] == two[0] else f"the ids {two[0][:12]}, not {one[0][:12]}"
                raise InputError(f"{path}: cannot be kept: without post_processor {shown(text[:60])} has {what}")
            raise InputError(
                f"{path}: post_processor does not put special tokens as BERT's does, which gives "
                f"{'a pair' if inputs is pairs else 'a text'} the ids {two[0][:12]} and segments {two[1][:12]}: this "
                f"one gives {one[0][:12]} and {one[1][:12]}; expected [CLS] text [SEP], [CLS] text [SEP] pair [SEP]"
            )


def _encode(path: Path, tokenizer, inputs: list, special: bool) -> list[tuple]:
    try:
        with library_errors("cannot encode with it"):
            found = tokenizer.encode_batch(inputs, add_special_tokens=special)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return [(e.ids, e.type_ids, e.offsets) for e in found]
