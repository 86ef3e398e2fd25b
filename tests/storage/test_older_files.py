"""Files that an older version wrote are read, and what is computed from them is what that version computed.

tests/fixtures/record_older.py made them, with the program of commit a11202e.
"""

import json

import numpy as np
import pytest
from tiny import FIXTURES

from minibert.backbone import load_backbone
from minibert.config import AdapterConfig
from minibert.data.squad import without_answers
from minibert.data.task import Examples
from minibert.evaluate import predict, tokenize
from minibert.model import Model
from minibert.storage import read_bank, read_state

BANK = FIXTURES / "older_bank.h5"


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(FIXTURES / "older_backbone.h5")


@pytest.fixture(scope="module")
def older():
    with np.load(FIXTURES / "older_scores.npz") as file:
        return {name: file[name] for name in file.files} | json.loads(str(file["inputs"]))


def test_hidden_states_of_a_backbone(backbone, older):
    hidden = backbone.forward(backbone.encode(older["texts"], max_length=20))
    assert np.abs(older["hidden"]).max() > 1
    assert np.abs(hidden - older["hidden"]).max() <= 1e-5


@pytest.mark.parametrize("name, least", [("opinion", 0.6), ("answers", 0.5)])
def test_scores_of_a_trained_task(backbone, older, name, least):
    model = Model.from_record(backbone, read_bank(BANK)[name], BANK)
    if name == "opinion":
        examples = Examples(older["texts"], None, None)
    else:
        examples = without_answers(older["questions"], older["paragraphs"])
    batch = tokenize(backbone, examples, 20).batch
    assert (batch.ids == older[f"{name}_ids"]).all()
    assert np.abs(older[name]).max() > least
    assert np.abs(predict(model, batch) - older[name]).max() <= 1e-5


def test_settings_of_trained_tasks():
    records = read_bank(BANK)
    assert list(records) == ["answers", "opinion"]
    assert records["opinion"].labels == ("no", "yes") and records["opinion"].adapter == AdapterConfig()
    assert records["answers"].adapter.depth == 2 and records["answers"].training["train"]["max_length"] == 20
    assert set(records["answers"].dev) == {"f1", "exact_match"}


def test_the_state_of_an_unfinished_run():
    arrays, meta = read_state(FIXTURES / "older_state.h5")
    assert {name.split("/")[0] for name in arrays} == {"params", "m", "v"}
    assert meta["progress"]["epoch"] == 1 and meta["settings"]["method"] == "head"
    assert all(np.abs(array).max() > 0 for array in arrays.values())
