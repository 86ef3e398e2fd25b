"""What docs/reproduction.md tells: its commands write the files of results/ again from the ledger, its tables hold row
by row (or cell by cell) the numbers of these files, and every other number with decimals stands in a link to the file
that has it (with its standard error in the same row), but for the paper's own: those of quotations and of columns
called "paper"."""

import re
import shlex
from functools import partial
from itertools import chain, takewhile
from pathlib import Path

import pytest
from sweeping import rows_of

from minibert.cli import main
from minibert.plots import in_words

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
PAGE = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
OF_RUNS = ("--backbone", "--data", "--processes")  # what only a run needs
DOTS = re.search(r"`…` stands for `([^`]*)`", " ".join(PAGE.split()))[1]  # in some of the commands
TABLE = re.compile(r"^<!-- (?P<cells>cells of )?(?P<file>\S+\.csv) -->\n\n(?P<lines>(?:\|.*\n)+)", re.M)
FILES = dict(re.findall(r"^\[(\w+)\]: \.\./results/(\S+\.csv)$", PAGE, re.M))
LINK = re.compile(rf"\[(?P<text>[^\]]+)\]\[(?P<name>{'|'.join(FILES)})\]")
NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])")


def commands(page):
    """The options of each `minibert reproduce` that keeps its trials in the ledger of results/."""
    blocks = re.findall(r"^```\n(.*?)^```", page, re.M | re.S)
    lines = chain.from_iterable(block.replace("\\\n", " ").replace("…", DOTS).splitlines() for block in blocks)
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


def strangers(table, rows):
    """The lines of a table's body whose numbers stand in no single row; those with decimals as they are rounded."""
    _, _, *body = table.splitlines()
    return [line for line in body if not in_one(line, rows)]


def in_one(text, rows):
    """Whether a single row has all numbers of a text, if it has some."""
    numbers = NUMBER.findall(text)
    return not numbers or any(all(map(partial(holds, row), numbers)) for row in rows)


def cells(table, path):
    """(heading, cell, what its line says of the columns of the file) for each cell of a table. The first columns name
    settings: either some called as in the file, such as epochs, or one in words."""
    known = rows_of(path)[0]
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    named = len(list(takewhile(known.__contains__, head)))
    for line in body:
        keys = dict(zip(head[:named], line[:named], strict=True))
        yield from ((head[i], line[i], keys) for i in range(named or 1, len(head)))


def holds(row, text):
    """Whether a row of numbers has this one."""
    plain = text.replace(",", "").replace("−", "-").lstrip("+")
    _, point, decimals = plain.partition(".")
    return plain in {f"{value:.{len(decimals)}f}" for value in row} if point else float(plain) in row


def lacking(text, rows):
    """The numbers with decimals of a text, each with the standard error in brackets behind it, that no row has. What is
    lost or behind is told without its sign."""
    either = [[sign * value for value in row for sign in (1, -1)] for row in rows]
    parts = [[n for n in NUMBER.findall(part) if "." in n] for part in re.findall(r"[^ ()]+(?: \([^)]*\))?", text)]
    return [part for part in parts if not any(all(holds(row, n) for n in part) for row in either)]


def numbers_of(path, task=None, keys=None):
    """The numbers of each row of a CSV file, those in its texts, such as "mean of 7", among them; of a list of settings
    the scores times 100. task: of its rows alone, if it is the name of one in words. keys: {column: text} of the rows
    that count."""
    rows, scaled = rows_of(path), ("mean", "standard_error") if path.name == "settings.csv" else ()
    rows = [row for row in rows if in_words(row.get("task", "")) == task] or rows
    rows = [row for row in rows if all(row[column] == text for column, text in (keys or {}).items())]
    scale = dict.fromkeys(scaled, 100)
    return [[float(n) for key, cell in row.items() for n in _numbers(cell, scale.get(key, 1))] for row in rows]


def _numbers(cell, scale):
    try:
        return [scale * float(cell)]
    except ValueError:
        return re.findall(r"\d+", cell)


def without(page, *patterns):
    """The page without what matches: several lines at once, or parts of a line."""
    for pattern in patterns:
        page = re.sub(pattern, "", page, flags=re.M | re.S)
    return page


def unsourced(page):
    """The decimals of a page that neither stand under the name of a file, nor in a link to one, nor are the paper's."""
    page = TABLE.sub("", page)
    page = without(page, r"^```\n.*?^```", LINK.pattern, r"`[^`]*`", r"^>.*?(?:\n\n|\Z)", r"(?:§|[Ss]ection )[\d.]+")
    lines, column = [], None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith("|"):
            column = None
        elif "paper" in cells:
            column = cells.index("paper")
        lines.append(" | ".join(cell for i, cell in enumerate(cells) if i != column))
    return [number for line in lines for number in NUMBER.findall(line) if "." in number]


