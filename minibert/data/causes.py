"""What a text is that is no delimited file, and why a line of a delimited file has too many or too few fields."""

from __future__ import annotations

import json
import re

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "'|'"}  # and how one types them
LONGEST_OBJECT = 2**16  # characters of a first line that is read as an object
_WEB_PAGE = re.compile(r"\s*<(!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_JSON = re.compile(r'\s*(\[\s*(["\[{\]]|\Z)|\{\s*(["}]|\Z))')
_COMMENT = re.compile(r"\s*(#|//|%)\s*\w")
_SINGLE = re.compile(r"'[^']*'\s*([,;\t|]|$)|(?:^|[,;\t|])\s*'[^']*'", re.MULTILINE)


def kind_of(text: str) -> str | None:
    """What a text seems to be by its begin, if that is no table: "a web page", "JSON Lines", "JSON"; else None."""
    if _WEB_PAGE.match(text):
        return "a web page"
    if not _JSON.match(text):
        return None
    first = text[:LONGEST_OBJECT].lstrip().partition("\n")[0]
    try:
        is_object = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return "JSON"
    return "JSON Lines" if is_object else "JSON"


KIND_ADVICE = {
    "a web page": "get the data themselves, not the page that shows them",
    "JSON Lines": "give it a name that ends in .jsonl",
    "JSON": "write it as CSV, or one object a line as .jsonl, for example with pandas",
}


def are_numbered(first: list[str], second: list[str]) -> bool:
    """Whether the first two rows begin with 0 and 1, or 1 and 2, as a table that was written with its row numbers."""
    numbers = first[0].strip(), second[0].strip() if second else ""
    return len(first) == len(second) and numbers in (("0", "1"), ("1", "2"))


def likely_cause(
    numbered: bool, record: str, row: list[str], header: str, width: int, delimiter: str, quoting: str
) -> str:
    """Why a row has not as many fields as the header, and what to do.

    numbered: whether it is the first, and `are_numbered`; record, header: as the file writes both; width: fields
    expected.
    """
    spelled = "tab" if delimiter == "\t" else repr(delimiter)
    if not record.strip():
        return "The line holds nothing but spaces: delete it"
    if _COMMENT.match(header) and width < len(row):
        return "The first line looks like a comment: delete it"
    if _COMMENT.match(record):
        return "The line looks like a comment: delete it"
    for other, typed in SEPARATORS.items():
        if other != delimiter and header.count(other) == record.count(other) > 0 and header.count(delimiter) == 0:
            return f"It looks as if {typed} separates: --delimiter {typed}"
    if quoting == "csv" and '\\"' in record:
        return r'A quote inside a quoted field is written twice (""), and here as \": replace it'
    if len(_SINGLE.findall(record)) > 1 and '"' not in record:
        return "Its fields stand in single quotes: enclose them in double quotes"
    if record.lstrip()[0] in "“”„«‘":
        return f"Its fields stand in typographic quotes ({record.lstrip()[0]}): enclose them in straight ones"
    if len(row) == width + 1:
        if numbered:  # a header that lacks a name is too short for every row
            return "The rows begin with their numbers, for which the header has no name: add one, such as id"
        if not row[-1].strip():
            return "The line ends with what separates fields, and the header does not: write both in one way"
    if quoting == "none":
        return f"Where quotes enclose nothing (--quoting none), a field holds no {spelled} and no line end"
    if len(row) > width:
        return f'A text that holds {delimiter!r} must stand in double quotes, and a quote in it be written twice ("")'
    return "The line is cut, or a text with a line end stands in no double quotes"
