"""Checkpoints that PyTorch and transformers write themselves, and theirs that load what we write."""

import numpy as np
import pytest
import torch
from checkpoint import run_command
from safetensors.torch import save_file
from small_models import options_of
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizer,
    pipeline,
)

from minibert import Model, load_backbone
from minibert.gradcheck import away_from_identity
from minibert.storage import read_backbone, write_bank
from weights_convert.torch_file import read_torch_file, write_torch_file

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "The", "tea", "was", "##s", "é"]
CASED = {"hidden_size": 24, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 48}
ODD = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 37}
SIZES = {"12 layers, cased": CASED, "D = 96, H = 3, F = 37": ODD}


def simple_numbers(model):
    """Numbers that bfloat16 and float16 hold exactly, so that every layout has the same."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-127, 128, parameter.shape) / 128)
    return model


def legacy(model, folder):
    torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def sharded_bin(model, folder):
    model.save_pretrained(folder, safe_serialization=False, max_shard_size="20KB")
    assert len(list(folder.glob("pytorch_model-*.bin"))) > 2


def sharded(model, folder):
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def with_head(kind):
    """The same encoder in a model with a head, saved as transformers saves it."""

    def save(model, folder):
        other = kind(model.config)
        missing = other.bert.load_state_dict(model.state_dict(), strict=False)
        assert not missing.missing_keys
        other.save_pretrained(folder)

    return save


LAYOUTS = {
    "safetensors": lambda model, folder: model.save_pretrained(folder),
    "sharded": sharded,
    "bfloat16": lambda model, folder: model.to(torch.bfloat16).save_pretrained(folder),
    "float16": lambda model, folder: model.half().save_pretrained(folder),
    "bin zip": lambda model, folder: torch.save(model.state_dict(), folder / "pytorch_model.bin"),
    "bin legacy": legacy,
    "bin legacy bfloat16": lambda model, folder: legacy(model.to(torch.bfloat16), folder),
    "bin of parameters": lambda model, folder: torch.save(dict(model.named_parameters()), folder / "pytorch_model.bin"),
    "bin zip float16": lambda model, folder: torch.save(model.half().state_dict(), folder / "pytorch_model.bin"),
    "bin sharded": sharded_bin,
    "masked words": with_head(BertForMaskedLM),
    "pre-training": with_head(BertForPreTraining),
    "a classifier": with_head(BertForSequenceClassification),
    "tokens": with_head(BertForTokenClassification),
    "questions": with_head(BertForQuestionAnswering),
    "without pooler": lambda model, folder: save_file(
        {n: t for n, t in model.state_dict().items() if "pooler" not in n}, folder / "model.safetensors"
    ),
}


def convert(capsys, folder, *more):
    result = run_command(capsys, "to-hdf5", folder, "--out", folder / "b.h5", *more)
    assert result.code == 0, result.err
    return read_backbone(folder / "b.h5"), result.out


@pytest.mark.parametrize("size", SIZES)
def test_every_layout_of_the_same_numbers_gives_the_same_encoder(tmp_path, capsys, size):
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=20, **SIZES[size])
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    fingerprints = {}
    for layout, save in LAYOUTS.items():
        folder = tmp_path / layout
        folder.mkdir()
        torch.manual_seed(0)
        save(simple_numbers(BertModel(config)), folder)
        BertTokenizer(tmp_path / "vocab.txt", do_lower_case=False).save_pretrained(folder)
        config.save_pretrained(folder)
        backbone, out = convert(capsys, folder)
        assert ("cls.predictions.bias" in out) == (layout in ("masked words", "pre-training"))
        fingerprints[layout] = backbone.encoder_fingerprint
        with capsys.disabled():
            print(f"\n{size}, {layout}: {backbone.encoder_fingerprint[:12]}, pooler {backbone.config.pooler}", end="")
    assert len(set(fingerprints.values())) == 1


@pytest.mark.parametrize("new", [True, False])
def test_bin_files_of_torch_are_read_bit_for_bit(tmp_path, new):
    torch.manual_seed(0)
    tensors = {
        "a": torch.randn(5, 7),
        "half": torch.randn(3).half(),
        "long": torch.arange(9)[None],
        "f64": torch.ones(2).double(),
    }
    tensors |= {
        "view": torch.randn(6, 4).T[1:, ::2],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "é": torch.ones(1),
    }
    tensors["tied"] = tensors["a"]
    torch.save(tensors, tmp_path / "x.bin", _use_new_zipfile_serialization=new)
    file = read_torch_file(tmp_path / "x.bin")
    assert list(file.tensors) == list(tensors)
    for name, tensor in tensors.items():
        found, expected = file.read(name), tensor.contiguous().numpy()
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    bits = torch.randn(50).bfloat16()
    torch.save({"x": bits}, tmp_path / "x.bin", _use_new_zipfile_serialization=new)
    assert read_torch_file(tmp_path / "x.bin").read("x").tobytes() == bits.float().numpy().tobytes()


def test_torch_loads_the_bin_files_that_are_written(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.standard_normal((5, 7)).astype(np.float32).T, "é": np.zeros((0, 2), np.float32)}
    arrays["scalar"] = np.float32(3)
    write_torch_file(tmp_path / "x.bin", arrays)
    for mapped in (False, True):
        found = torch.load(tmp_path / "x.bin", weights_only=True, mmap=mapped)
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == torch.float32 and found[name].shape == np.shape(array)
            assert found[name].numpy().tobytes() == np.asarray(array).tobytes()


# --------------------------------------------------------------------------------------------------------- tasks out


@pytest.fixture(scope="module")
def backbone(backbone_path):
    return load_backbone(backbone_path)


def export(capsys, backbone, backbone_path, folder, labels=(), **options):
    """A task whose numbers were moved, as a folder of transformers; gives its model."""
    method, head = options.pop("method"), options["head"]
    n_out = len(labels) or (1 if head == "regress" else 2)
    model = Model(backbone, n_out=n_out, method=method, **options, **options_of(method, top_k=2))
    away_from_identity(model, std=0.02)
    write_bank(folder.with_suffix(".h5"), {"mine": model.to_record("mine", labels)})
    result = run_command(capsys, "to-hf", backbone_path, "--bank", folder.with_suffix(".h5"), "--out", folder)
    assert result.code == 0, result.err
    return model


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("head", ["classify", "multilabel", "regress"])
@pytest.mark.parametrize("method", ["full", "top_k", "layernorm", "head"])
def test_tuned_tasks_score_as_in_transformers(capsys, backbone, backbone_path, texts, tmp_path, method, head, pooled):
    labels = ("no", "yes", "perhaps") if head != "regress" else ()
    options = {"method": method, "head": head, "pooled": pooled}
    model = export(capsys, backbone, backbone_path, tmp_path / "hf", labels, **options)
    ours = model.forward(backbone.encode(texts[0]))
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    with torch.no_grad():
        logits = theirs(
            **tokenizer(texts[0], padding=True, truncation=True, max_length=128, return_tensors="pt")
        ).logits
    worst = np.abs(ours - logits.numpy()).max()
    with capsys.disabled():
        print(f"\n{method} {head} pooled={pooled}: {len(ours)} texts, largest difference {worst:.1e}", end="")
    assert worst <= 2e-5 and np.ptp(ours) > 0.02
    if head == "classify":
        answer = pipeline("text-classification", theirs, tokenizer=tokenizer)(texts[0][0])[0]
        assert answer["label"] == labels[ours[0].argmax()]
    if head == "multilabel":  # what problem_type is for: each label has a probability of its own
        answers = pipeline("text-classification", theirs, tokenizer=tokenizer, top_k=None)(texts[0][:1])[0]
        found = {answer["label"]: answer["score"] for answer in answers}
        np.testing.assert_allclose([found[label] for label in labels], 1 / (1 + np.exp(-ours[0])), atol=1e-5)


def test_spans_score_as_in_transformers(capsys, backbone, backbone_path, texts, tmp_path):
    model = export(capsys, backbone, backbone_path, tmp_path / "hf", method="full", head="span")
    batch = backbone.encode(*texts[1])
    ours = model.forward(batch)
    theirs = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "hf").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    inputs = tokenizer(*texts[1], padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        out = theirs(**inputs)
    mask = inputs["attention_mask"].numpy().astype(bool)
    found = np.stack([out.start_logits.numpy()[mask], out.end_logits.numpy()[mask]], axis=1)
    worst = np.abs(ours - found).max()
    with capsys.disabled():
        print(f"\nspan: {len(ours)} tokens, largest difference {worst:.1e}", end="")
    assert worst <= 2e-5


def test_a_backbone_without_a_pooler_loads(capsys, backbone, texts, hf_folder, tmp_path):
    BertModel.from_pretrained(hf_folder, add_pooling_layer=False).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(hf_folder).save_pretrained(tmp_path)
    found, _ = convert(capsys, tmp_path)
    assert not found.config.pooler
    assert run_command(capsys, "to-hf", tmp_path / "b.h5", "--out", tmp_path / "back").code == 0
    theirs, info = BertModel.from_pretrained(tmp_path / "back", add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and theirs.pooler is None
    ours = load_backbone(tmp_path / "b.h5")
    assert np.array_equal(ours.forward(ours.encode(texts[0][:5])), backbone.forward(backbone.encode(texts[0][:5])))