@pytest.mark.parametrize("options", commands(PAGE), ids=lambda options: " ".join(options)[:60])
def test_each_command_writes_its_tables_again_from_the_ledger(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no file of results/ is touched
    assert main(["reproduce", *recalled(options, tmp_path)]) == 0
    if "--out" not in options:  # nothing of it is kept here
        return
    folder = Path(options[options.index("--out") + 1])
    names = sorted(path.name for path in (ROOT / folder).iterdir())
    assert sorted(path.name for path in (tmp_path / folder).iterdir()) == names
    for name in names:
        if name.endswith(".csv"):
            assert (tmp_path / folder / name).read_text() == (ROOT / folder / name).read_text(), name


@pytest.mark.parametrize("table", list(TABLE.finditer(PAGE)), ids=lambda found: found["file"])
def test_the_numbers_of_a_table_are_those_of_its_file(table):
    path = RESULTS / table["file"]
    if table["cells"]:
        found = list(cells(table["lines"], path))
        assert [cell for cell in found if not in_one(cell[1], numbers_of(path, cell[0], cell[2]))] == []
    else:
        assert strangers(table["lines"], numbers_of(path)) == []


@pytest.mark.parametrize("link", list(LINK.finditer(PAGE)), ids=lambda found: f"{found['name']}: {found['text']}")
def test_the_numbers_of_a_link_are_in_its_file(link):
    rows, numbers = numbers_of(RESULTS / FILES[link["name"]]), NUMBER.findall(link["text"])
    assert lacking(link["text"], rows) == []
    if link["name"] == "settings":  # which has hundreds of rows: the text says which one is meant
        assert len(numbers) > 3 and any(all(holds(row, number) for number in numbers) for row in rows)


def test_every_number_has_its_file():
    assert unsourced(PAGE) == []


def test_the_readme_tells_the_mean_of_the_comparison():
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Results\n")[1].split("`minibert")[0]
    told = re.findall(r"\d+\.\d+", text)
    *_, mean = rows_of(RESULTS / "differences.csv")
    columns = "dev_difference", "dev_standard_error", "test_difference", "test_standard_error"
    assert told == [f"{abs(float(mean[column])):.2f}" for column in columns]
    assert mean["task"] == "mean of 9, 6 on test" and "nine tasks" in text and "six test splits" in text
    assert ("behind" in text, "ahead" in text) == (float(mean[columns[0]]) < 0, float(mean[columns[2]]) > 0)


def test_these_checks_can_fail():
    page = "```\nminibert reproduce figure4 --tasks trec \\\n    --out results/x --ledger results/ledger.jsonl\n```\n"
    (options,) = commands(page)
    assert options[0] == "figure4" and options[-1] == "results/ledger.jsonl"
    assert TABLE.search(PAGE) and commands(PAGE)
    assert lacking("7.5 against 4.25 of 9", [[-7.5, 3], [4.26]]) == [["4.25"]]
    assert lacking("7.5 (0.3), 4.3 (0.2)", [[7.5, 0.3], [4.3, 0.3], [1, 0.2]]) == [["4.3", "0.2"]]
    told = "> Paper 1.5\n> and 2.5.\n\nsection 3.5, `x 4.5`, 5.5\n\n| a | paper |\n|---|---|\n| 6.5 | 7.5 |\n"
    assert unsourced(f"[8.5][{next(iter(FILES))}]\n\n{told}") == ["5.5", "6.5"]
    assert unsourced("| a | paper |\n|---|---|\n| x | 7.5 |\n\n| a | b |\n|---|---|\n| x | 7.5 |\n") == ["7.5"]
    file = RESULTS / "settings.csv"
    assert list(cells("| a | b | c |\n|---|---|---|\n| M = 8 | 1.5 (0.2) | 3 |\n", file)) == [
        ("b", "1.5 (0.2)", {}),
        ("c", "3", {}),
    ]
    (cell,) = cells("| split | epochs | TREC |\n|---|---|---|\n| dev | 10 | 93.3 (0.2) |\n", file)
    assert cell == ("TREC", "93.3 (0.2)", {"split": "dev", "epochs": "10"})
    assert in_one(cell[1], numbers_of(file, "TREC", cell[2]))
    assert not any(
        in_one(cell[1], numbers_of(file, "TREC", cell[2] | other)) for other in ({"epochs": "5"}, {"split": "test"})
    )
    assert not in_one(cell[1], numbers_of(file, "CoLA", cell[2]))
    lines = ["| x 12.3 | −0.5 (1,234) |", "| 1e-7 | M = 8 |"]
    table = "\n".join(["| a 7.5 | b |", "|---|---|", *lines])
    assert strangers(table, [[12.26, -0.52, 1234, 3], [1e-7, 8]]) == []
    assert strangers(table, [[12.26, -0.52, 8], [1e-7, 1234]]) == lines, "of different rows"
    for row in ([12.36, -0.52, 1234], [12.26, 0.52, 1234], [12.26, -0.52, 1235]):
        assert strangers(table, [row, [1e-7, 8.1]]) == lines
