"""What the site needs beside Sphinx: pages of source code, docstrings as they are written, MathJax, a first page."""

from __future__ import annotations

import inspect
import posixpath
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

MATHJAX = "sphinx-mathjax-offline"  # a package that holds MathJax 3
USED = ("startup.js", "core.js", "input/tex.js", "input/tex/extensions", "output/chtml.js", "output/chtml/fonts")
USED += ("a11y/assistive-mml.js",)  # its files and folders that the pages load; the whole has 24 MB
SHOWN = {".py": "python", ".toml": "toml", ".cfg": "ini"}  # endings of files that have a page: their language
FIRST = '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">minibert</a>'


# ------------------------------------------------------------------------------------------------------ source pages


def code_page(path: str) -> str:
    """The name of the page that shows a file of the project."""
    return f"code/{path}"


def link_to_code(app: Sphinx, doctree: nodes.document) -> None:
    """Links to files of code lead to pages that show them. (MyST takes a file that is no page for a download.)"""
    here = app.env.docname
    for node in list(doctree.findall(addnodes.download_reference)):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), node["reftarget"].lstrip("/")))
        if node["reftarget"].startswith("/"):
            path = node["reftarget"].lstrip("/")
        if Path(path).suffix not in SHOWN or not Path(app.srcdir, path).is_file():
            continue
        app.linked_code.add(path)
        uri = posixpath.relpath(f"{code_page(path)}.html", posixpath.dirname(here))
        node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def code_pages(app: Sphinx):
    """(name, context, template) of the page of each linked file."""
    for path in sorted(app.linked_code):
        text = Path(app.srcdir, path).read_text(encoding="utf-8")
        code = app.builder.highlighter.highlight_block(text, SHOWN[Path(path).suffix], linenos="inline")
        body = f'<h1>{path}</h1>\n<div class="source">{code}</div>'
        yield code_page(path), {"title": path, "body": body}, "page.html"


# --------------------------------------------------------------------------------------------------------- docstrings


def as_written(app, what, name, obj, options, lines: list[str]) -> None:
    """A docstring is text for people, not reStructuredText: paragraphs stay paragraphs, all else keeps its lines."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc("\n".join(lines)))
    lines[:] = [line for block in blocks for line in (*_block(block), "")]


def _block(block: str) -> list[str]:
    lines = block.split("\n")
    if any(line.startswith(" ") for line in lines) or sum(bool(re.search(r"\S {3,}\S", line)) for line in lines) > 1:
        return [".. code-block:: text", "", *("   " + line for line in lines)]  # a formula, a list, a table
    text = re.sub(r"(?m)^(.{,90})\n", r"\1\n\n", block)  # a line that ends early ends a paragraph
    parts = re.split(r"(`[^`]+`)", text)
    plain = (re.sub(r"([\\*_|`<>])", r"\\\1", part) if i % 2 == 0 else f"`{part}`" for i, part in enumerate(parts))
    return "".join(plain).split("\n")


# -------------------------------------------------------------------------------------------------- files beside pages


def copy_files(app: Sphinx, error: Exception | None) -> None:
    """The part of MathJax that is used, and a first page that leads to the index."""
    if error is not None:
        return
    source = Path(find_spec(MATHJAX).origin).parent / "static" / "mathjax"
    target = Path(app.outdir, "_static", "mathjax")
    shutil.rmtree(target, ignore_errors=True)
    for name in USED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        copy(source / name, target / name)
    Path(app.outdir, "index.html").write_text(f"<!doctype html><title>minibert</title>{FIRST}\n", encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.linked_code = set()
    app.connect("doctree-read", link_to_code, priority=100)  # before downloads are collected
    app.connect("html-collect-pages", code_pages)
    app.connect("autodoc-process-docstring", as_written)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": False}
