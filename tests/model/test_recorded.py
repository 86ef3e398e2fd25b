"""Our hidden states and gradients beside those of transformers and PyTorch, recorded by tests/parity/record.py."""

import h5py
import numpy as np
import pytest
from tiny import FIXTURES

from minibert.backbone import Backbone
from minibert.config import AdapterConfig, BertConfig
from minibert.model import Model
from minibert.text import pack

FIXTURE = FIXTURES / "tiny_bert.h5"


def arrays_in(group):
    """{flat name: array}"""
    found = {}
    group.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.fixture(scope="module")
def recorded():
    with h5py.File(FIXTURE) as file:
        groups = {name: arrays_in(file[name]) for name in ("backbone", "trained", "grads", "batch")}
        return groups | dict(file.attrs) | {"hidden": file["hidden"][()]}


@pytest.fixture(scope="module")
def backbone(recorded):
    return Backbone(BertConfig.from_json(recorded["config"]), recorded["backbone"], None, "recorded")


@pytest.fixture(scope="module")
def batch(recorded):
    stops = np.cumsum(recorded["batch"]["lengths"])[:-1]
    return pack(*(np.split(recorded["batch"][name], stops) for name in ("ids", "segments")))


def test_hidden_states(recorded, backbone, batch):
    assert len(batch) == 3 and len(set(np.diff(batch.offsets))) == 3
    assert np.abs(recorded["hidden"]).max() > 1
    assert np.abs(backbone.forward(batch) - recorded["hidden"]).max() <= 2e-5


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("float64", 1e-5)])
def test_loss_and_gradients_of_adapters_layernorms_and_head(recorded, backbone, batch, dtype, tolerance):
    """PyTorch computed in float32; in float64 the difference that is left is its rounding."""
    model = Model(backbone.astype(dtype), n_out=3, adapter=AdapterConfig.from_json(recorded["adapter"]))
    model.load_trained(recorded["trained"])
    loss, grads = model.loss_and_grads(batch, recorded["batch"]["labels"])
    assert loss == pytest.approx(recorded["loss"], rel=1e-6)
    assert set(grads) == set(recorded["grads"]) and len(grads) == 28
    for name, grad in grads.items():
        size = np.abs(recorded["grads"][name]).max()
        assert size > 1e-3, f"{name}: too small to tell right from wrong"
        assert np.abs(grad - recorded["grads"][name]).max() <= tolerance * size, name
