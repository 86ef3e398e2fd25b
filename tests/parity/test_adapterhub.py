"""Tasks to the AdapterHub library and from it: the same texts, the same scores, for each placement and each head.

Ours are exported, and loaded by the library's default call; the library's are saved, and imported here.
"""

import re

import numpy as np
import pytest
import torch
from adapters import AutoAdapterModel, BertAdapterModel, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from record_adapterhub import move
from transformers import AutoTokenizer

from minibert import AdapterConfig, Model, load_backbone
from minibert.gradcheck import away_from_identity
from minibert.storage import read_backbone
from weights_convert.adapterhub import export, import_
from weights_convert.adapterhub.names import ATTRIBUTES, library_name

FF = ("feed_forward",)
# {placement: (ours, theirs)}
PLACEMENTS = {
    "double_seq_bn": (AdapterConfig(16), DoubleSeqBnConfig(non_linearity="gelu")),
    "feed-forward only": (AdapterConfig(16, sublayers=FF), DoubleSeqBnConfig(mh_adapter=False)),
    "attention only": (AdapterConfig(16, sublayers=("attention",)), DoubleSeqBnConfig(output_adapter=False)),
    "seq_bn": (AdapterConfig(16, sublayers=FF, reads_norm=True, activation="relu"), SeqBnConfig()),
    "seq_bn, twice a layer": (AdapterConfig(700, reads_norm=True), SeqBnConfig(mh_adapter=True, reduction_factor=0.6)),
    "seq_bn, ln_before": (
        AdapterConfig(16, sublayers=FF, reads_norm=True, layernorm=True, layernorm_eps=1e-5),
        SeqBnConfig(ln_before=True, non_linearity="gelu_new"),
    ),
    "double_seq_bn, ln_before": (
        AdapterConfig(16, activation="gelu_tanh", layernorm=True, layernorm_eps=1e-5),
        DoubleSeqBnConfig(ln_before=True, non_linearity="tanh"),
    ),
    "par_bn": (AdapterConfig(16, sublayers=FF, parallel=True, activation="swish"), ParBnConfig(reduction_factor=16)),
    "par_bn, twice a layer": (AdapterConfig(5, parallel=True), ParBnConfig(mh_adapter=True, reduction_factor=16)),
    "leave_out": (AdapterConfig(16, layers=(1, 4), activation="tanh"), SeqBnConfig(leave_out=[0, 5])),
    "scaling": (AdapterConfig(1), DoubleSeqBnConfig(scaling=2.5)),
    "learned scaling": (AdapterConfig(383), SeqBnConfig(scaling="learned")),
    "scaling per channel": (AdapterConfig(768), DoubleSeqBnConfig(scaling="channel")),
}
# {head: (ours: head, outputs, options of a model; theirs: method, settings)}
HEADS = {
    "one layer": ("classify", 3, {}, "classification", {"num_labels": 3, "layers": 1}),
    "two layers": ("classify", 3, {"train_pooler": True}, "classification", {"num_labels": 3}),
    "BERT's pooler": ("classify", 2, {"pooled": True}, "classification", {"layers": 1, "use_pooler": True}),
    "several labels": ("multilabel", 3, {}, "classification", {"num_labels": 3, "layers": 1, "multilabel": True}),
    "regression": ("regress", 1, {}, "classification", {"num_labels": 1, "layers": 1}),
    "regression, two layers": ("regress", 1, {"train_pooler": True}, "classification", {"num_labels": 1}),
    "spans": ("span", 2, {}, "qa", {}),
    "spans, two layers": ("span", 2, {"train_pooler": True}, "qa", {"layers": 2}),
}
CASES = [(placement, "one layer") for placement in PLACEMENTS]
CASES += [(placement, head) for placement in ("double_seq_bn", "seq_bn") for head in HEADS if head != "one layer"]
each_case = pytest.mark.parametrize("placement, head", CASES, ids=[" - ".join(case) for case in CASES])


@pytest.fixture(scope="module")
def backbone(backbone_path):
    return load_backbone(backbone_path)


