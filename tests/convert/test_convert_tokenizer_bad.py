"""Files of a tokenizer that disagree, or that cannot be followed: refused in one line that names them."""

import json

import pytest
from whole_tokenizer import (
    AT_SPACES,
    BERT,
    BPE,
    E1,
    GENERIC,
    OTHER_KIND,
    OTHER_VOCAB,
    SPECIAL,
    UNCASED,
    VOCAB,
    N,
    changed,
    decoder,
    token,
    tokenizer_folder,
    whole,
)

from minibert.errors import InputError
from weights_convert.tokenizer import read_tokenizer


def swapped():
    vocab = list(VOCAB)
    vocab[10], vocab[11] = vocab[11], vocab[10]
    return vocab


def unsorted_ids():
    """The library numbers added tokens as they come: what the file says of them is not so."""
    return whole(added=[token(N + 1, "<E2>"), token(N, "<E1>")])


CLS_OF_TEMPLATE = {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}
MAP = "special_tokens_map.json: "
CASING = "tokenizer_config.json: "
WHOLE = "tokenizer.json: "

# {case: (the files, what the error says)}
REFUSED = {
    "two vocabularies": (
        {"vocab": swapped(), "casing": UNCASED, "whole": whole()},
        "vocab.txt: 'bad' has the id 10, in tokenizer.json the id 11",
    ),
    "a longer vocab.txt": (
        {"vocab": [*VOCAB, "x"], "whole": whole()},
        "vocab.txt: 'x' has the id 21, in tokenizer.json no",
    ),
    "a shorter vocab.txt": ({"vocab": VOCAB[:-1], "whole": whole()}, "vocab.txt: has 20 words, tokenizer.json 21"),
    "casing": (
        {"casing": {**BERT, "do_lower_case": False}, "whole": whole()},
        WHOLE + "does lowercase text, but in tokenizer_config.json do_lower_case is false",
    ),
    "casing that BertTokenizer assumes": (
        {"casing": BERT, "whole": changed("normalizer", lowercase=False)},
        WHOLE + "does not lowercase text, but in tokenizer_config.json do_lower_case is not said, which means true",
    ),
    "no casing, and not what BertTokenizer assumes": (
        {"vocab": None, "whole": changed("normalizer", lowercase=False)},
        "do_lower_case is not said, which means true",
    ),
    "casing of a generic class": (
        {"casing": {**GENERIC, **UNCASED}, "whole": changed("normalizer", lowercase=False)},
        WHOLE + "does not lowercase text, but in tokenizer_config.json do_lower_case is true",
    ),
    "casing by another normalizer": (
        {"casing": {**GENERIC, "do_lower_case": False}, "whole": whole(normalizer={"type": "Lowercase"})},
        WHOLE + "does lowercase text",
    ),
    "accents": (
        {"casing": UNCASED, "whole": changed("normalizer", strip_accents=False)},
        WHOLE + "does not remove accents, but in tokenizer_config.json strip_accents is not said, which means true",
    ),
    "Chinese characters": (
        {"casing": {"tokenize_chinese_chars": False}, "whole": whole()},
        WHOLE + "does split Chinese characters, but in tokenizer_config.json tokenize_chinese_chars is false",
    ),
    "pre-tokenizer": (
        {"casing": BERT, "whole": whole(pre_tokenizer=AT_SPACES)},
        WHOLE + 'pre_tokenizer is {"type": "WhitespaceSplit"}, a BertTokenizer\'s {"type": "BertPreTokenizer"}',
    ),
    "prefix": (
        {"casing": BERT, "whole": changed("model", continuing_subword_prefix="@@")},
        WHOLE + 'model.continuing_subword_prefix is "@@"',
    ),
    "longest word": (
        {"casing": BERT, "whole": changed("model", max_input_chars_per_word=3)},
        WHOLE + "model.max_input_chars_per_word is 3, a BertTokenizer's 100",
    ),
    "cleaning": ({"casing": BERT, "whole": changed("normalizer", clean_text=False)}, "normalizer.clean_text is false"),
    "normalizer": (
        {
            "casing": BERT,
            "whole": whole(
                normalizer={"type": "BertNormalizer"}
                | {"lowercase": True, "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
                | {
                    "type": "Sequence",
                    "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}],
                }
            ),
        },
        WHOLE + 'normalizer.type is "Sequence"',
    ),
    "Japanese": (
        {"casing": {"tokenizer_class": "BertJapaneseTokenizer", "subword_tokenizer_type": "character"}},
        CASING + "tokenizer_class is 'BertJapaneseTokenizer', expected BertTokenizer",
    ),
    "Japanese by config.json alone": (
        {"casing": UNCASED, "config": {"tokenizer_class": "BertJapaneseTokenizer"}},
        "config.json: tokenizer_class is 'BertJapaneseTokenizer'",
    ),
    "a class of the checkpoint's own": (
        {"casing": {"tokenizer_class": "KoBertTokenizer"}, "whole": whole()},
        "'KoBertTokenizer' does is not known here; if tokenizer.json does exactly what that class does: ",
    ),
    "code of the checkpoint's own": (
        {"casing": {**UNCASED, "auto_map": {"AutoTokenizer": ["mine.MyTokenizer", None]}}},
        CASING + "auto_map names code",
    ),
    "code for the model": (
        {"casing": UNCASED, "config": {"auto_map": {"AutoModel": "mine.MyModel"}}},
        "config.json: auto_map names code",
    ),
    "a generic class without tokenizer.json": ({"casing": GENERIC}, "tokenizer.json: no such file"),
    "no basic tokenizer": ({"casing": {"do_basic_tokenize": False}}, CASING + "do_basic_tokenize is False"),
    "never_split": ({"casing": {"never_split": ["covid"]}}, CASING + "never_split is ['covid']"),
    "special tokens split": ({"casing": {"split_special_tokens": True}}, CASING + "split_special_tokens is True"),
    "pieces of characters": (
        {"casing": {"subword_tokenizer_type": "character"}},
        "subword_tokenizer_type is 'character'",
    ),
    "words by MeCab": (
        {"casing": {"word_tokenizer_type": "mecab"}},
        "word_tokenizer_type is 'mecab', which is not followed",
    ),
    "casing that is no answer": ({"casing": {"do_lower_case": "yes"}}, CASING + "do_lower_case must be true or false"),
    "no casing": ({}, 'tokenizer_config.json: no such file; expected one such as {"do_lower_case": true}'),
    "no vocabulary": ({"vocab": None, "casing": UNCASED}, "vocab.txt: no such file, and no tokenizer.json"),
    "a word twice": ({"vocab": [*VOCAB, "the"], "casing": UNCASED}, "vocab.txt: vocabulary: 'the' is there twice"),
    "added token within the vocabulary": (
        {"casing": UNCASED, "added": {"<E1>": 7}},
        "added_tokens.json gives the added token '<E1>' the id 7, but it is 21",
    ),
    "added token beyond a gap": (
        {"casing": {**UNCASED, "added_tokens_decoder": decoder(token(N + 3, "<E1>"))}},
        "tokenizer_config.json gives the added token '<E1>' the id 24, but it is 21",
    ),
    "added tokens that are no numbers": (
        {"casing": UNCASED, "added": {"<E1>": "21"}},
        "added_tokens.json: '<E1>' has the id '21'",
    ),
    "a decoder that is none": (
        {"casing": {"added_tokens_decoder": {"x": {}}}},
        CASING + "added_tokens_decoder has 'x'",
    ),
    "added_tokens.json against the decoder": (
        {"casing": {"added_tokens_decoder": decoder(E1)}, "added": {"<E1>": N, "<E2>": N + 1}},
        "added_tokens.json: '<E2>' has the id 22, vocab.txt with tokenizer_config.json gives no such added token",
    ),
    "added_tokens.json against tokenizer.json": (
        {"casing": UNCASED, "whole": whole(), "added": {"<E1>": N}},
        "added_tokens.json: '<E1>' has the id 21, tokenizer.json with tokenizer_config.json gives no such",
    ),
    "an added token that added_tokens.json lacks": (
        {"casing": UNCASED, "whole": whole(added=[E1]), "added": {}},
        "added_tokens.json: '<E1>' is missing, tokenizer.json with tokenizer_config.json gives the id 21",
    ),
    "an added token that the decoder lacks": (
        {"casing": {**UNCASED, "added_tokens_decoder": decoder(*SPECIAL)}, "whole": whole(added=[E1])},
        CASING + "added_tokens_decoder has no token with the id 21, tokenizer.json has '<E1>'",
    ),
    "flags of an added token": (
        {
            "casing": {**UNCASED, "added_tokens_decoder": decoder(*SPECIAL[:4], token(4, "[MASK]", lstrip=True))},
            "whole": whole(),
        },
        "added_tokens_decoder has '[MASK]' (lstrip true) with the id 4, tokenizer.json has '[MASK]' (lstrip false)",
    ),
    "a special token that is not added": (
        {"casing": {**UNCASED, "additional_special_tokens": ["covid"]}, "whole": whole()},
        CASING + "additional_special_tokens is 'covid', which is not among the special added tokens of tokenizer.json",
    ),
    "[CLS] is an ordinary word": (
        {"casing": UNCASED, "whole": whole() | {"added_tokens": SPECIAL[:2]}},
        CASING + "cls_token is '[CLS]', which is not among the special added tokens",
    ),
    "flags of a named token": (
        {"casing": UNCASED, "whole": whole(), "special": {"mask_token": {"content": "[MASK]", "lstrip": True}}},
        MAP
        + "mask_token is '[MASK]', which is not among the special added tokens of tokenizer.json with the same flags",
    ),
    "another [SEP]": ({"casing": {**UNCASED, "sep_token": "</s>"}}, CASING + "sep_token is '</s>', expected '[SEP]'"),
    "another [CLS]": (
        {"casing": UNCASED, "special": {"cls_token": "the"}},
        MAP + "cls_token is 'the', expected '[CLS]'",
    ),
    "no unknown token": ({"casing": {**UNCASED, "unk_token": None}}, CASING + "unk_token is null; expected '[UNK]'"),
    "a token that is none": ({"casing": {**UNCASED, "pad_token": 3}}, CASING + "pad_token has 3, expected a token"),
    "tokens that are no list": (
        {"casing": {**UNCASED, "additional_special_tokens": "<E1>"}},
        CASING + "additional_special_tokens is '<E1>', expected a list of tokens",
    ),
    "a flag that is no answer": (
        {"casing": {**UNCASED, "added_tokens_decoder": decoder(token(N, "<E1>", lstrip="no"))}},
        CASING + "lstrip of the token '<E1>' must be true or false",
    ),
    "two words for padding": (
        {"casing": {**UNCASED, "pad_token": "[PAD]"}, "special": {"pad_token": "the"}},
        MAP + "pad_token is 'the', in tokenizer_config.json it is '[PAD]'",
    ),
    "no post-processor": (
        {**OTHER_KIND, "whole": whole(post_processor=None)},
        WHOLE + "post_processor does not put special",
    ),
    "RoBERTa's post-processor": (
        {
            **OTHER_KIND,
            "whole": whole(
                post_processor={
                    "type": "RobertaProcessing",
                    "sep": ["[SEP]", 3],
                    "cls": ["[CLS]", 2],
                    "trim_offsets": True,
                    "add_prefix_space": False,
                }
            ),
        },
        "post_processor does not put special tokens as BERT's does, which gives a pair",
    ),
    "a third segment": (
        {"casing": UNCASED, "whole": json.loads(json.dumps(whole()).replace('"type_id": 1', '"type_id": 2'))},
        "post_processor does not put special tokens as BERT's does, which gives a pair",
    ),
    "a template without its tokens": (
        {"casing": UNCASED, "whole": changed("post_processor", special_tokens={"[CLS]": CLS_OF_TEMPLATE})},
        WHOLE + "post_processor puts '[SEP]', whose ids its special_tokens do not give",
    ),
    "dropout": (
        {**OTHER_KIND, "whole": whole(OTHER_VOCAB, model={**BPE, "dropout": 0.1})},
        "dropout of 0.1: its tokens are random",
    ),
    "a space in front": (
        {
            **OTHER_KIND,
            "whole": whole(
                pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
            ),
        },
        WHOLE + "add_prefix_space is true, in tokenizer_config.json it is false",
    ),
    "ids that the library does not keep": (
        {"casing": UNCASED, "whole": unsorted_ids()},
        WHOLE + "added token '<E2>' has the id 22, but the tokenizers library",
    ),
    "what the library cannot read": (
        {"casing": UNCASED, "whole": whole(pre_tokenizer={"type": "Magic"})},
        "cannot read it",
    ),
    "no JSON": ({"casing": UNCASED, "whole": "{"}, "tokenizer.json, line 1: not valid JSON"),
    "a key twice": (
        {"casing": '{"do_lower_case": true, "do_lower_case": false}'},
        CASING + "'do_lower_case' is there twice in one object",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(tmp_path, case):
    files, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        read_tokenizer(tokenizer_folder(tmp_path, **files))
    message = str(caught.value)
    assert message.startswith(str(tmp_path)) and words in message and "\n" not in message
