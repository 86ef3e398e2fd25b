"""Folders of the AdapterHub library, in and out, beside scores that it computed: tests/parity/record_adapterhub.py."""

import json
import shutil
import struct
from contextlib import nullcontext
from dataclasses import replace

import h5py
import numpy as np
import pytest
from tiny import FIXTURES

from minibert.backbone import Backbone
from minibert.config import AdapterConfig, BertConfig
from minibert.errors import InputError
from minibert.gradcheck import away_from_identity
from minibert.model import Model
from minibert.params import unflatten
from minibert.storage import BackboneFile, bert_tokenizer, fingerprint
from minibert.text import Tokenizer, pack
from weights_convert.adapterhub import export, import_
from weights_convert.adapterhub.names import library_name
from weights_convert.adapterhub.settings import library_size, reduction_factor
from weights_convert.tensors import open_tensors
from weights_convert.torch_file import write_torch_file

RECORDED = FIXTURES / "adapterhub"
FOLDERS = sorted(path.name for path in RECORDED.iterdir() if path.is_dir())
FF = ("feed_forward",)
# {folder: what it becomes here}
FORMS = {
    "channel_scaling": AdapterConfig(4, activation="swish"),
    "double_seq_bn": AdapterConfig(4, activation="swish"),
    "feed_forward_only": AdapterConfig(4, sublayers=FF, activation="swish"),
    "learned_scaling": AdapterConfig(4, sublayers=FF, activation="relu", reads_norm=True),
    "leave_out": AdapterConfig(4, sublayers=FF, layers=(1,), activation="relu", reads_norm=True),
    "ln_before": AdapterConfig(4, sublayers=FF, activation="relu", reads_norm=True, layernorm=True, layernorm_eps=1e-5),
    "old_release": AdapterConfig(4, sublayers=FF, activation="gelu_tanh", reads_norm=True),
    "par_bn": AdapterConfig(4, sublayers=FF, activation="relu", parallel=True),
    "seq_bn": AdapterConfig(4, sublayers=FF, activation="relu", reads_norm=True),
}
HEADS = {
    "channel_scaling": ("regress", {"pooled": False}),
    "double_seq_bn": ("classify", {"pooled": False}),
    "feed_forward_only": ("regress", {"pooled": True, "train_pooler": True}),
    "learned_scaling": ("span", {"pooled": True, "train_pooler": True}),
    "leave_out": ("span", {"pooled": False}),
    "ln_before": ("classify", {"pooled": False}),
    "old_release": ("classify", {"pooled": True, "train_pooler": True}),
    "par_bn": ("classify", {"pooled": True}),
    "seq_bn": ("classify", {"pooled": True, "train_pooler": True}),
}


@pytest.fixture(scope="module")
def tiny():
    """(the backbone, its file as it would be read, the batch that was scored)"""
    flat = {}
    with h5py.File(FIXTURES / "tiny_bert.h5") as file:
        config = BertConfig.from_json(file.attrs["config"])
        file["backbone"].visititems(lambda n, a: flat.update({n: a[()]}) if isinstance(a, h5py.Dataset) else None)
        batch = {name: a[()] for name, a in file["batch"].items()}
    tokenizer = bert_tokenizer(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(97, 122))))
    of_file = BackboneFile(config, unflatten(flat), tokenizer, "recorded", "0" * 64, fingerprint(flat))
    stops = np.cumsum(batch["lengths"])[:-1]
    packed = pack(*(np.split(batch[name], stops) for name in ("ids", "segments")))
    return Backbone(config, flat, Tokenizer(tokenizer), of_file.fingerprint), of_file, packed


@pytest.fixture
def folder(tmp_path):
    """A function that gives a copy of a recorded folder, with changes to the objects of its two configs."""

    def copy_of(name, adapter=None, head=None, file=None):
        target = tmp_path / name
        shutil.copytree(RECORDED / name, target)
        for config, changes in (("adapter_config.json", adapter), ("head_config.json", head)):
            values = json.loads((target / config).read_text())
            values["config"] |= changes or {}
            values |= file or {}
            (target / config).write_text(json.dumps(values))
        return target

    return copy_of


LABELLED = ("classify", "multilabel")