@pytest.fixture(scope="module")
def inputs(hf_folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(hf_folder)
    return tokenizer(texts[0], padding=True, truncation=True, max_length=128, return_tensors="pt")


def library_scores(model, inputs):
    """(B, C), or of each token that is no padding (T, 2)."""
    with torch.no_grad():
        out = model(**inputs)
    if "logits" in out:
        return out.logits.numpy()
    tokens = inputs["attention_mask"].numpy().astype(bool)
    return np.stack([out.start_logits.numpy()[tokens], out.end_logits.numpy()[tokens]], axis=1)


def our_model(backbone, placement, head, **more):
    kind, n_out, options, *_ = HEADS[head]
    options = options | ({"pooled": True} if options else {})
    model = Model(backbone, kind, n_out, adapter=PLACEMENTS[placement][0], **options, **more)
    away_from_identity(model, std=0.03)
    model.trained()["head/W"][...] *= 5
    return model


def compare(name, ours, theirs):
    worst = np.abs(ours - theirs).max()
    print(f"\n{name}: {len(ours)} scores of 100 texts, largest difference {worst:.1e}")
    assert np.abs(theirs).max() > 0.3 and worst <= 1e-4


@each_case
def test_what_we_export_the_library_loads(backbone, hf_folder, texts, inputs, tmp_path, placement, head):
    model = our_model(backbone, placement, head)
    labels = ["a", "b", "c"][: model.n_out] if model.head in ("classify", "multilabel") else []
    export(model.to_record("task", labels), tmp_path / "out")
    theirs = AutoAdapterModel.from_pretrained(hf_folder).eval()
    theirs.load_adapter(str(tmp_path / "out"), set_active=True)  # the default call
    scores = library_scores(theirs, inputs)
    ours = model.forward(backbone.encode(texts[0]))
    compare(f"out, {placement}, {head}", ours, scores)
    if labels:
        assert theirs.get_labels() == labels
    assert not np.allclose(model.without_adapters(range(6)).forward(backbone.encode(texts[0])), ours, atol=1e-2)


@each_case
def test_what_the_library_saves_we_import(backbone, backbone_path, hf_folder, texts, inputs, tmp_path, placement, head):
    *_, method, settings = HEADS[head]
    model = BertAdapterModel.from_pretrained(hf_folder)
    model.add_adapter("task", config=PLACEMENTS[placement][1])
    getattr(model, f"add_{method}_head")("task", **settings)
    model.set_active_adapters("task")
    model.eval()
    move(model, ("adapters.task.",), 0.05)
    move(model, ("heads.",), 0.15)
    model.save_adapter(
        str(tmp_path / "saved"), "task", use_safetensors="ln_before" not in placement
    )  # they share memory
    record, _ = import_(tmp_path / "saved", read_backbone(backbone_path))
    ours = Model.from_record(backbone, record).forward(backbone.encode(texts[0]))
    compare(f"in, {placement}, {head}", ours, library_scores(model, inputs))
    model.set_active_adapters(None)
    assert not np.allclose(library_scores(model, inputs), ours, atol=1e-2)


@pytest.mark.parametrize("safe", [False, True], ids=["bin", "safetensors"])
def test_the_lines_of_the_readme_load_it(backbone, hf_folder, tmp_path, safe):
    """As they stand; with safetensors by the library's option for it."""
    model = our_model(backbone, "double_seq_bn", "one layer")
    export(model.to_record("half", ["a", "b", "c"], {"train": {"max_length": 128}}), tmp_path / "out")
    (lines,) = re.findall(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.S)
    lines = lines.replace("BACKBONE", str(hf_folder)).replace("FOLDER", str(tmp_path / "out"))
    if safe:
        (tmp_path / "out" / "pytorch_adapter.bin").write_bytes(b"")
        (tmp_path / "out" / "pytorch_model_head.bin").write_bytes(b"")
        lines = lines.replace("set_active=True", "set_active=True, use_safetensors=True")
    found: dict = {}
    exec(lines, found)
    compare("README", model.forward(backbone.encode(["a text"])), found["scores"].logits.detach().numpy())


def test_layernorms_stay_after_delete_adapter(backbone, hf_folder, inputs, tmp_path):
    """What the README says of it: the model is not what it was."""
    export(our_model(backbone, "double_seq_bn", "one layer").to_record("task", ["a", "b", "c"]), tmp_path / "out")
    model = BertAdapterModel.from_pretrained(hf_folder).eval()
    with torch.no_grad():
        before = model.bert(**inputs).last_hidden_state
        model.load_adapter(str(tmp_path / "out"), set_active=True)
        model.delete_adapter("task")
        assert (model.bert(**inputs).last_hidden_state - before).abs().max() > 0.1


def test_frozen_layernorms_stay_theirs(backbone, hf_folder, texts, inputs, tmp_path):
    model = our_model(backbone, "seq_bn", "one layer", train_layernorm=False)
    export(model.to_record("task", ["a", "b", "c"]), tmp_path / "out")
    theirs = AutoAdapterModel.from_pretrained(hf_folder).eval()
    theirs.load_adapter(str(tmp_path / "out"), set_active=True)
    compare("out, frozen LayerNorms", model.forward(backbone.encode(texts[0])), library_scores(theirs, inputs))


def test_the_names_that_modules_refuse_are_known():
    """Those of this PyTorch. A name that we change, it takes."""
    modules = torch.nn.ModuleDict()
    names = {name for name in dir(modules) if not name.startswith("_")}
    assert names <= ATTRIBUTES
    for name in (*names, "a.b", "_modules", "__init__", "sst2"):
        modules[library_name(name)] = torch.nn.Linear(1, 1)
