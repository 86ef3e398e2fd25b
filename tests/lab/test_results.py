"""What docs/reproduction.md tells: its commands write the files of results/ again from the ledger, and its tables hold
no number that these files do not have."""

import re
import shlex
from itertools import chain
from pathlib import Path

import pytest
from sweeping import rows_of

from minibert.cli import main

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
OF_RUNS = ("--backbone", "--data", "--processes")  # what only a run needs
TABLE = re.compile(r"^<!-- (?P<file>\S+\.csv) -->\n\n(?P<lines>(?:\|.*\n)+)", re.M)
NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])")


def commands(page):
    """The options of each `minibert reproduce` that keeps its trials in the ledger of results/."""
    blocks = re.findall(r"^```\n(.*?)^```", page, re.M | re.S)
    lines = chain.from_iterable(block.replace("\\\n", " ").splitlines() for block in blocks)
    words = [shlex.split(line) for line in lines if line.startswith("minibert reproduce ")]
    return [options[2:] for options in words if "results/ledger.jsonl" in options]


def recalled(options, out):
    """The same from the ledger, written to another folder."""
    kept, values = [], iter(options)
    for word in values:
        if word in OF_RUNS:
            next(values)
        elif word == "--out":
            kept += [word, str(out / next(values))]
        elif word == "results/ledger.jsonl":
            kept.append(str(RESULTS / "ledger.jsonl"))
        else:
            kept.append(word)
    return [*kept, "--from-ledger"]


def strangers(table, values):
    """The numbers in the body of a table that none of the values is; those with decimals if none rounds to them."""
    _, _, *body = table.splitlines()
    exact, found = set(values), []
    for text in NUMBER.findall("\n".join(body)):
        plain = text.replace(",", "").replace("−", "-").lstrip("+")
        _, point, decimals = plain.partition(".")
        rounded = {f"{value:.{len(decimals)}f}" for value in exact}
        if plain not in rounded if point else float(plain) not in exact:
            found.append(text)
    return found


def numbers_of(path):
    """All numbers of a CSV file."""
    for cell in chain.from_iterable(row.values() for row in rows_of(path)):
        try:
            yield float(cell)
        except ValueError:
            continue


@pytest.mark.parametrize("options", commands(PAGE), ids=lambda options: " ".join(options)[:60])
def test_each_command_writes_its_tables_again_from_the_ledger(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no file of results/ is touched
    assert main(["reproduce", *recalled(options, tmp_path)]) == 0
    folder = Path(options[options.index("--out") + 1])
    names = sorted(path.name for path in (ROOT / folder).iterdir())
    assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for name in names:
        if name.endswith(".csv"):
            assert (tmp_path / folder / name).read_text() == (ROOT / folder / name).read_text(), name


@pytest.mark.parametrize("table", list(TABLE.finditer(PAGE)), ids=lambda found: found["file"])
def test_the_numbers_of_a_table_are_those_of_its_file(table):
    assert strangers(table["lines"], list(numbers_of(RESULTS / table["file"]))) == []


def test_these_checks_can_fail():
    page = "```\nminibert reproduce figure4 --tasks trec \\\n    --out results/x --ledger results/ledger.jsonl\n```\n"
    (options,) = commands(page)
    assert options[0] == "figure4" and options[-1] == "results/ledger.jsonl"
    assert TABLE.search(PAGE) and commands(PAGE)
    lines = "| a 7.5 | b |\n|---|---|\n| x 12.3 | −0.5 (1,234) |\n| 1e-7 | M = 8 |\n"
    assert strangers(lines, [12.26, -0.52, 1234, 1e-7, 8]) == []
    assert strangers(lines, [12.36, 0.52, 1235, 1e-6, 8.1]) == ["12.3", "−0.5", "1,234", "1e-7", "8"]