def trained_task(tiny, adapter, head="classify", n_out=3, **options):
    model = Model(tiny[0], head, n_out, adapter=adapter, **options)
    away_from_identity(model)
    labels = [f"label {i}" for i in range(n_out)] if head in LABELLED else []
    settings = {"pairs": False, "train": {"max_length": 12}}
    return model, model.to_record("tea", labels, settings, {"accuracy": 0.75})


# ------------------------------------------------------------------------------------------------------------------ in


@pytest.mark.parametrize("name", FOLDERS)
def test_scores_of_an_imported_task_are_those_of_the_library(tiny, name):
    backbone, of_file, batch = tiny
    with np.load(RECORDED / "scores.npz") as recorded:
        expected = recorded[name]
    record, notes = import_(RECORDED / name, of_file)
    assert (record.name, record.adapter) == (name, FORMS[name])
    head, options = HEADS[name]
    assert (record.head, record.model_options) == (head, {"top_k": 0, "train_layernorm": False} | options)
    assert record.labels == (tuple(f"label {i}" for i in range(record.n_out)) if head == "classify" else ())
    assert "it does not say what it was trained on" in notes[0]
    scores = Model.from_record(backbone, record).forward(batch)
    assert np.abs(expected).max() > 0.3 and scores.shape == expected.shape
    assert np.abs(scores - expected).max() <= 5e-6
    without = replace(record, params={n: a * (not n.endswith("adapter/up/W")) for n, a in record.params.items()})
    assert np.abs(Model.from_record(backbone, without).forward(batch) - expected).max() > 1e-2


def test_what_is_not_kept_or_folded_is_told(tiny, folder):
    notes = import_(RECORDED / "old_release", tiny[1])[1]
    assert "invertible_adapter is left out: an adapter of type text_task has no invertible adapter" in notes
    assert "the scaling (4.0) is folded" in import_(RECORDED / "par_bn", tiny[1])[1][1]
    dropping = folder("seq_bn", {"dropout": 0.1}, {"label2id": None})
    notes = import_(dropping, tiny[1])[1]
    assert "dropout 0.1 in the adapter is for training alone, and is not kept" in notes
    assert "label2id names no classes; they are called LABEL_0 to LABEL_2" in notes


def test_another_name_and_pairs(tiny):
    record, _ = import_(RECORDED / "seq_bn", tiny[1], "mine", pairs=True)
    assert record.name == "mine" and record.training["pairs"] is True
    assert import_(RECORDED / "seq_bn", tiny[1])[0].training["pairs"] is False
    record, _ = import_(RECORDED / "leave_out", tiny[1])
    assert record.training["pairs"] is True and record.training["train"] == {
        "max_length": 12
    }  # a question, a paragraph


@pytest.mark.parametrize("model, head, own", [
    ("BertForSequenceClassification", "classify", ("classifier", 3)),
    ("BertForSequenceClassification", "regress", ("classifier", 1)),
    ("BertForQuestionAnswering", "span", ("qa_outputs", 2)),
])  # fmt: skip
def test_heads_that_are_fixed(tiny, folder, model, head, own):
    """An adapter that was trained inside one of transformers' own models."""
    place, (name, n_out) = folder("seq_bn"), own
    rng = np.random.default_rng(0)
    tensors = {f"{name}.weight": rng.standard_normal((n_out, 24)), f"{name}.bias": rng.standard_normal(n_out)}
    write_torch_file(place / "pytorch_model_head.bin", tensors)
    file = {
        "model_class": model,
        "config": None,
        "num_labels": n_out,
        "label2id": {"a": 0, "b": 1, "c": 2},
        "name": None,
    }
    (place / "head_config.json").write_text(json.dumps(file | {"model_type": "bert", "hidden_size": 24}))
    record, _ = import_(place, tiny[1])
    assert (record.head, record.labels) == (head, ("a", "b", "c") if head == "classify" else ())
    assert record.model_options["pooled"] == (head != "span") and "train_pooler" not in record.model_options
    np.testing.assert_array_equal(record.params["head/W"], tensors[f"{name}.weight"].T.astype(np.float32))


def test_a_head_without_bias(tiny, folder):
    place = folder("double_seq_bn", head={"bias": False})
    tensors = open_tensors(place / "pytorch_model_head.bin")
    write_torch_file(place / "pytorch_model_head.bin", {n: tensors.read(n) for n in tensors.stored if "weight" in n})
    assert not import_(place, tiny[1])[0].params["head/b"].any()
    (place / "head_config.json").write_text((RECORDED / "double_seq_bn" / "head_config.json").read_text())
    with pytest.raises(InputError, match=r"has no tensor heads.double_seq_bn.1.bias"):
        import_(place, tiny[1])


