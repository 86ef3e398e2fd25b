"""What `make` does, also where there is no make (Windows): python make.py demo, and so on.

    demo       set up, fetch a real BERT, tune it on the built-in task, look at what it learned
    test       set up, run the tests (no network beyond package installation, no PyTorch)
    parity     compare with transformers and PyTorch, in an environment of its own; --data: folder with the GLUE folders
    lint       ruff, who imports whom, no function too long, and what every lesson must have
    notebooks  run every lesson, solved and blank, and compare what it prints with what is stored
    notebooks-fast   the same with few training steps
    notebooks-write  write the notebooks from notebooks/src/
    docs       build the site into build/site; a warning is an error
    clean      remove the environments, what tools leave, and runs/

The Python that runs this file is the one whose version is used: 3.10 or later.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

OLDEST = 3, 10
BACKBONE = "models/minilm-l6.h5"
TORCH = "torch==2.13.0"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
TEXTS = "The soup was cold and so was the waiter.", "The best dumplings I have eaten in years."


def run(*command: str) -> None:
    """Print a command and run it; if it fails, end with its exit code."""
    print("$ " + shlex.join(command), flush=True)
    code = subprocess.run(command, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}, check=False).returncode
    if code:
        sys.exit(code)


def environment(folder: str, *requirements: str) -> str:
    """The Python of an environment with these requirements. Set up if it is not there, or older than they are."""
    python, stamp = str(Path(folder, SCRIPTS, "python")), Path(folder, "." + "-".join(requirements[-1:]).strip(".[]"))
    newest = max(os.path.getmtime(file) for file in ("setup.cfg", "pyproject.toml"))
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        if not Path(folder, "pyvenv.cfg").exists():
            print(f"making {folder} with Python {sys.version.split()[0]}", flush=True)
            venv.create(folder, with_pip=True)
        print("installing packages: pip prints nothing meanwhile (a minute or two, longer with PyTorch)", flush=True)
        for requirement in requirements:
            editable = ["--editable"] if requirement.startswith(".") else []
            run(python, "-m", "pip", "install", "--quiet", *editable, requirement)
        stamp.touch()
    return python


def tools() -> str:
    """The Python of the usual environment."""
    return environment(".venv", ".[convert,test,lint]")


def backbone() -> str:
    """The same, once the backbone is there."""
    python = tools()
    if not Path(BACKBONE).exists():
        run(python, "-m", "weights_convert", "fetch", "minilm-l6", "--out", BACKBONE)
    return python


def demo() -> None:
    """Two methods on the built-in task: train, score, predict."""
    python = backbone()

    def minibert(command: str, *more: str) -> None:
        run(python, "-m", "minibert", command, "--backbone", BACKBONE, *more)

    for method in ("head", "adapter"):
        minibert("train", "--task", "opinions", "--method", method, "--out", f"runs/demo-{method}", "--force")
    for method in ("head", "adapter"):
        minibert("eval", "--task", "opinions", "--bank", f"runs/demo-{method}", "--split", "test")
    minibert("predict", "--bank", "runs/demo-adapter", *TEXTS)


def test() -> None:
    """All tests but the slow ones and those of parity, in one process per core, of which each takes memory."""
    run(tools(), "-m", "pytest", "-m", "not slow", "-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")


def lint() -> None:
    """Style, imports, lengths; the lessons' sources."""
    python = tools()
    run(python, "-m", "ruff", "check", ".")
    run(python, "-m", "ruff", "format", "--check", ".")
    run(str(Path(python).with_name("lint-imports")), "--no-cache")
    run(python, ".ci/function_length.py")
    environment(".venv", ".[notebooks]")
    run(python, "-m", "minibert.lessons", "lint")


def notebooks(*options: str) -> None:
    """Every lesson, solved and blank."""
    python = backbone()
    environment(".venv", ".[notebooks]")
    run(python, "tests/notebooks.py", *options)


def notebooks_write() -> None:
    """The notebooks from their sources."""
    notebooks("--write")


def notebooks_fast() -> None:
    """As `notebooks`, with few training steps."""
    notebooks("--fast")


def docs() -> None:
    """The site, without a network once its packages are there."""
    python = environment(".venv", ".[docs]")
    shutil.rmtree("build/site", ignore_errors=True)
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env", "--quiet"]
    run(python, "-m", "sphinx", *strict, "--conf-dir", "docs", "--doctree-dir", "build/doctrees", ".", "build/site")
    print("open build/site/index.html")


def parity(data: "str | None" = None) -> None:
    """Beside transformers and PyTorch."""
    backbone()
    python = environment(".venv-parity", TORCH, ".[parity,convert,test]")
    given = ["--data", data] if data else []
    run(python, "-m", "pytest", "tests/parity", "--override-ini", "addopts=-s", "--backbone", BACKBONE, *given)


def clean() -> None:
    """Everything that was made here, but for models/."""
    made = [".venv", ".venv-parity", "build", ".pytest_cache", ".ruff_cache", "runs", *Path().glob("*.egg-info")]
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


TARGETS = {"demo": demo, "test": test, "parity": parity, "lint": lint}
TARGETS |= {"notebooks": notebooks, "notebooks-fast": notebooks_fast, "notebooks-write": notebooks_write}
TARGETS["docs"] = docs
TARGETS["clean"] = clean


def main() -> None:
    """Run a target, in the folder of this file."""
    if sys.version_info[:2] < OLDEST:
        sys.exit(
            f"minibert needs Python {'.'.join(map(str, OLDEST))} or later, and {sys.executable} is "
            f"{sys.version.split()[0]}; run this file with another one (make PYTHON=python3.12)"
        )
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--data", metavar="DIR", help="parity: the folder with the GLUE folders")
    args = parser.parse_args()
    os.chdir(Path(__file__).resolve().parent)
    if args.target == "parity":
        parity(args.data)
    else:
        TARGETS[args.target]()


if __name__ == "__main__":
    main()
