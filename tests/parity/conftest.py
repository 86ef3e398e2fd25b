"""Options of `make parity`: the backbone to compare, and real data if there is any."""

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--backbone", default="models/minilm-l6.h5", help="backbone file, made by weights_convert fetch")
    parser.addoption("--data", default=None, help="folder with the GLUE folders; without it the built-in task is used")


@pytest.fixture(scope="session")
def backbone_path(request):
    path = Path(request.config.getoption("--backbone"))
    if not path.exists():
        pytest.exit(f"{path} is not there; `make parity` makes it", returncode=2)
    return path


@pytest.fixture(scope="session")
def hf_folder(backbone_path, tmp_path_factory):
    """The same backbone as a Hugging Face folder, written by our own converter."""
    from weights_convert.__main__ import main

    folder = tmp_path_factory.mktemp("hf") / "backbone"
    assert main(["to-hf", str(backbone_path), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def texts(request):
    """(single texts, pairs): 100 of each where data is given."""
    from minibert.data import load_task

    data = request.config.getoption("--data")
    if data is None:
        rows = load_task("opinions").train.texts
        return rows[:100], (rows[100:200], rows[200:300])
    singles = load_task("cola", data).dev["dev"].texts[:50] + load_task("sst2", data).dev["dev"].texts[:50]
    pairs = load_task("mrpc", data).dev["dev"]
    return singles, (pairs.texts[:100], pairs.pairs[:100])