REFUSED = [
    ("seq_bn", {"adapter": {"use_gating": True}}, "use_gating is True, and minibert has no adapters with that"),
    ("seq_bn", {"adapter": {"phm_layer": True}}, "phm_layer is True"),
    ("seq_bn", {"adapter": {"inv_adapter": "nice"}}, "inv_adapter is 'nice'"),
    ("seq_bn", {"adapter": {"ln_after": True}}, "ln_after is True"),
    ("seq_bn", {"adapter": {"original_ln_after": False}}, "original_ln_after is False"),
    ("seq_bn", {"adapter": {"residual_before_ln": False}}, "residual_before_ln is False with original_ln_before"),
    ("seq_bn", {"adapter": {"residual_before_ln": "post_add"}}, "residual_before_ln is 'post_add'"),
    ("seq_bn", {"adapter": {"non_linearity": "leakyrelu"}}, "non_linearity is 'leakyrelu'; minibert has gelu,"),
    ("seq_bn", {"adapter": {"architecture": "lora"}}, "architecture is 'lora', and only bottleneck adapters"),
    ("seq_bn", {"adapter": {"scaling": "both"}}, "scaling is 'both', which is not known"),
    ("seq_bn", {"adapter": {"gate": 2}}, "has the setting gate=2, which is not known here"),
    ("seq_bn", {"adapter": {"leave_out": ["0"]}}, "leave_out is .'0'., expected numbers of layers"),
    ("seq_bn", {"adapter": {"leave_out": [0, 1]}}, "leave_out leaves no layer of 2"),
    ("seq_bn", {"adapter": {"leave_out": [0]}}, "layer.0.output.adapters.seq_bn.adapter_down.0.weight has no place in"),
    (
        "seq_bn",
        {"adapter": {"mh_adapter": True}},
        "has no tensor bert.encoder.layer.0.attention.output.adapters.seq_bn",
    ),
    ("seq_bn", {"adapter": {"output_adapter": False}}, "neither mh_adapter nor output_adapter"),
    ("seq_bn", {"adapter": {"ln_before": True}}, "tensor .*adapter_down.0.weight is there twice|has no tensor"),
    ("ln_before", {"adapter": {"ln_before": False}}, "adapter_norm_before.weight has no place in"),
    ("learned_scaling", {"adapter": {"scaling": 1.0}}, "adapters.learned_scaling.scaling has no place in"),
    (
        "learned_scaling",
        {"adapter": {"scaling": "channel"}},
        r"a tensor scaling has the shape \(1,\), expected \(24,\)",
    ),
    ("seq_bn", {"adapter": {"scaling": "learned"}}, "scaling is learned, but layer 0 has no tensor scaling"),
    ("seq_bn", {"head": {"head_type": "tagging"}}, "a head of type 'tagging' with num_labels 3 is none of"),
    ("seq_bn", {"head": {"layers": 3}}, "the head has 3 layers"),
    ("seq_bn", {"head": {"activation_function": "relu"}}, "activation_function is 'relu' between two layers"),
    ("seq_bn", {"head": {"use_pooler": True}}, "use_pooler with two layers is three layers"),
    ("seq_bn", {"head": {"layers": 1}}, "heads.seq_bn.4.weight has no place|array head/W"),
    ("seq_bn", {"head": {"label2id": {"a": 0, "b": 1}}}, "label2id has the numbers .0, 1., expected 0 to 2"),
    ("seq_bn", {"head": {"label2id": {"a": 0, "b": "x", "c": 2}}}, "label2id gives b the number 'x'"),
    ("seq_bn", {"head": {"num_labels": None}}, "num_labels is None"),
    (
        "seq_bn",
        {"head": {"num_labels": 70_000, "label2id": None}},
        "num_labels is 70000, expected .* at most 65,536",
    ),
    ("seq_bn", {"head": {"num_labels": 10**400}}, "num_labels is a whole number of 1,329 bits"),
    ("seq_bn", {"adapter": {"scaling": 10**400}}, "scaling is a whole number of 1,329 bits, which is not known"),
    ("seq_bn", {"adapter": {"scaling": -(10**400)}}, "scaling is a whole number of 1,329 bits, which is not known"),
    ("seq_bn", {"adapter": {"scaling": float("nan")}}, "scaling is nan|NaN"),
    ("seq_bn", {"adapter": {"scaling": 1e999}}, "scaling is inf|Infinity"),
    ("seq_bn", {"file": {"minibert": {"dev": {"accuracy": 10**400}}}}, "minibert's dev is .'accuracy': a whole number"),
    ("seq_bn", {"file": {"model_type": "roberta"}}, "model_type is 'roberta', expected 'bert'"),
    ("seq_bn", {"file": {"hidden_size": 768}}, "hidden_size is 768, and the backbone's is 24"),
    (
        "seq_bn",
        {"file": {"model_class": "RobertaAdapterModel"}},
        "model_class is 'RobertaAdapterModel'; heads are read",
    ),
    ("seq_bn", {"file": {"name": "a/b"}}, "has no place in|cannot be named"),
    ("seq_bn", {"file": {"name": 3}}, "name is 3, expected a text"),
    (
        "seq_bn",
        {"file": {"minibert": {"backbone_fingerprint": "f" * 64}}},
        "was exported from the backbone ffffffffffff",
    ),
    ("seq_bn", {"file": {"minibert": {"dev": {"accuracy": "high"}}}}, "minibert's dev is"),
]


