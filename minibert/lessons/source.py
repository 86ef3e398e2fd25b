"""A lesson's source: notebooks/src/NN_name.py, in the percent format of jupytext, with the solutions in it.

From it come two notebooks: the solved one, which is run, and the blank one, which a learner gets. In a cell

    # %% exercise="layernorm"

what stands between the lines `# solution` and `# end` is left out of the blank notebook. Other settings of a cell:

    figure="…" alt="…"       caption and text of the picture that the cell draws
    compare="full"           its numbers are those of the full setting: a fast run does not compare them
    compare="never"          its numbers are times, or else differ from machine to machine
    tolerance=0.05           largest relative difference of a number from the stored one (0.01)

Needs the extra notebooks.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from minibert.errors import InputError, one_line, require

BLANK = "...  # your code"
BEGIN, END = "# solution", "# end"
SETTINGS = {"exercise", "figure", "alt", "compare", "tolerance"}


def read(path: Path):
    """The cells as they stand in the source, an nbformat notebook. Raises InputError that names file and cell."""
    notebook = require("a lesson's source", "jupytext", "notebooks").reads(_text_of(path), fmt="py:percent")
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"{path.stem}-{number}"
        unknown = set(cell.metadata) - SETTINGS - {"lines_to_next_cell"}
        if unknown:
            raise InputError(f"{path}: cell {number} has an unknown setting {', '.join(sorted(unknown))}")
        if ("figure" in cell.metadata) != ("alt" in cell.metadata):
            raise InputError(f"{path}: cell {number}: a figure has a caption and an alt text, both")
        lines = [line.strip() for line in cell.source.splitlines()]
        if lines.count(BEGIN) != lines.count(END) or bool(lines.count(BEGIN)) != ("exercise" in cell.metadata):
            raise InputError(f"{path}: cell {number}: an exercise, and nothing else, has {BEGIN!r} … {END!r}")
    return notebook


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({one_line(error)})") from None


def solved(notebook):
    """The notebook with the solutions, without the marks around them."""
    return _with_sources(notebook, lambda lines: [line for line in lines if line.strip() not in (BEGIN, END)])


def blank(notebook):
    """The notebook with a gap in place of each solution."""
    return _with_sources(notebook, _emptied)


def _emptied(lines: list[str]) -> list[str]:
    kept, inside = [], False
    for line in lines:
        if line.strip() == BEGIN:
            kept.append(line.replace(BEGIN, BLANK))
        inside = (inside or line.strip() == BEGIN) and line.strip() != END
        if not inside and line.strip() != END:
            kept.append(line)
    return kept


def _with_sources(notebook, change):
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if "exercise" in cell.metadata:
            cell.source = "\n".join(change(cell.source.splitlines()))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook
