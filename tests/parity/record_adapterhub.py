"""Record folders that the AdapterHub library saves, and its scores, for tests/convert/test_adapterhub.py, which has no
PyTorch.

    python tests/parity/record_adapterhub.py     # needs the extra "parity"; writes tests/fixtures/adapterhub/

Each folder is one task on the tiny BERT of tests/fixtures/tiny_bert.h5; scores.npz holds what the library computes with
it from that file's batch: logits (B, C), or for a head that finds answers (T, 2).
"""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import torch
from adapters import BertAdapterModel, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from torch_bert import TorchModel

from minibert.backbone import Backbone
from minibert.config import BertConfig
from minibert.model import Model

FIXTURES = Path(__file__).parents[1] / "fixtures"
OUT = FIXTURES / "adapterhub"
SMALL = {"reduction_factor": 6}  # M = 4

# {folder: (form of the adapter, head, its settings, how it is saved)}
FOLDERS = {
    "double_seq_bn": (DoubleSeqBnConfig(**SMALL), "classification", {"num_labels": 3, "layers": 1}, "bin"),
    "seq_bn": (SeqBnConfig(**SMALL), "classification", {"num_labels": 3}, "bin"),
    "par_bn": (
        ParBnConfig(**SMALL),
        "classification",
        {"num_labels": 2, "layers": 1, "use_pooler": True},
        "safetensors",
    ),
    "feed_forward_only": (DoubleSeqBnConfig(mh_adapter=False, **SMALL), "classification", {"num_labels": 1}, "bin"),
    "leave_out": (SeqBnConfig(leave_out=[0], **SMALL), "qa", {}, "safetensors"),
    "learned_scaling": (SeqBnConfig(scaling="learned", **SMALL), "qa", {"layers": 2}, "bin"),
    "channel_scaling": (
        DoubleSeqBnConfig(scaling="channel", **SMALL),
        "classification",
        {"num_labels": 1, "layers": 1},
        "bin",
    ),
    "ln_before": (SeqBnConfig(ln_before=True, **SMALL), "classification", {"num_labels": 3, "layers": 1}, "bin"),
    "old_release": (SeqBnConfig(non_linearity="gelu_new", **SMALL), "classification", {"num_labels": 3}, "old"),
}


def tiny_bert():
    """(their model without adapters, the batch) of tiny_bert.h5."""
    flat: dict = {}
    with h5py.File(FIXTURES / "tiny_bert.h5") as file:
        config = BertConfig.from_json(file.attrs["config"])
        file["backbone"].visititems(lambda n, a: flat.update({n: a[:]}) if isinstance(a, h5py.Dataset) else None)
        batch = {name: a[:] for name, a in file["batch"].items()}
    model = Model(Backbone(config, flat, None, "tiny"), method="head", pooled=True)
    return TorchModel(model).bert, batch


def move(model, names, std=0.3):
    """Random numbers for what was added: at its start an adapter does nothing."""
    generator = torch.Generator().manual_seed(3)
    for key, weight in model.named_parameters():
        if any(name in key for name in names):
            noise = torch.randn(weight.shape, generator=generator)
            weight.data = 1 + std * noise if key.endswith(("scaling", "norm_before.weight")) else std * noise


def scores_of(model, batch):
    """Each sequence by itself, so that nothing is padded."""
    parts, first = [], 0
    for n in batch["lengths"]:
        rows = slice(first, first + n)
        ids, segments = (torch.from_numpy(batch[name][rows].astype(np.int64))[None] for name in ("ids", "segments"))
        with torch.no_grad():
            out = model(input_ids=ids, token_type_ids=segments, attention_mask=torch.ones_like(ids))
        parts.append(out.logits if "logits" in out else torch.stack([out.start_logits[0], out.end_logits[0]], 1))
        first += n
    return torch.cat(parts).numpy()


def as_old_release(folder, name):
    """What an early release wrote: other names of tensors, files and models, the layout of PyTorch before 1.6, "gelu"
    for its tanh form, and an invertible adapter that a task never had."""
    weights = torch.load(folder / "pytorch_adapter.bin")
    places = {".attention.output.adapters.": ".attention.output.attention_text_task_adapters."}
    places |= {".output.adapters.": ".output.layer_text_task_adapters."}
    old = {}
    for key, weight in weights.items():
        for new, former in places.items():
            key = key.replace(new, former, 1) if new in key and "_text_task_" not in key else key
        old[key] = weight
    head = torch.load(folder / "pytorch_model_head.bin")
    for file, tensors in (("pytorch_adapter.bin", old), ("pytorch_model_head.bin", head)):
        torch.save(tensors, folder / file, _use_new_zipfile_serialization=False)
    for file in ("adapter_config.json", "head_config.json"):
        config = json.loads((folder / file).read_text())
        del config["version"]
        config["model_class"] = "BertModelWithHeads"
        if file.startswith("adapter"):
            inner = {key: value for key, value in config["config"].items() if "phm" not in key and "inv_" not in key}
            inner |= {"non_linearity": "gelu", "attention_type": "sent-lvl-dynamic", "new_attention_norm": False}
            config |= {"type": "text_task", "config": inner}
            inner["invertible_adapter"] = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
        (folder / file).write_text(json.dumps(config, indent=2) + "\n")


def main():
    bert, batch = tiny_bert()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    scores = {}
    for name, (form, head, settings, saved_as) in FOLDERS.items():
        model = BertAdapterModel(bert.config)
        model.bert.load_state_dict(bert.state_dict(), strict=False)
        model.add_adapter(name, config=form)
        labels = (
            {"id2label": {i: f"label {i}" for i in range(settings["num_labels"])}} if head == "classification" else {}
        )
        getattr(model, f"add_{head}_head")(name, **settings, **labels)
        model.set_active_adapters(name)
        model.eval()
        move(model, (f"adapters.{name}.", "heads."))
        model.save_adapter(str(OUT / name), name, use_safetensors=saved_as == "safetensors")
        scores[name] = scores_of(model, batch)
        if saved_as == "old":
            as_old_release(OUT / name, name)
    np.savez(OUT / "scores.npz", **scores)
    size = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{OUT}: {len(scores)} folders, {size:,} bytes")


if __name__ == "__main__":
    main()
