"""The HTML of a report. Every function takes plain text, escapes it, and gives HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from minibert.errors import cut, printable

LONGEST_TEXT, LONGEST_CELL = 1000, 200  # characters that are shown of a text of the data; of a label or a setting

MATRIX_ROOM = 40  # characters of all class names, as columns of a confusion matrix

# The browser may load nothing: a page from someone else's data stays a page.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0 auto; padding: 1rem; max-width: 60rem; color: #1b1f24; background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.125rem; margin: 2rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid #d5dae0; }}
p, li {{ overflow-wrap: anywhere; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .9375rem; }}
th, td {{ padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eceff2; }}
th {{ font-weight: 600; }}
tr.last th, tr.last td {{ color: #57606a; font-weight: 400; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th[scope=row], td.value {{ overflow-wrap: break-word; max-width: 18rem; }}
td.text {{ min-width: 12rem; overflow-wrap: anywhere; white-space: pre-wrap; }}
td.text hr {{ border: 0; border-top: 1px dashed #b6bec7; margin: .3rem 0; }}
table.matrix th, table.matrix td {{ border: 1px solid #fff; padding: .35rem .6rem; }}
table.matrix td {{ min-width: 2rem; }}
.curves {{ display: flex; flex-wrap: wrap; gap: 1rem; margin: 0; }}
.curves figure {{ flex: 1 1 20rem; max-width: 29rem; margin: 0; }}
.curves svg {{ width: 100%; height: auto; display: block; }}
@media (max-width: 40rem) {{ body {{ font-size: 15px; }} table {{ font-size: .875rem; }}
  th, td {{ padding-right: .5rem; }} th[scope=row] {{ max-width: 8rem; overflow-wrap: anywhere; }}
  table.matrix th, table.matrix td {{ padding: .3rem .4rem; }} table.matrix th[scope=row] {{ min-width: 7rem; }}
  tr > :last-child {{ padding-right: 0; }}
  table.texts, table.texts tbody, table.texts tr {{ display: block; }}  table.texts thead {{ display: none; }}
  table.texts tr {{ border-bottom: 1px solid #d5dae0; padding: .4rem 0; }}
  table.texts td {{ display: inline-block; border: 0; padding: .1rem 1rem .1rem 0; }}
  table.texts td.text {{ display: block; font-size: .9375rem; }}
  table.texts td:not(.text)::before {{ content: attr(data-name) " "; color: #57606a; }} }}
@media print {{ body {{ max-width: none; font-size: 11px; }} h2 {{ break-after: avoid; }}
  tr, figure {{ break-inside: avoid; }} .scroll {{ overflow: visible; }}
  table.matrix td {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole page. Halves of characters become question marks, as no file of UTF-8 can hold them."""
    whole = HEAD.format(title=_safe(title)) + "\n".join(sections) + "\n</body>\n</html>\n"
    return whole.encode("utf-8", "replace").decode("utf-8")


def _safe(text: str) -> str:
    return escape(printable(text))


def section(title: str, *parts: str) -> str:
    """A heading, and the HTML below it."""
    return "\n".join(["<section>", f"<h2>{_safe(title)}</h2>", *parts, "</section>"])


def text(told: str) -> str:
    """A paragraph."""
    return f"<p>{_safe(told)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "<ul>\n" + "\n".join(f"<li>{_safe(line)}</li>" for line in lines) + "\n</ul>"


def table(
    head: Sequence[str] | None,
    rows: Sequence[Sequence],
    numbers: Sequence[int] = (),
    texts: Sequence[int] = (),
    last: int = 0,
) -> str:
    """A table whose first column names the row, unless it is among texts. numbers: columns that are set to the right;
    texts: columns with a text of the data, or a list of two; last: how many rows at the end sum up the others."""
    kind = ' class="texts"' if texts else ""
    lines = [f'<div class="scroll"><table{kind}>']
    if head is not None:
        cells = (_cell("th", name, "number" if i in numbers else "", "col") for i, name in enumerate(head))
        lines.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
    lines.append("<tbody>")
    for n, row in enumerate(rows):
        names = head if texts else [""] * len(row)
        cells = [
            _body_cell(i, value, name, numbers, texts) for i, (value, name) in enumerate(zip(row, names, strict=True))
        ]
        sums = ' class="last"' if n >= len(rows) - last else ""
        lines.append(f"<tr{sums}>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table></div>"])


def _body_cell(i: int, value, name: str, numbers: Sequence[int], texts: Sequence[int]) -> str:
    """name: that of the column, for a narrow screen, where a row of texts is no row any more."""
    if i in texts:
        both = [value] if isinstance(value, str) else value
        shown = "<hr>".join(_long_text(one) for one in both)
        return f'<td class="text" dir="auto">{shown}</td>'
    if i == 0:
        return _cell("th", value, "", "row")
    return _cell("td", value, "number" if i in numbers else "value", name=name)


def _cell(tag: str, value: str, kind: str = "", scope: str = "", name: str = "") -> str:
    """An element with a text, the end of which is left out if it is long."""
    given = {"class": kind, "scope": scope, "data-name": name}
    attributes = "".join(f' {key}="{_safe(attribute)}"' for key, attribute in given.items() if attribute)
    return f"<{tag}{attributes}>{_safe(cut(value, LONGEST_CELL))}</{tag}>"


def _long_text(value: str) -> str:
    return _safe(cut(value, LONGEST_TEXT)) or "(empty)"


def matrix(names: Sequence[str], counts: np.ndarray) -> str:
    """A confusion matrix (C, C), the darker the larger the share of the label's rows; what is right in green. Columns
    that have no room for names have the numbers of the rows."""
    heads = names
    if len("".join(names)) > MATRIX_ROOM:
        heads, names = zip(*((str(i), f"{i} {name}") for i, name in enumerate(names, 1)), strict=True)
    heads = "".join(_cell("th", name, "number", "col") for name in heads)
    lines = ['<div class="scroll"><table class="matrix">', f"<thead><tr><td></td>{heads}</tr></thead>", "<tbody>"]
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        shares = row / max(1, row.sum())
        colours = ("46, 160, 67" if i == j else "218, 90, 40" for j in range(len(row)))
        cells = (
            f'<td class="number" style="background: rgba({colour}, {0.6 * share:.2f})">{n:,}</td>'
            for n, share, colour in zip(row, shares, colours, strict=True)
        )
        lines.append(f"<tr>{_cell('th', name, '', 'row')}{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table></div>"])
