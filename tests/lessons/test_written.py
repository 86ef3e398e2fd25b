"""From a lesson's source to its notebooks: what a learner gets, what is stored, and that a change is found."""

import copy

import pytest

from minibert.errors import InputError
from minibert.lessons import source, written

nbformat = pytest.importorskip("nbformat")

SOURCE = '''# %% [markdown]
# # A lesson
# %% exercise="gelu"
def gelu(x):
    """y = x Phi(x)"""
    given = 1
    # solution
    y = x
    return y, x
    # end
# %% tolerance=0.1
print("loss", 0.5)
# %% compare="never"
print("2 seconds")
# %% compare="full"
print("after 300 steps: 7")
# %% figure="A curve." alt="It rises."
fig = draw()
'''
PICTURE = nbformat.v4.new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure size 1x1>"})


def read(tmp_path, text=SOURCE):
    (tmp_path / "05_x.py").write_text(text, encoding="utf-8")
    return source.read(tmp_path / "05_x.py")


def run(cells, *texts):
    """The solved notebook with outputs, as if it had been run."""
    solved = source.solved(cells)
    printed = [text for text in texts if text is not None]
    for cell, text in zip([c for c in solved.cells if c.cell_type == "code"][1:], printed, strict=False):
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    solved.cells[-1].outputs = [PICTURE]
    return solved


USUAL = "loss 0.5\n", "2 seconds\n", "after 300 steps: 7\n"


@pytest.fixture
def cells(tmp_path):
    return read(tmp_path)


def test_the_solution_is_in_one_and_not_in_the_other(cells):
    solved, blank = source.solved(cells).cells[1].source, source.blank(cells).cells[1].source
    assert solved.splitlines()[2:] == ["    given = 1", "    y = x", "    return y, x"]
    assert blank.splitlines()[2:] == ["    given = 1", "    ...  # your code"]
    space = {}
    exec(blank, space)
    assert space["gelu"](3) is None


def test_the_stored_notebook_has_outputs_captions_and_no_solution(cells):
    stored = written.stored_form(source.blank(cells), run(cells, *USUAL))
    assert [written.printed(cell) for cell in stored.cells[2:]] == [*USUAL, ""]
    assert stored.cells[-1].metadata["mystnb"] == {"figure": {"caption": "A curve."}, "image": {"alt": "It rises."}}
    assert "return y" not in nbformat.writes(stored) and "nothing" not in stored.cells[0].source
    nbformat.validate(stored)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (USUAL, None),
        (("loss 0.54\n", "9 seconds\n", "after 300 steps: 7\n"), None),  # within its tolerance; a time
        (("loss 0.6\n", *USUAL[1:]), "prints 0.6 instead of 0.5"),
        (("loss is 0.5\n", *USUAL[1:]), "prints\nloss is 0.5"),
        (("loss 0.5 0.5\n", *USUAL[1:]), "prints\nloss 0.5 0.5"),
        ((*USUAL[:2], "after 300 steps: 8\n"), "prints 8 instead of 7"),
    ],
)
def test_a_run_that_prints_something_else_is_found(cells, texts, words):
    stored = written.stored_form(source.blank(cells), run(cells, *USUAL))
    if words is None:
        written.compare(stored, run(cells, *texts), fast=False)
        return
    with pytest.raises(InputError) as error:
        written.compare(stored, run(cells, *texts), fast=False)
    assert words in str(error.value)


def test_a_fast_run_is_not_held_to_the_numbers_of_a_full_one(cells):
    stored = written.stored_form(source.blank(cells), run(cells, *USUAL))
    written.compare(stored, run(cells, *USUAL[:2], "after 20 steps: 3\n"), fast=True)


def test_a_cell_that_prints_and_draws_is_compared_too(cells):
    stored, other = (run(cells, *USUAL) for _ in range(2))
    stored.cells[2].outputs.append(copy.deepcopy(PICTURE))
    other.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="gelu: ours\n"), PICTURE]
    with pytest.raises(InputError, match="gelu: ours"):
        written.compare(stored, other, fast=False)


@pytest.mark.parametrize(
    "change", [("It rises.", "It falls."), ("A curve.", "A line."), ('"loss", 0.5', '"loss", 0.6'), ("given = 1", "")]
)
def test_a_source_that_was_changed_is_found(cells, tmp_path, change):
    stored = written.stored_form(source.blank(cells), run(cells, *USUAL))
    usual, changed = ([written.contents(c) for c in source.blank(read(tmp_path, text)).cells]
                      for text in (SOURCE, SOURCE.replace(*change)))  # fmt: skip
    assert [written.contents(c) for c in stored.cells] == usual != changed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    # end\n", "", "cell 2: an exercise, and nothing else, has"),
        (' exercise="gelu"', "", "cell 2: an exercise, and nothing else, has"),
        (' alt="It rises."', "", "cell 6: a figure has a caption and an alt text"),
        ("tolerance=0.1", "tolerence=0.1", "cell 3 has an unknown setting tolerence"),
    ],
)
def test_a_source_that_cannot_be_used(tmp_path, old, new, words):
    assert SOURCE.count(old) == 1
    with pytest.raises(InputError, match=words):
        read(tmp_path, SOURCE.replace(old, new))


def test_a_source_that_is_no_text(tmp_path):
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"x.py: cannot be read as UTF-8 text"):
        source.read(tmp_path / "x.py")
