"""Record what transformers and PyTorch make of a tiny random BERT, for tests/model/test_recorded.py, which has neither.

    python tests/parity/record.py        # needs the extra "parity"; writes tests/fixtures/tiny_bert.h5

/backbone   the parameters, by flat name
/hidden     last hidden states of transformers' own BertModel, (T, D)
/trained    adapters, LayerNorms and head, moved away from their start
/grads      their gradients by autograd, dropout off
/batch      ids, segments, lengths, labels
attributes  config, adapter, loss, versions
"""

from pathlib import Path

import h5py
import numpy as np
import torch
import transformers
from torch_bert import TorchModel
from transformers import BertModel

from minibert.backbone import random_backbone
from minibert.config import AdapterConfig, BertConfig
from minibert.gradcheck import away_from_identity
from minibert.model import Model
from minibert.text import pack

FIXTURE = Path(__file__).parents[1] / "fixtures" / "tiny_bert.h5"
CONFIG = BertConfig(
    vocab_size=30, hidden_size=24, n_layers=2, n_heads=3, feed_forward_size=40, max_positions=12, layernorm_eps=1e-12
)
LENGTHS = (9, 3, 12)


def hidden_states(bert, batch):
    """Of each sequence by itself, so that nothing is padded.   -> (T, D)"""
    parts = []
    for start, stop in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
        rows = slice(start, stop)
        ids, segments = (torch.from_numpy(a[rows].astype(np.int64))[None] for a in (batch.ids, batch.segments))
        with torch.no_grad():
            output = bert(input_ids=ids, token_type_ids=segments, attention_mask=torch.ones_like(ids))
            parts.append(output.last_hidden_state[0].numpy())
    return np.concatenate(parts)


def main():
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, CONFIG.vocab_size, n).tolist() for n in LENGTHS]
    batch, labels = pack(ids, [[0] * (n // 2) + [1] * (n - n // 2) for n in LENGTHS]), np.array([2, 0, 1])
    backbone = random_backbone(CONFIG, seed=1, std=0.2)
    copied = TorchModel(Model(backbone, method="head", pooled=True)).bert
    plain = BertModel(copied.config).eval()  # not a line of it is ours
    plain.load_state_dict(copied.state_dict())
    model = Model(backbone, n_out=3, method="adapter", adapter=AdapterConfig(size=5))
    away_from_identity(model)
    loss, grads = TorchModel(model).loss_and_grads(batch, labels, "classify")

    FIXTURE.parent.mkdir(exist_ok=True)
    with h5py.File(FIXTURE, "w", libver="latest") as file:
        groups = {
            "backbone": backbone.parameters(),
            "trained": model.trained(),
            "grads": {name: grads[name] for name in model.trained()},
            "batch": {"ids": batch.ids, "segments": batch.segments, "lengths": np.array(LENGTHS), "labels": labels},
        }
        for group, arrays in groups.items():
            for name, array in arrays.items():
                file[f"{group}/{name}"] = array
        file["hidden"] = hidden_states(plain, batch)
        file.attrs["config"], file.attrs["adapter"] = CONFIG.to_json(), model.adapter.to_json()
        file.attrs["loss"] = loss
        file.attrs["versions"] = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{FIXTURE}: {FIXTURE.stat().st_size:,} bytes, loss {loss:.6f}")


if __name__ == "__main__":
    main()