@pytest.mark.parametrize("name, changes, message", REFUSED, ids=[f"{n} {c}"[:60] for n, c, _ in REFUSED])
def test_what_cannot_be_held_is_refused_by_name(tiny, folder, name, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        import_(folder(name, **changes), tiny[1])
    assert "\n" not in str(caught.value)


ODD = [True, False, None, 0, 1, -1, 2, 1e999, 10**40, 10**400, [], {}, [1], "", "x", "adapters", "learned", 0.5]


@pytest.mark.parametrize("config", ["adapter_config.json", "head_config.json"])
def test_whatever_a_setting_says_there_is_a_task_or_one_line_of_error(tiny, folder, config):
    place = folder("learned_scaling", file={"minibert": {"name": "x", "dev": {}, "max_length": 9, "pairs": True}})
    file, outcomes = json.loads((place / config).read_text()), []
    for outer, key in [(file, key) for key in file] + [(file["config"], key) for key in file["config"]]:
        for value in ODD:
            kept, outer[key] = outer[key], value
            (place / config).write_text(json.dumps(file))
            outer[key] = kept
            try:
                outcomes.append(import_(place, tiny[1])[0].name)
            except InputError as error:
                assert "\n" not in str(error)
                outcomes.append("refused")
    assert outcomes.count("refused") > 40 and len(outcomes) - outcomes.count("refused") > 40


def test_tensors_of_something_else_are_refused(tiny, folder):
    place = folder("seq_bn")
    stored = open_tensors(place / "pytorch_adapter.bin")
    weights = {name: stored.read(name) for name in stored.stored}
    down = "bert.encoder.layer.1.output.adapters.seq_bn.adapter_down.0"
    for changes, message in (
        (
            {"bert.invertible_adapters.seq_bn.F.0.weight": np.zeros((2, 2))},
            "invertible_adapters.seq_bn.F.0.weight has no",
        ),
        ({f"{down}.weight": np.zeros((5, 24)), f"{down}.bias": np.zeros(5)}, r"adapters of several sizes \(4, 5\)"),
        ({f"{down}.weight": np.zeros((4, 23))}, "down/W"),
        ({f"{down}.weight": np.full((4, 24), np.nan)}, "nan"),
        ({f"{down}.weight": np.zeros(4)}, "down/W"),
    ):
        write_torch_file(place / "pytorch_adapter.bin", weights | changes)
        with pytest.raises(InputError, match=message):
            import_(place, tiny[1])
    (place / "pytorch_adapter.bin").unlink()
    with pytest.raises(InputError, match=r"has neither pytorch_adapter.bin nor adapter.safetensors"):
        import_(place, tiny[1])
    (place / "head_config.json").unlink()
    with pytest.raises(InputError, match=r"has no head_config.json; save the adapter with its head"):
        import_(place, tiny[1])
    with pytest.raises(InputError, match=r"has no adapter_config.json; expected a folder"):
        import_(place / "nowhere", tiny[1])


DOWN = "bert.encoder.layer.1.output.adapters.seq_bn.adapter_down.0.bias"


@pytest.mark.parametrize("dtype", ["F8_E4M3", "U16", "I64", "BOOL"])
def test_a_dtype_that_is_none_of_weights_is_refused_before_it_is_read(tiny, folder, dtype):
    """In a tensor of the adapter, of the head, and in one that has no place."""
    for config, file, name in (
        ("pytorch_adapter.bin", "adapter.safetensors", DOWN),
        ("pytorch_model_head.bin", "model_head.safetensors", "heads.seq_bn.4.bias"),
        ("pytorch_adapter.bin", "adapter.safetensors", "other"),
    ):
        place = folder("seq_bn")
        stored = open_tensors(place / config)
        arrays = {tensor: stored.read(tensor) for tensor in stored.stored} | {name: np.zeros(3, np.float32)}
        write_safetensors(place / file, arrays, {name: (dtype, [3])})
        (place / config).unlink()
        with pytest.raises(InputError) as caught:
            import_(place, tiny[1])
        expected = "has no place in" if name == "other" else f"tensor {name} has dtype {dtype}, expected one of F32"
        assert f"{place / file}: tensor {name}" in str(caught.value) and expected in str(caught.value)
        with (
            pytest.raises(InputError, match=f"has dtype {dtype}, which is not read")
            if dtype[0] in "FU"
            else nullcontext()
        ):
            open_tensors(place / file).read(name)
        shutil.rmtree(place)


def write_safetensors(path, arrays, others):
    """others: {tensor: (dtype, shape)} that are written as something else than they are, with zeros for numbers."""
    sizes, header, body = {"F8_E4M3": 1, "U16": 2, "I64": 8, "BOOL": 1, "F32": 4}, {}, b""
    for name, array in arrays.items():
        dtype, shape = others.get(name, ("F32", list(array.shape)))
        raw = bytes(sizes[dtype] * int(np.prod(shape, dtype=object))) if name in others else array.tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize("weights", ["pytorch_adapter.bin", "pytorch_model_head.bin"])
def test_a_name_that_would_break_the_line_of_a_message(tiny, folder, weights):
    place = folder("seq_bn")
    write_torch_file(place / weights, {})
    for config in ("adapter_config.json", "head_config.json"):
        if config[:4] in weights.replace("pytorch_", ""):
            file = json.loads((place / config).read_text())
            (place / config).write_text(json.dumps(file | {"name": "a\nb"}))
    with pytest.raises(InputError, match=r"has no tensor .*a\\nb") as caught:
        import_(place, tiny[1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 1 << 47, 1 << 40), (0,) * 70], ids=["huge", "many dimensions"])
