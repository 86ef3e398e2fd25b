"""The tokenizer of a folder is the one that transformers loads, id for id, or the conversion is refused by name."""

import json

import numpy as np
import pytest
import safetensors.numpy
from checkpoint import THEIR_CONFIG, random_tensors
from whole_tokenizer import (
    AT_SPACES,
    BPE,
    E1,
    METASPACE,
    OTHER_KIND,
    OTHER_VOCAB,
    PAIR,
    SPECIAL,
    TEXT,
    UNCASED,
    UNIGRAM,
    VOCAB,
    N,
    changed,
    decoder,
    tokenizer_folder,
    whole,
)

from minibert.backbone import load_backbone
from minibert.storage import bert_tokenizer, read_backbone
from minibert.text import Tokenizer
from weights_convert.tokenizer import read_tokenizer

LOWERCASE = [2, 10, 1, 15, 16, 17, 10, 14, 4, 11, 20, 1, 12, 1, 3, 10, 3]
CASED = [2, 9, 1, 15, 1, 17, 10, 14, 4, 11, 20, 1, 12, 1, 3, 10, 3]
WITH_E1 = [2, 10, 1, 21, 10, 14, 4, 11, 20, 1, 12, 1, 3, 10, 3]
CUT_AT_SPACES = [2, 10, 1, 1, 1, 4, 11, 20, 1, 12, 1, 3, 10, 3]
# {case: (the files, the ids that transformers 4.57.1 and 5.24.0 gave for TEXT and PAIR)}
RIGHT = {
    "vocab.txt and casing": ({"casing": UNCASED}, LOWERCASE),
    "cased": ({"casing": {"do_lower_case": False}}, CASED),
    "casing that says nothing": ({"casing": {}}, LOWERCASE),
    "added_tokens.json": (
        {"casing": UNCASED, "added": {"<E1>": N, "goodbad": N + 1}},
        [2, 10, 1, 21, 10, 14, 4, 11, 20, 22, 12, 1, 3, 10, 3],
    ),
    "added_tokens.json, one of them special": (
        {"casing": {**UNCASED, "additional_special_tokens": ["<E1>"]}, "added": {"<E1>": N, "goodbad": N + 1}},
        [2, 10, 1, 21, 10, 14, 4, 11, 20, 22, 12, 1, 3, 10, 3],
    ),
    "special tokens that are named alone": (
        {"casing": {**UNCASED, "additional_special_tokens": ["<E1>", "covid"]}},
        WITH_E1,
    ),
    "extra_special_tokens": ({"casing": {**UNCASED, "extra_special_tokens": {"entity": "<E1>"}}}, WITH_E1),
    "added_tokens_decoder": ({"casing": {**UNCASED, "added_tokens_decoder": decoder(E1)}}, WITH_E1),
    "added_tokens_decoder and a named one": (
        {"casing": {**UNCASED, "additional_special_tokens": ["<E2>"], "added_tokens_decoder": decoder(E1)}},
        WITH_E1,
    ),
    "no [MASK]": (
        {"vocab": [word for word in VOCAB if word != "[MASK]"], "casing": UNCASED},
        [2, 9, 1, 14, 15, 16, 9, 13, 20, 10, 19, 1, 11, 1, 3, 9, 3],
    ),
    "all files": (
        {
            "whole": whole(added=[E1]),
            "casing": {**UNCASED, "tokenizer_class": "BertTokenizer", "added_tokens_decoder": decoder(*SPECIAL, E1)},
            "special": {"cls_token": "[CLS]", "mask_token": {"content": "[MASK]", "lstrip": False}},
            "added": {"<E1>": N},
            "config": {"tokenizer_class": "BertTokenizerFast"},
        },
        WITH_E1,
    ),
    "tokenizer.json alone": ({"vocab": None, "whole": whole()}, LOWERCASE),
    "generic class, cased": ({**OTHER_KIND, "whole": changed("normalizer", lowercase=False)}, CASED),
    "generic class, cut at spaces": ({**OTHER_KIND, "whole": whole(pre_tokenizer=AT_SPACES)}, CUT_AT_SPACES),
    "the class of transformers 5": (
        {
            "vocab": None,
            "casing": {"tokenizer_class": "TokenizersBackend"},
            "whole": whole(pre_tokenizer=AT_SPACES),
        },
        CUT_AT_SPACES,
    ),
    "BERT's post-processor in its older form": (
        {
            "casing": UNCASED,
            "whole": whole(post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}),
        },
        LOWERCASE,
    ),
    "truncation and padding": (
        {
            "casing": UNCASED,
            "whole": whole(
                truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
                padding={
                    "strategy": {"Fixed": 128},
                    "direction": "Right",
                    "pad_to_multiple_of": None,
                    "pad_id": 0,
                    "pad_type_id": 0,
                    "pad_token": "[PAD]",
                },
            ),
        },
        LOWERCASE,
    ),
    "BPE": (
        {
            **OTHER_KIND,
            "whole": whole(OTHER_VOCAB, model=BPE, normalizer={"type": "Lowercase"}, pre_tokenizer=METASPACE),
        },
        [2, 14, 5, 1, 1, 5, 1, 1, 1, 1, 14, 1, 5, 4, 17, 10, 8, 5, 1, 7, 1, 1, 8, 14, 18, 5, 1, 1, 3, 14, 3],
    ),
    "Unigram": (
        {
            **OTHER_KIND,
            "whole": whole(OTHER_VOCAB, model=UNIGRAM, normalizer={"type": "Lowercase"}, pre_tokenizer=METASPACE),
        },
        [2, 14, 5, 1, 5, 1, 14, 1, 5, 4, 15, 5, 1, 7, 1, 8, 14, 18, 5, 1, 3, 14, 3],
    ),
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_ids_are_those_of_transformers(tmp_path, case):
    files, ids = RIGHT[case]
    text, _ = read_tokenizer(tokenizer_folder(tmp_path, **files))
    batch = Tokenizer(text).encode([TEXT], [PAIR])
    assert batch.ids.tolist() == ids
    assert batch.segments.tolist() == [0] * (len(ids) - 2) + [1, 1]


