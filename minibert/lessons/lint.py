"""What every lesson must have, read from its source: `python -m minibert.lessons lint`.

Its code is parsed, not run. Needs the extra notebooks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from minibert.errors import InputError, list_some, quoted
from minibert.lessons import source

LEAST_OWN = 0.35  # of the code cells: what a learner writes, and its checks
MOST_WORDS = 1500
OWN = ("lessons.check(", "lessons.take(", "lessons.hint(", "# <- your")  # the last: numbers to fill in, a guess
GOAL, SUMMARY = "**You will**", "## What you learned"
NUMPY_ALONE = (2, 3, 4, 5, 6, 8)  # lessons that run in a browser
ALLOWED = ("numpy", "math", "re", "matplotlib", "minibert.lessons")
FORBIDDEN = ("mock", "unittest.mock", "inspect")
FORBIDDEN_CALLS = ("exec", "eval", "compile")
PLOTS = ("matplotlib", "minibert.lessons.plots")
FIGURES = {"fig", "figure"}  # what a picture is called
LINK = re.compile(r"\[Next[^\]]*\]\(([^)]+)\.ipynb\)")
NOT_WORDS = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)", re.DOTALL)  # code, formulas, where links lead
ITEM = re.compile(r"( *)(?:[-*+]|\d+[.)]) ")  # of a list
WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")

Cells = list  # of a notebook


def run(folder: Path, say: Callable[[str], None] = print) -> int:
    """Print a line for each finding in the sources of a folder. Returns how many there are.

    Raises InputError if the folder has no lessons, or one of them cannot be read.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not paths:
        raise InputError(f"{folder} has no lessons: expected files such as 05_gelu_and_layernorm.py")
    findings = [f"{path.name}: {finding}" for path in paths for finding in findings_of(path, paths)]
    for finding in findings:
        say(finding)
    say(f"{len(paths)} lessons, {len(findings)} findings")
    return len(findings)


def findings_of(path: Path, paths: list[Path]) -> list[str]:
    """What is wrong with one lesson. paths: of all lessons, in their order."""
    cells = source.read(path).cells
    number = int(path.name[:2])
    code = [(i, cell, _parsed(path, i, cell)) for i, cell in enumerate(cells, 1) if cell.cell_type == "code"]
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    found = [*_share(code), *_words(texts), *_parts(texts), *_next(path, texts, paths), *_pictures(code)]
    found += [finding for text in texts for finding in _lists(text)]
    for i, _, tree in code:
        found += [f"cell {i} {what}" for what in [*_forbidden(tree), *_private(tree), *_imports(tree, number)]]
    return found


def _parsed(path: Path, i: int, cell) -> ast.Module:
    lines = ["pass" if line.startswith(("%", "!")) else line for line in cell.source.splitlines()]  # for IPython
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise InputError(f"{path}: cell {i}, line {error.lineno}: {error.msg}") from None


# ---------------------------------------------------------------------------------------------------------- the text


def _share(code: Cells) -> Iterator[str]:
    """At least LEAST_OWN of the code cells are the learner's or check what is."""
    own = sum("exercise" in cell.metadata or any(text in cell.source for text in OWN) for _, cell, _ in code)
    if own < LEAST_OWN * len(code):
        yield f"{own} of {len(code)} code cells are the learner's or checks; at least {LEAST_OWN:.0%} must be"


def words(text: str) -> int:
    """The words of a text, without formulas, blocks of code and the targets of links."""
    return len(WORD.findall(NOT_WORDS.sub(" ", text)))


def _words(texts: list[str]) -> Iterator[str]:
    n = sum(map(words, texts))
    if n > MOST_WORDS:
        yield f"{n:,} words; at most {MOST_WORDS:,}"


def _parts(texts: list[str]) -> Iterator[str]:
    if not texts or GOAL not in texts[0]:
        yield f"the first text has no goal: {GOAL} …"
    if not any(line.strip() == SUMMARY for text in texts for line in text.splitlines()):
        yield f"no summary: {SUMMARY}"


def _next(path: Path, texts: list[str], paths: list[Path]) -> Iterator[str]:
    """The link to the next lesson, in all but the last."""
    place = paths.index(path)
    linked = LINK.findall("\n".join(texts))
    if place == len(paths) - 1:
        return
    expected = paths[place + 1].stem
    if not linked:
        yield f"no link to the next lesson: [Next: …]({expected}.ipynb)"
    elif linked[-1] != expected:
        yield f"the link to the next lesson leads to {linked[-1]}; the next one is {expected}"


def _lists(text: str) -> Iterator[str]:
    """A line within a paragraph that begins with a dash or with a number and a dot is read as an item of a list."""
    before, indents, is_code = "", set(), False
    for line in text.splitlines():
        item = ITEM.match(line)
        is_code ^= line.lstrip().startswith("```")
        begins = not before.strip() or before.startswith("#")
        if begins:
            indents = set()
        if item and not is_code:
            if not begins and len(item[1]) not in indents:
                yield f"a line goes on from the one before, and begins like an item of a list: {quoted(line.strip())}"
            indents.add(len(item[1]))
        before = line


# ---------------------------------------------------------------------------------------------------------- the code


def _forbidden(tree: ast.Module) -> Iterator[str]:
    for module in _imported(tree):
        if _is_below(module, FORBIDDEN):
            yield f"imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield f"calls {node.func.id}"


def _private(tree: ast.Module) -> Iterator[str]:
    """Names with a leading underscore that the cell takes from elsewhere; its own variables may be called so."""
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    names += [part for module in _imported(tree) for part in module.split(".")]
    private = sorted({name for name in names if name.startswith("_") and not name.endswith("__")})
    if private:
        yield f"uses a private name: {list_some(private)}"


def _imports(tree: ast.Module, lesson: int) -> Iterator[str]:
    if lesson in NUMPY_ALONE:
        other = sorted({module for module in _imported(tree) if not _is_below(module, ALLOWED)})
        if other:
            yield f"imports {list_some(other)}; this lesson imports nothing but {', '.join(ALLOWED)}"


def _imported(tree: ast.AST) -> list[str]:
    """All that is imported, by its full name: minibert.lessons of `from minibert import lessons`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module or '.'}.{alias.name}" for alias in node.names]
    return found


def _is_below(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _pictures(code: Cells) -> Iterator[str]:
    """A cell that draws has a caption and an alt text."""
    drawing = set(FIGURES)
    for i, cell, tree in code:
        if _names(tree) & drawing and "figure" not in cell.metadata:
            yield f"cell {i} draws, and has neither caption nor alt text: {quoted(_first_line(cell))}"
        for setting in ("figure", "alt"):
            if not str(cell.metadata.get(setting, "given")).strip():
                yield f"cell {i}: its {setting} is empty"
        drawing |= _bound(tree, PLOTS)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _bound(tree: ast.Module, modules: tuple[str, ...]) -> set[str]:
    """The names by which a cell imports something of these modules."""
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    found = [node.names for node in imports if any(_is_below(module, modules) for module in _imported(node))]
    return {(alias.asname or alias.name).split(".")[0] for names in found for alias in names}


def _first_line(cell) -> str:
    return next((line for line in cell.source.splitlines() if line.strip()), "")
