"""A course in a folder, for laptops without a network: `python -m minibert.lessons pack --out DIR`.

wheels/       minibert, Jupyter and all that they need, for each of the systems that are asked for
notebooks/    the lessons
models/       the course's backbone (course_backbone.py)
site/         the pages of the site, if what builds them is installed (the extra docs)
README.txt    how to install it; SHA256SUMS: of every file

`serve` offers the folder to the room, and `fetch` takes it from there (serve.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import minibert
from minibert.data.builtin import opinions
from minibert.errors import InputError, one_line
from minibert.lessons import course_backbone
from minibert.lessons.setting import MODEL
from minibert.lessons.wheels import Target, missing
from minibert.storage import cannot_be_written, read_backbone, sha256_of, temporary_folder

SUMS = "SHA256SUMS"
EXTRA = "notebooks"
PARTS = ("minibert", "kernels", "weights_convert", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
Run = Callable[[str, list[str]], None]

README = """A course on BERT and adapters: {n} lessons, without a network.
Needs Python {pythons}, and {systems}.

On a memory stick? Copy the folder to the laptop first. Then, from this folder:

    python3 -m venv course
    course/bin/pip install --no-index --find-links wheels "minibert[{extra}]"
    course/bin/jupyter lab notebooks
{site}
On Windows: py -{python} -m venv course, then course\\Scripts\\pip and course\\Scripts\\jupyter in place of
course/bin/...

For a room of learners: course/bin/python -m minibert.lessons serve . says what they type on their laptops.
{sums} has the SHA-256 of every file: sha256sum -c {sums}
{model}: {source}
"""


class Course(NamedTuple):
    """What is packed: the folder of the project, the file of the backbone, and for whom."""

    project: Path
    backbone: Path
    targets: tuple[Target, ...]


def project() -> Path:
    """The folder that minibert is run from. Raises InputError if that is an installed package without lessons."""
    folder = Path(minibert.__file__).resolve().parent.parent
    if not (folder / "setup.cfg").is_file() or not list((folder / "notebooks").glob("*.ipynb")):
        raise InputError(f"{folder} is not the project's folder: it has no setup.cfg, or no notebooks/*.ipynb")
    return folder


def pack(course: Course, out: Path, say: Callable[[str], None] = print, run: Run | None = None) -> None:
    """Make the folder `out`: whole, or not at all. run: runs a module of Python, pip or sphinx, with arguments.

    Raises InputError if out is there and not empty, or is the current folder; if pip fails; if something cannot be read
    or written.
    """
    _check_place(out)
    place = out.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(f".{place.name}-", place.parent) as work:  # beside it: the last step is a rename
            _fill(course, work, say, run or run_module)
            if place.exists():
                place.rmdir()  # it was empty, and may be still
            (work / "ready").rename(place)
    except OSError as error:
        raise cannot_be_written(out, error) from None
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: {total / 1e6:,.0f} MB")


def _check_place(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise InputError(f"{out} is there already; nothing was written: give another --out")
    if out.resolve() == Path.cwd().resolve():
        raise InputError(f"{out} is the folder that you are in, and is replaced as a whole: give another --out")


def _fill(course: Course, work: Path, say: Callable[[str], None], run: Run) -> None:
    """Make all of it, in the folder `ready` of `work`."""
    folder = work / "ready"
    notebooks = sorted((course.project / "notebooks").glob("*.ipynb"))
    texts = [text for path in notebooks for text in texts_of(path)]
    (folder / MODEL).parent.mkdir(parents=True)
    n = course_backbone.write(course.backbone, folder / MODEL, [*opinion_texts(), *texts])
    say(f"{MODEL}: {n:,} word pieces, {(folder / MODEL).stat().st_size / 1e6:.1f} MB")
    (folder / "notebooks").mkdir()
    for path in notebooks:
        shutil.copyfile(path, folder / "notebooks" / path.name)
    _wheels(course, folder / "wheels", work, say, run)
    _site(course.project, folder, work, say, run)
    readme = _readme(course, folder, len(notebooks))
    (folder / "README.txt").write_text(readme, encoding="utf-8")
    (folder / SUMS).write_text(sums(folder), encoding="utf-8", newline="\n")


def _site(project: Path, folder: Path, work: Path, say: Callable[[str], None], run: Run) -> None:
    """The site in folder/site, from the project's docs/ and notebooks/, if Sphinx is there to build it."""
    if not all(map(find_spec, ("sphinx", "myst_nb", "furo"))):
        say("no site goes with it: the packages of the extra docs, which build one, are not installed")
        return
    say("building the site")
    places = ["--conf-dir", str(project / "docs"), "--doctree-dir", str(work / "doctrees")]
    built = work / "site" / "html"  # myst_nb leaves a folder beside what it builds
    run("sphinx", ["--quiet", *places, str(project), str(built)])
    built.rename(folder / "site")