def test_windows_line_ends_are_no_part_of_the_words(tmp_path):
    folder = tokenizer_folder(tmp_path, casing=UNCASED)
    (folder / "vocab.txt").write_bytes("\r\n".join(VOCAB).encode())
    assert read_tokenizer(folder)[0] == bert_tokenizer(VOCAB)


def test_all_ways_to_the_same_tokenizer_give_the_same_text(tmp_path):
    ways = ["vocab.txt and casing", "tokenizer.json alone", "BERT's post-processor in its older form"]
    texts = {read_tokenizer(tokenizer_folder(tmp_path / str(i), **RIGHT[way][0]))[0] for i, way in enumerate(ways)}
    assert texts == {bert_tokenizer(VOCAB)}


def test_notes_tell_what_is_not_kept(tmp_path):
    files = RIGHT["truncation and padding"][0]
    files["casing"] = {**UNCASED, "truncation_side": "left"}
    _, notes = read_tokenizer(tokenizer_folder(tmp_path, **files))
    assert len(notes) == 2 and "cut them at their end" in notes[0].replace("cuts", "cut")
    assert notes[1].startswith("note: tokenizer.json cuts texts to 3 tokens")


# --------------------------------------------------------------------------------------------------- whole commands

CONFIG = {**THEIR_CONFIG, "vocab_size": N + 3, "max_position_embeddings": 32}


def checkpoint(path, **files):
    """A folder with weights, too: three rows of the embedding more than the vocabulary has words."""
    tokenizer_folder(path, config=CONFIG | files.pop("config", {}), **files)
    tensors, rng = random_tensors(), np.random.default_rng(1)
    tensors["embeddings.word_embeddings.weight"] = rng.standard_normal((N + 3, 8)).astype(np.float32)
    tensors["embeddings.position_embeddings.weight"] = rng.standard_normal((32, 8)).astype(np.float32)
    safetensors.numpy.save_file(tensors, path / "model.safetensors")
    return path


@pytest.mark.parametrize("case", ["vocab.txt and casing", "all files", "generic class, cut at spaces", "Unigram"])
def test_there_and_back_is_the_same_tokenizer(tmp_path, run, case):
    files, ids = RIGHT[case]
    files = {name: value for name, value in files.items() if name != "config"}
    result = run("to-hdf5", checkpoint(tmp_path / "there", **files), "--out", tmp_path / "a.h5")
    first = read_backbone(tmp_path / "a.h5")
    assert result.code == 0 and f"tokenizer {first.tokenizer_fingerprint[:12]}: " in result.out
    assert load_backbone(tmp_path / "a.h5").encode([TEXT], [PAIR], 32).ids.tolist() == ids
    assert run("to-hf", tmp_path / "a.h5", "--out", tmp_path / "back").code == 0
    assert run("to-hdf5", tmp_path / "back", "--out", tmp_path / "b.h5").code == 0
    assert read_backbone(tmp_path / "b.h5").tokenizer == first.tokenizer
    settings = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
    plain = case == "vocab.txt and casing"
    assert settings["tokenizer_class"] == ("BertTokenizer" if plain else "PreTrainedTokenizerFast")
    assert (tmp_path / "back" / "vocab.txt").exists() == (case != "Unigram")


def test_files_of_another_tokenizer_do_not_stay_in_the_folder(tmp_path, run):
    run("to-hdf5", checkpoint(tmp_path / "there", casing=UNCASED), "--out", tmp_path / "a.h5")
    back = tokenizer_folder(tmp_path / "back", added={"<E1>": 3}, special={"cls_token": "the"})
    assert "is there already" in run("to-hf", tmp_path / "a.h5", "--out", back).err
    assert run("to-hf", tmp_path / "a.h5", "--out", back, "--force").code == 0
    assert run("to-hdf5", back, "--out", tmp_path / "b.h5").code == 0


def test_a_token_without_a_row_is_named(tmp_path, run):
    added = {f"<E{i}>": N + i for i in range(4)}
    result = run("to-hdf5", checkpoint(tmp_path / "m", casing=UNCASED, added=added), "--out", tmp_path / "a.h5")
    assert "has 25 tokens, the embedding rows for 24: there is none for '<E3>', id 24" in result.err
    assert not (tmp_path / "a.h5").exists()


def test_one_segment_is_told(tmp_path, run):
    folder = checkpoint(tmp_path / "m", casing=UNCASED, config={"type_vocab_size": 1})
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors["embeddings.token_type_embeddings.weight"] = tensors["embeddings.token_type_embeddings.weight"][:1]
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    result = run("to-hdf5", folder, "--out", tmp_path / "a.h5")
    assert result.code == 0 and "note: config.json has type_vocab_size 1: tasks of pairs need two" in result.out


def test_verify_prints_no_control_characters(tmp_path, run):
    folder = checkpoint(tmp_path / "m\x1b[31m\n", casing=UNCASED)
    assert run("to-hdf5", folder, "--out", tmp_path / "a.h5").code == 0
    out = run("verify", tmp_path / "a.h5").out
    assert read_backbone(tmp_path / "a.h5").source == "m\x1b[31m\n"
    assert "source          m [31m \n" in out and "\x1b" not in out
