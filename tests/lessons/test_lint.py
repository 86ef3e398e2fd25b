"""The rules for lessons: one that keeps them all has no finding, and each that is broken has its own."""

import pytest

from minibert.lessons import lint
from minibert.lessons.__main__ import main

pytest.importorskip("jupytext")

LESSON = '''# %% [markdown]
# # 5 · GELU
# **You will** write it. $\\\\Phi(x)$
# %%
import numpy as np

from minibert import lessons
from minibert.lessons.plots import activations as plots
# %% exercise="gelu"
def gelu(x):
    """y = x Phi(x)"""
    # solution
    y, _ = x, None
    return y, x
    # end
# %%
lessons.check("gelu", gelu)
# %% figure="A curve." alt="It rises."
fig = plots.curve(gelu)
# %% [markdown]
# ## What you learned
# A lot.
#
# [Next: six](06_six.ipynb)
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "06_six.py").write_text(LESSON.replace("[Next: six](06_six.ipynb)", ""), encoding="utf-8")
    return tmp_path


def findings(folder, old="", new="", name="05_gelu.py"):
    assert old in LESSON
    (folder / name).write_text(LESSON.replace(old, new) if old else LESSON, encoding="utf-8")
    found = []
    assert lint.run(folder, found.append) == len(found) - 1
    return found[:-1]


def test_a_good_lesson(folder, capsys):
    assert findings(folder) == []
    assert main(["lint", str(folder)]) == 0
    assert capsys.readouterr().out == "2 lessons, 0 findings\n"


MORE = "# %%\nprint(1)\n"
BROKEN = {
    "share": ("# %% [markdown]\n# ## What", 5 * MORE + "# %% [markdown]\n# ## What", "2 of 9 code cells are"),
    "list by number": ("# A lot.", "# as in lesson\n# 1. A lot.", "begins like an item of a list: '1. A lot.'"),
    "list by dash": ("# A lot.", "# - two\n#   are\n#   - three", "begins like an item of a list: '- three'"),
    "words": ("# A lot.", "# " + 1500 * "many words ", "words; at most 1,500"),
    "goal": ("**You will**", "You may", "has no goal"),
    "summary": ("## What you learned", "## The end", "no summary"),
    "no next link": ("[Next: six](06_six.ipynb)", "", "no link to the next lesson: [Next: …](06_six.ipynb)"),
    "wrong next link": ("(06_six.ipynb)", "(07_seven.ipynb)", "leads to 07_seven; the next one is 06_six"),
    "mock": ("import numpy as np\n", "from unittest import mock\n", "cell 2 imports unittest.mock"),
    "inspect": ("import numpy as np\n", "import inspect as i\n", "cell 2 imports inspect"),
    "exec": ('lessons.check("gelu", gelu)', 'exec("1"); lessons.check("gelu", gelu)', "cell 4 calls exec"),
    "private name": ('check("gelu"', 'check("gelu", lessons._x', "cell 4 uses a private name: _x"),
    "private import": ("import numpy as np\n", "from numpy import _core\n", "cell 2 uses a private name: _core"),
    "imports": ("import numpy as np\n", "import os, minibert\n", "cell 2 imports minibert, os; this lesson imports"),
    "numba inside": ("    y, _ = x, None\n", "    import numba\n", "cell 3 imports numba; this lesson imports"),
    "figure": ('# %% figure="A curve." alt="It rises."', "# %%", "cell 5 draws, and has neither caption nor alt text"),
    "empty alt": ('alt="It rises."', 'alt=" "', "cell 5: its alt is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_rule_that_is_broken(folder, case, capsys):
    old, new, expected = BROKEN[case]
    found = findings(folder, old, new)
    assert any(finding.startswith("05_gelu.py: ") and expected in finding for finding in found), found
    assert len(found) == 1 + (case in ("mock", "inspect")), found  # and neither is NumPy
    assert main(["lint", str(folder)]) == 1
    assert expected in capsys.readouterr().out


def test_a_lesson_of_the_program_imports_what_it_needs(folder):
    (folder / "06_six.py").unlink()
    assert findings(folder, "import numpy as np\n", "import minibert\n", "07_bert.py") == []


@pytest.mark.parametrize(
    ("cell", "draws"),
    [
        ("plots.curve(gelu)", True),
        ("low = plain.share_interval([1])", False),
        ("import matplotlib.pyplot as plt\n# %%\nplt.plot([1])", True),
    ],
)
def test_what_draws(folder, cell, draws):
    found = findings(folder, "# %% [markdown]\n# ## What", f"# %%\n{cell}\n# %% [markdown]\n# ## What")
    assert sum("draws" in finding for finding in found) == draws


def test_numbers_to_fill_in_are_the_learners(folder):
    more = 5 * "# %%\nguess = 0.5  # <- your number\n"
    assert findings(folder, "# %% [markdown]\n# ## What", f"{more}# %% [markdown]\n# ## What") == []


def test_magic_lines_are_no_code(folder):
    assert findings(folder, "import numpy as np\n", "# %matplotlib inline\nimport numpy as np\n") == []


def test_words_are_counted_without_formulas_and_code():
    assert lint.words("A [link](to/a/place.html), $x = y$ and $$\n z $$ it's end-to-end 3.5\n```\ncode\n```") == 5


def test_what_cannot_be_read(tmp_path, capsys):
    assert main(["lint", str(tmp_path)]) == 2
    assert "has no lessons" in capsys.readouterr().err
    (tmp_path / "05_gelu.py").write_text("# %%\ndef (\n")
    assert main(["lint", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "05_gelu.py: cell 1, line 1: " in error and error.count("\n") == 1


LISTS = ["- one\n# - two\n#   goes on\n# - three", "1. one\n# 2. two", "A lot:\n#\n# - one"]


@pytest.mark.parametrize("text", [*LISTS, "```\n# a\n# - b\n# ```", "a\n# 2.5 times"])
def test_lists_that_are_lists(folder, text):
    assert findings(folder, "# A lot.", f"#\n# {text}") == []