def _readme(course: Course, folder: Path, n: int) -> str:
    page = folder / "site" / "index.html"
    return README.format(
        n=n,
        python=course.targets[0].python,
        pythons=" or ".join(dict.fromkeys(target.python for target in course.targets)),
        systems=" or ".join(dict.fromkeys(target.described for target in course.targets)),
        extra=EXTRA,
        sums=SUMS,
        model=MODEL.as_posix(),
        source=read_backbone(folder / MODEL).source,
        site="\nsite/index.html is the course's site, for a browser.\n" if page.exists() else "",
    )


def sums(folder: Path) -> str:
    """Lines as sha256sum writes them, of every file in the folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names if name != SUMS)


def opinion_texts() -> list[str]:
    """All texts of the built-in task."""
    task = opinions()
    return [text for split in (task.train, *task.dev.values(), task.test) for text in split.texts]


def texts_of(path: Path) -> list[str]:
    """What stands in the cells of a notebook. Raises InputError if it cannot be read."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no notebook ({one_line(error)})") from None


# ------------------------------------------------------------------------------------------------------------ wheels


def _wheels(course: Course, folder: Path, work: Path, say: Callable[[str], None], run: Run) -> None:
    """The wheel of minibert, built in a copy of the project (setuptools leaves things where it builds), and all that it
    needs. work: a folder for the copy, and for what pip downloads."""
    copy = work / "project"
    copy.mkdir()
    for name in PARTS:
        source = course.project / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copyfile(source, copy / name)
    say("building the wheel of minibert")
    run("pip", ["wheel", "--no-deps", "--wheel-dir", str(folder), str(copy)])
    own = next(iter(folder.glob("minibert-*.whl")), None)
    if own is None:
        raise InputError(f"pip built no wheel of minibert from {course.project}")
    for target in course.targets:
        there = work / target.name
        say(f"wheels for {target.name}")
        download(target, own, there, run)
        for wheel in there.glob("*.whl"):
            shutil.copyfile(wheel, folder / wheel.name)


def download(target: Target, own: Path, folder: Path, run: Run) -> None:
    """Everything that minibert and Jupyter need on a target. own: the wheel of minibert.

    pip judges a condition such as `sys_platform == "win32"` by the system that it runs on, not by the target: what that
    leaves out is got by its name, until nothing is missing.
    """
    arguments = ["download", "--only-binary", ":all:", "--dest", str(folder), *target.options]
    wanted = [f"{own}[{EXTRA}]"]
    tried: set[str] = set()
    while wanted:
        run("pip", [*arguments, *wanted])
        wanted = missing(folder, target, [f"minibert[{EXTRA}]"])
        if again := tried & set(wanted):
            raise InputError(f"pip got no wheel of {', '.join(sorted(again))} for {target.name}")
        tried |= set(wanted)


def run_module(module: str, arguments: list[str]) -> None:
    """Run a module of this Python, such as pip. Raises InputError with the last thing that it says if it fails."""
    quiet = ["--disable-pip-version-check", "--quiet"] if module == "pip" else []
    command = [sys.executable, "-m", module, *quiet, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["it says nothing"]
        what = f"pip {arguments[0]}" if module == "pip" else module
        raise InputError(f"{what} failed: {one_line(Exception(errors[-1].removeprefix('ERROR: ')))}")
