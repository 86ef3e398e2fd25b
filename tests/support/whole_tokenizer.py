"""A tokenizer.json in the form of the hub's BERT checkpoints, and a checkpoint's folder with the files of a tokenizer.

The ids that tests expect of it are those of transformers 4.57.1 and 5.24.0, which gave the same.
"""

import json

WORDS = ["the", "##s", "é", "e", "Good", "good", "bad", "漢", "漢字", ".", "<", "e1", ">", "##d", "goo", "covid"]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
N = len(VOCAB)  # 21
TEXT, PAIR = "Good éé <E1> good. [MASK]bad covid goodbad 漢字", "good"


def token(id, content, **flags):
    """An entry of added_tokens, a special one if flags do not say otherwise."""
    usual = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": content} | usual | flags


def whole(vocab=VOCAB, added=(), **parts):
    """The text that bert-base-uncased has, key by key, with another vocabulary; parts replace its parts."""

    def piece(kind, id, type_id):
        return {kind: {"id": id, "type_id": type_id}}

    single = [piece("SpecialToken", "[CLS]", 0), piece("Sequence", "A", 0), piece("SpecialToken", "[SEP]", 0)]
    special = {name: {"id": name, "ids": [vocab.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    normalizer = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    model = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token(i, word) for i, word in enumerate(vocab[:5])] + list(added),
        "normalizer": {"type": "BertNormalizer", **normalizer},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, piece("Sequence", "B", 1), piece("SpecialToken", "[SEP]", 1)],
            "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": model | {"vocab": {word: i for i, word in enumerate(vocab)}},
    } | parts


def changed(part, **values):
    """A whole tokenizer with some values of one of its parts changed."""
    parts = whole()
    parts[part] = parts[part] | values
    return parts


def tokenizer_folder(path, vocab=VOCAB, **files):
    """A folder with vocab.txt (vocab None: without) and these files, each given as text or as what JSON can hold."""
    path.mkdir(exist_ok=True)
    names = {
        "whole": "tokenizer.json",
        "casing": "tokenizer_config.json",
        "special": "special_tokens_map.json",
        "added": "added_tokens.json",
        "config": "config.json",
    }
    for name, value in files.items():
        (path / names[name]).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    if vocab is not None:
        (path / "vocab.txt").write_text("".join(f"{word}\n" for word in vocab), encoding="utf-8")
    return path


def decoder(*tokens):
    """added_tokens_decoder of tokenizer_config.json."""
    return {str(entry["id"]): {key: value for key, value in entry.items() if key != "id"} for entry in tokens}


UNCASED = {"do_lower_case": True}
BERT, GENERIC = {"tokenizer_class": "BertTokenizer"}, {"tokenizer_class": "PreTrainedTokenizerFast"}
E1 = token(N, "<E1>", special=False, normalized=True)
SPECIAL = [token(i, word) for i, word in enumerate(VOCAB[:5])]
AT_SPACES = {"type": "WhitespaceSplit"}
PIECES = ["▁", "g", "o", "d", "b", "a", "go", "goo", "good", "▁good", "▁bad", "ba", "▁b", "bad"]
MERGES = ["g o", "go o", "goo d", "▁ good", "▁ b", "b a", "ba d", "▁ bad"]
OTHER_VOCAB = VOCAB[:5] + PIECES
BPE = {
    "type": "BPE",
    "unk_token": "[UNK]",
    "fuse_unk": False,
    "byte_fallback": False,
    "vocab": {word: i for i, word in enumerate(OTHER_VOCAB)},
    "merges": [merge.split() for merge in MERGES],
}
UNIGRAM = {
    "type": "Unigram",
    "unk_id": 1,
    "byte_fallback": False,
    "vocab": [[word, -1.0 - i / 10] for i, word in enumerate(OTHER_VOCAB)],
}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
OTHER_KIND = {"vocab": None, "casing": GENERIC}
