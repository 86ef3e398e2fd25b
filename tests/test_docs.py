"""The pages of the site without Sphinx: links lead somewhere, lines are short, every page is listed, and equations that
are cited exist. `make docs` builds the site, and finds more."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
READMES = [ROOT / "README.md", ROOT / "kernels" / "README.md", ROOT / "kernels" / "engine" / "README.md"]
LONGEST = 120
FENCED = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]:\s+(\S+)", re.M)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.M | re.S)
LABEL = re.compile(r"^\$\$ \(eq-(\d+)\)$", re.M)
CITED = re.compile(r"derivations,\s+eqs?\. \((\d+)\)(?:\s+(?:to|and)\s+\((\d+)\))?")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def broken_links(page, text):
    """The relative links of a page that lead to no file and no folder."""
    targets = [one or other for one, other in LINK.findall(FENCED.sub("", text))]
    paths = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:", target)]
    return [path for path in paths if path and not (page.parent / path).exists()]


def long_lines(text):
    """Lines that are too long, but for those of code, which cannot be broken, and of links."""
    lines = [line for line in FENCED.sub("", text).splitlines() if not re.match(r"\[[^\]]+\]:", line)]
    return [line for line in lines if len(line) > LONGEST]


def listed(page, text):
    """What the toctrees of a page list: names of pages from the root, or patterns of them, without endings."""
    for block in TOCTREE.findall(text):
        for line in block.splitlines():
            entry = re.sub(r"^.*<(.*)>$", r"\1", line.strip())
            if entry and not entry.startswith(":"):
                place = ROOT / entry[1:] if entry.startswith("/") else page.parent / entry
                yield place.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [*DOCS, *READMES], ids=name_of)
def test_every_relative_link_leads_to_a_file(page):
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", [*DOCS, *READMES], ids=name_of)
def test_lines_are_short(page):
    assert long_lines(page.read_text(encoding="utf-8")) == []


def test_every_page_and_every_lesson_is_in_a_toctree():
    entries = {entry for page in DOCS for entry in listed(page, page.read_text(encoding="utf-8"))}
    lessons = (ROOT / "notebooks").glob("*.ipynb")
    pages = {name_of(page.with_suffix("")) for page in (*DOCS, *READMES[1:], *lessons)} - {"docs/index"}
    assert [page for page in sorted(pages) if not any(fnmatch(page, entry) for entry in entries)] == []
    assert [entry for entry in sorted(entries) if not any(fnmatch(page, entry) for page in pages)] == []


def test_equations_are_numbered_in_order_and_those_that_are_cited_exist():
    """Sphinx counts equations as they come, and labels say the same numbers to who reads the Markdown."""
    numbers = [int(n) for n in LABEL.findall((ROOT / "docs" / "derivations.md").read_text(encoding="utf-8"))]
    assert numbers == list(range(1, len(numbers) + 1))
    sources = [path for room in ("minibert", "kernels", "docs") for path in (ROOT / room).rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in sources if path.suffix in (".py", ".md")]
    cited = {int(n) for text in texts for found in CITED.findall(text) for n in found if n}
    assert cited
    assert cited <= set(numbers)


def test_these_checks_can_fail():
    page, long = ROOT / "docs" / "index.md", "a " * 70
    assert broken_links(page, "[a](b.md) [c](index.md#d) [e](https://f)\n\n[g]: h.png\n") == ["b.md", "h.png"]
    assert broken_links(page, "```\n[a](b.md)\n```\n") == []
    assert long_lines(f"{long}\n| {long}\n[x]: {long}") == [long, f"| {long}"]
    assert list(listed(page, "```{toctree}\n:hidden:\n\nTasks <tasks>\n/kernels/README\n```\n")) == [
        "docs/tasks",
        "kernels/README",
    ]
    assert CITED.findall("(derivations, eq. (4)), derivations, eqs. (5) to (7)") == [("4", ""), ("5", "7")]