def test_a_shape_that_numpy_cannot_make_is_refused(tiny, folder, shape):
    place = folder("seq_bn")
    stored = open_tensors(place / "pytorch_adapter.bin")
    arrays = {tensor: stored.read(tensor) for tensor in stored.stored}
    write_safetensors(place / "adapter.safetensors", arrays, {DOWN: ("F32", list(shape))})
    (place / "pytorch_adapter.bin").unlink()
    with pytest.raises(InputError, match=r"adapter_down.0.bias has the shape \(0, .*which is none that can be read"):
        import_(place, tiny[1])


def test_a_head_that_reads_a_pooler_needs_a_backbone_that_has_one(tiny):
    """A pooler of the task's own is in the folder."""
    backbone, of_file, batch = tiny
    params = {name: part for name, part in of_file.params.items() if name != "pooler"}
    without = replace(of_file, config=replace(of_file.config, pooler=False), params=params)
    with pytest.raises(InputError, match=r"head_config.json: the head reads BERT's own pooler, .* backbone has none"):
        import_(RECORDED / "par_bn", without)
    flat = {name: array for name, array in backbone.parameters().items() if not name.startswith("pooler/")}
    poor = Backbone(without.config, flat, backbone.tokenizer, of_file.fingerprint)
    for name in ("seq_bn", "double_seq_bn"):
        record, _ = import_(RECORDED / name, without)
        expected = Model.from_record(backbone, import_(RECORDED / name, of_file)[0]).forward(batch)
        np.testing.assert_array_equal(Model.from_record(poor, record).forward(batch), expected)


