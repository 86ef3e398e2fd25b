"""The notebook that is written from a lesson's source: what it stores, and whether a run still prints that.

It has the cells of the blank version and the outputs of the solved one. tests/notebooks.py runs both.
"""

from __future__ import annotations

import re

from minibert.errors import InputError
from minibert.lessons.source import SETTINGS

TOLERANCE = 0.01  # relative, of a number
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def place(number: int, cell) -> str:
    """How to find a cell: its number and its first line."""
    return f"cell {number} ({cell.source.strip().splitlines()[0]})"


def printed(cell) -> str:
    """The text of a cell's outputs, without what stands in place of a picture."""
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        texts.append("" if "image/png" in data else output.get("text") or data.get("text/plain", ""))
    return "".join(texts)


def compare(stored, run, fast: bool) -> None:
    """Raise InputError if a number that was printed is not the stored one, within the cell's tolerance."""
    for number, (then, now) in enumerate(zip(stored.cells, run.cells, strict=True), 1):
        when = now.metadata.get("compare", "always")
        if now.cell_type != "code" or when == "never" or (when == "full" and fast):
            continue
        texts = [NUMBER.sub("#", printed(cell)) for cell in (then, now)]
        if texts[0] != texts[1]:
            raise InputError(f"{place(number, now)} prints\n{printed(now)}instead of\n{printed(then)}")
        tolerance = now.metadata.get("tolerance", TOLERANCE)
        values = [[as_number(text) for text in NUMBER.findall(printed(cell))] for cell in (then, now)]
        for was, value in zip(*values, strict=True):
            if abs(value - was) > tolerance * abs(was) + 1e-12:
                raise InputError(f"{place(number, now)} prints {value:g} instead of {was:g} (tolerance {tolerance:g})")


def as_number(text: str) -> float:
    """The number that was printed."""
    return float(text.replace(",", "").replace("−", "-"))


def stored_form(blank, run):
    """The notebook that is stored: the blank cells with the outputs of the run, and nothing that differs from run to
    run. A picture has its caption and its alt text as MyST-NB reads them."""
    for empty, full in zip(blank.cells, run.cells, strict=True):
        if empty.cell_type == "code":
            empty.outputs = full.outputs
            for output in empty.outputs:
                output.pop("execution_count", None)
                if output.output_type == "execute_result":
                    output.execution_count = None
        settings = empty.metadata
        if "figure" in settings:
            settings["mystnb"] = {"figure": {"caption": settings["figure"]}, "image": {"alt": settings["alt"]}}
        settings.pop("lines_to_next_cell", None)
        settings.pop("execution", None)
    return blank


def contents(cell) -> tuple:
    """What a cell has from its source: text and settings."""
    return cell.source, {name: value for name, value in cell.metadata.items() if name in SETTINGS}
