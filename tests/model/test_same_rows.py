"""Rows that the model cannot tell apart are the same rows, however they are written: by the commands, from files."""

import unicodedata
from dataclasses import replace

import pytest
from tiny import WORDS, random_texts, write_csv, write_tiny_backbone

from minibert.backbone import load_backbone
from minibert.cli import main
from minibert.data.task import Examples
from minibert.evaluate import tokenize
from minibert.storage import read_bank, write_bank

N = 40
TEXTS = [text for text, _ in zip(random_texts(3 * N)[0], range(N), strict=False)]
SPELLINGS = {
    "accents": lambda text: text.replace("o", "ö").replace("a", "á"),
    "decomposed": lambda text: unicodedata.normalize("NFD", text.replace("e", "é")),
    "zero width": lambda text: text.replace("o", "o\u200b").replace("a", "\u00ada"),
    "control": lambda text: f"{text}\x01",
    "replacement": lambda text: f"\ufffd{text}",
    "case and spaces": lambda text: "  ".join(text.upper().split(" ")),
    "spaces at signs": lambda text: text.replace(" ,", ",").replace("! ", "!"),
    "after the cut": lambda text: f"{text} {' '.join(WORDS)}",
}


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A backbone, a run on all texts (5 tokens of each are read) and one on pairs."""
    place = tmp_path_factory.mktemp("place")
    write_tiny_backbone(place / "tiny.h5")
    write_rows(place / "base.csv", TEXTS)
    write_pairs(place / "pairs.csv", TEXTS, TEXTS[::-1])
    for name, more in (("base", []), ("pairs", ["--pair-column", "b"])):
        assert main(train(place, f"{name}.csv", place / name, "--test-share", 0, *more)) == 0
    return place


def write_rows(path, texts):
    return write_csv(path, {"text": texts, "label": ["no", "yes"] * (len(texts) // 2)})


def write_pairs(path, texts, others):
    return write_csv(path, {"text": texts, "b": others, "label": ["no", "yes"] * (len(texts) // 2)})


def train(place, data, out, *more):
    files = ["train", "--backbone", place / "tiny.h5", "--task", "csv", "--data", place / data, "--out", out, *more]
    options = ["--text-column", "text", "--label-column", "label", "--method", "head", "--epochs", 1]
    return [str(word) for word in [*files, *options, "--max-length", 24 if "--pair-column" in more else 6]]


def seen(capsys, place, data, bank="base"):
    """How many of the rows the bank knows."""
    code, _, err = run(capsys, "eval", "--backbone", place / "tiny.h5", "--bank", place / bank, "--data", data)
    assert code == 0
    line = next(line for line in err.splitlines() if "trained on and" in line or "were trained on" in line)
    return sum(int(word) for word in line.split("rows")[-1].split() if word.isdigit())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_rows_of_the_same_tokens_were_trained_on(place, tmp_path, capsys, spelling):
    texts = [SPELLINGS[spelling](text) for text in TEXTS]
    assert sum(one != other for one, other in zip(texts, TEXTS, strict=True)) > 8
    assert seen(capsys, place, write_rows(tmp_path / "x.csv", texts)) == N


@pytest.mark.parametrize("length", [8, 9, 10, 11])
def test_pairs_that_are_cut_are_the_same_in_the_other_order(place, length):
    """Of two texts of one length, the second keeps one token more if an odd number is left."""
    backbone = load_backbone(place / "tiny.h5")
    texts = ["good tea was bad", "a film is not dull", "bad tea was good", "book", "a film is not fine", "not a book"]
    pairs = [(one, other) for one in texts for other in texts if one != other]
    one, other = map(list, zip(*pairs, strict=True))
    split, exchanged = (tokenize(backbone, Examples(*two, None), length) for two in ((one, other), (other, one)))
    assert split.batch.truncated > 0 and split.batch.cut.sum() == split.batch.truncated
    assert split.hashes().tolist() == exchanged.hashes().tolist()
    assert len(set(tokenize(backbone, Examples(one, other, None), 14).hashes())) == len(pairs) / 2


def test_pairs_in_the_other_order_were_trained_on(place, tmp_path, capsys):
    assert seen(capsys, place, write_pairs(tmp_path / "x.csv", TEXTS[::-1], TEXTS), "pairs") == N
    new = write_rows(tmp_path / "y.csv", random_texts(4 * N)[0][3 * N :])
    code, _, err = run(capsys, "eval", "--backbone", place / "tiny.h5", "--bank", place / "base", "--data", new)
    assert code == 0 and "none of the 40 rows was trained on" in err


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_dev_set_of_the_same_tokens_is_told(place, tmp_path, capsys, spelling):
    write_rows(tmp_path / "train.csv", TEXTS)
    write_rows(tmp_path / "dev.csv", [SPELLINGS[spelling](text) for text in TEXTS])
    code, out, _ = run(capsys, *train(place, tmp_path, tmp_path / "run"))
    assert code == 0 and f"note: {N} of {N} dev texts are also in train, as the model reads them\n" in out


def test_both_labels_for_what_is_read_alike_are_told(place, tmp_path, capsys):
    twice = [*TEXTS, *(f"{text}\u200b" for text in TEXTS[1:]), "film"]
    write_rows(tmp_path / "train.csv", twice)
    write_rows(tmp_path / "dev.csv", random_texts(4 * N)[0][3 * N :])
    code, out, _ = run(capsys, *train(place, tmp_path, tmp_path / "run"))
    assert code == 0 and " stand in train with different labels (" in out and "'yes', 'no'" in out


def test_hashes_of_another_kind_are_not_known(place, tmp_path, capsys):
    record = read_bank(place / "base" / "bank.h5")["csv"]
    assert record.rows_of == "tokens" and record.tokens_seen is record.rows
    for kind in ("texts", "something to come"):
        write_bank(tmp_path / "bank.h5", {"csv": replace(record, rows_of=kind)})
        found = read_bank(tmp_path / "bank.h5")["csv"]
        assert (found.rows_of, found.tokens_seen) == (kind, {})
        command = [
            "eval",
            "--backbone",
            place / "tiny.h5",
            "--bank",
            tmp_path / "bank.h5",
            "--data",
            place / "base.csv",
        ]
        code, _, err = run(capsys, *command, "--split", "all")
        assert code == 0 and "the bank does not keep which rows task csv was trained on" in err
        assert "none of the" not in err


def test_hashes_are_those_of_the_training(place):
    backbone, record = load_backbone(place / "tiny.h5"), read_bank(place / "base" / "bank.h5")["csv"]
    hashes = tokenize(backbone, Examples(TEXTS, None, None), 6).hashes()
    assert {*record.rows["train"], *record.rows["dev"]} == set(hashes)
    assert {*record.rows["train"]} != set(tokenize(backbone, Examples(TEXTS, None, None), 7).hashes())