# ----------------------------------------------------------------------------------------------------------------- out


@pytest.mark.parametrize("name", sorted(set(FOLDERS) - {"old_release", "par_bn", "learned_scaling", "channel_scaling"}))
def test_what_is_exported_is_what_the_library_saved(tiny, tmp_path, name):
    """The same tensors under the same names, and settings that say the same. (Of the others the scaling is folded.)"""
    record, _ = import_(RECORDED / name, tiny[1])
    export(record, tmp_path / "out")
    for weights in ("pytorch_adapter.bin", "pytorch_model_head.bin"):
        safe = {"pytorch_adapter.bin": "adapter.safetensors", "pytorch_model_head.bin": "model_head.safetensors"}[
            weights
        ]
        theirs = open_tensors(
            next(path for path in (RECORDED / name / weights, RECORDED / name / safe) if path.exists())
        )
        for ours in (open_tensors(tmp_path / "out" / weights), open_tensors(tmp_path / "out" / safe)):
            assert ours.stored == theirs.stored
            for tensor in theirs.stored:
                np.testing.assert_array_equal(ours.read(tensor), theirs.read(tensor))
    for config in ("adapter_config.json", "head_config.json"):
        ours, theirs = (json.loads((place / config).read_text()) for place in (tmp_path / "out", RECORDED / name))
        ours.pop("minibert", None)
        assert set(ours) == set(theirs) and all(
            ours[key] == theirs[key] for key in ours if key not in ("config", "model_name")
        )
        factors = ours["config"].pop("reduction_factor", 6), theirs["config"].pop("reduction_factor", 6)
        assert {library_size(24, factor) for factor in factors} == {4}
        unused = {"activation_function"} if theirs["config"].get("layers") == 1 else set()
        unused |= {"label2id"} if record.head == "regress" else set()
        same = set(ours["config"]) - unused
        assert {key: ours["config"][key] for key in same} == {key: theirs["config"].get(key) for key in same}


@pytest.mark.parametrize("adapter, head, options", [
    (AdapterConfig(5), "classify", {}),
    (AdapterConfig(49, reads_norm=True), "classify", {"pooled": True}),
    (AdapterConfig(5, parallel=True, layers=(1,)), "span", {"pooled": True, "train_pooler": True}),
    (AdapterConfig(5, layernorm=True, layernorm_eps=1e-5), "regress", {"train_layernorm": False}),
    (AdapterConfig(5), "multilabel", {}),
    (AdapterConfig(5), "multilabel", {"pooled": True, "train_pooler": True}),
], ids=["double_seq_bn", "seq_bn", "parallel", "ln_before", "several labels", "several, own pooler"])  # fmt: skip
def test_a_task_comes_back_bit_for_bit(tiny, tmp_path, adapter, head, options):
    model, record = trained_task(tiny, adapter, head, {"regress": 1, "span": 2}.get(head, 3), **options)
    export(record, tmp_path / "out")
    again, notes = import_(tmp_path / "out", tiny[1])
    assert (again.name, again.labels, again.dev, notes) == ("tea", record.labels, {"accuracy": 0.75}, [])
    assert again.adapter == replace(record.adapter, init_std=again.adapter.init_std)
    assert again.model_options == record.model_options
    assert again.training["pairs"] is False and again.training["train"] == {"max_length": 12}
    assert set(again.params) == set(record.params)
    for name, array in record.params.items():
        np.testing.assert_array_equal(again.params[name], array)
    np.testing.assert_array_equal(Model.from_record(tiny[0], again).forward(tiny[2]), model.forward(tiny[2]))


def test_a_task_of_several_labels_is_the_librarys_multilabel_classification(tiny, tmp_path):
    _, record = trained_task(tiny, AdapterConfig(4), "multilabel")
    export(record, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "head_config.json").read_text())["config"]
    assert (config["head_type"], config["num_labels"], config["layers"]) == ("multilabel_classification", 3, 1)
    assert config["label2id"] == {"label 0": 0, "label 1": 1, "label 2": 2}
    assert "the sigmoid of `scores.logits`" in (tmp_path / "out" / "README.md").read_text()
    again, _ = import_(tmp_path / "out", tiny[1])
    assert (again.head, again.labels) == ("multilabel", ("label 0", "label 1", "label 2"))


@pytest.mark.parametrize("adapter, message", [
    (AdapterConfig(4, depth=2), "has adapters of depth 2"),
    (AdapterConfig(4, multiplicative=True), "has multiplicative adapters"),
    (AdapterConfig(4, layernorm=True), "with the epsilon 1e-12, and the library's have 1e-05: train with"),
])  # fmt: skip
def test_what_the_library_cannot_hold_is_refused_by_name(tiny, tmp_path, adapter, message):
    with pytest.raises(InputError, match=message):
        export(trained_task(tiny, adapter)[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_task_without_adapters_and_a_folder_that_is_in_use_are_refused(tiny, tmp_path):
    model = Model(tiny[0], n_out=2, method="layernorm")
    with pytest.raises(InputError, match="was tuned by method layernorm and has no adapters"):
        export(model.to_record("tea", ["a", "b"]), tmp_path / "out")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty; give a new folder"):
        export(trained_task(tiny, AdapterConfig(4))[1], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("task, name", [
    ("sst2", "sst2"), ("train", "task_train"), ("half", "task_half"), ("a.b", "a_b"), ("my task", "my_task"),
    ("_", "task__"), ("größe-2", "größe-2"),
])  # fmt: skip
def test_names_that_the_library_cannot_load_are_changed_and_told(tiny, tmp_path, task, name):
    record = replace(trained_task(tiny, AdapterConfig(4))[1], name=task)
    exported = export(record, tmp_path / "out")
    assert exported.name == library_name(task) == name
    assert exported.notes == (
        [] if task == name else [f"the task is called {name} there: the library cannot load the name {task}"]
    )
    assert import_(tmp_path / "out", tiny[1])[0].name == task


def test_the_readme_tells_how_to_load_it_and_what_stays_behind(tiny, tmp_path):
    export(trained_task(tiny, AdapterConfig(4))[1], tmp_path / "trained")
    export(trained_task(tiny, AdapterConfig(4), train_layernorm=False)[1], tmp_path / "frozen")
    trained, frozen = ((tmp_path / name / "README.md").read_text() for name in ("trained", "frozen"))
    for text in (trained, frozen):
        assert 'AutoAdapterModel.from_pretrained("BACKBONE")' in text and '["label 0", "label 1", "label 2"]' in text
        assert "accuracy 0.7500" in text and "max_length=12" in text and tiny[1].fingerprint[:12] in text
    assert "`delete_adapter('tea')` does not put the model's own back" in trained and "delete_adapter" not in frozen


def test_every_size_survives_the_reduction_factor():
    """And the file: JSON gives back the same float. D / M itself loses many."""
    wrong = []
    for D in (*range(1, 200), 312, 384, 512, 768, 1024):
        for M in range(1, 2 * D + 1):
            assert library_size(D, json.loads(json.dumps(reduction_factor(D, M)))) == M, (D, M)
            wrong += [(D, M)] * (library_size(D, D / M) != M)
    assert (128, 5) in wrong


def test_a_folder_knows_the_config_of_its_backbone(tiny, tmp_path):
    """The fingerprint is of the weights, and does not tell how many heads compute with them."""
    backbone, of_file, _ = tiny
    _, record = trained_task(tiny, AdapterConfig(4))
    export(record, tmp_path / "out")
    assert import_(tmp_path / "out", of_file)[0].backbone_config == backbone.config
    other = replace(of_file, config=replace(backbone.config, n_heads=1))
    with pytest.raises(
        InputError, match=r"was exported from a backbone of the same weights .*: n_heads is . there, 1 here"
    ):
        import_(tmp_path / "out", other)
    import_(tmp_path / "out", replace(of_file, config=replace(backbone.config, hidden_dropout=0.5)))
    file = tmp_path / "out" / "adapter_config.json"
    own = json.loads(file.read_text())
    own["minibert"]["backbone_config"] = {"n_heads": "many"}
    file.write_text(json.dumps(own))
    with pytest.raises(InputError, match=r"minibert's backbone_config: BertConfig is incomplete"):
        import_(tmp_path / "out", of_file)
    del own["minibert"]["backbone_config"]  # as older versions wrote it
    file.write_text(json.dumps(own))
    import_(tmp_path / "out", of_file)
