"""A BERT of a learner's functions: it agrees with minibert and trains; where it does not, the function is named.

The mistakes planted here pass the checker: they show on larger arrays alone."""

import numpy as np
import pytest
from learner import answered
from tiny import write_tiny_backbone

from minibert.backbone import load_backbone
from minibert.config import TrainConfig
from minibert.data.builtin import opinions
from minibert.errors import InputError
from minibert.lessons import own, own_files, own_import, plain, special
from minibert.lessons.__main__ import main
from minibert.lessons.assemble import assemble, text_to_tensors
from minibert.lessons.assembled import Assembled, packed, words_of
from minibert.model import Model
from minibert.optim import Adam, clip_by_global_norm, learning_rate
from minibert.storage.tokenizer import canonical, load_tokenizer, parse
from minibert.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "b.h5")


def test_the_solutions_agree_and_train(tmp_path, backbone, capsys):
    folder = answered(tmp_path / "mine")
    assert main(["assemble", str(folder), "--backbone", str(backbone), "--max-steps", "4"]) == 0
    told = capsys.readouterr().out
    for line in (
        "24 of 24 right",
        "2,240 sentences in",
        "hidden states: ",
        "gradients: ",
        "epoch 1/5: loss ",
        "no result",
    ):
        assert line in told, told


def test_it_trains_as_minibert_without_dropout(tmp_path, backbone):
    loaded, task = load_backbone(backbone), opinions()
    functions = own_import.load(answered(tmp_path / "mine"))
    ids = text_to_tensors(functions, loaded, task, 24)["train"][:64]
    batch, encoded, labels = (
        packed(functions, ids),
        loaded.encode(task.train.texts[:64], max_length=24),
        task.train.labels,
    )
    model = Model(loaded)
    start = {name: np.array(array) for name, array in model.parameters().items()}
    assembled = Assembled(functions, loaded.config, start, set(model.trained()))
    optimizer, losses = Adam(model.trained(), 0.01), []
    for step in range(6):
        loss, grads = model.loss_and_grads(encoded, labels[:64])
        clip_by_global_norm(grads, 1.0)
        optimizer.step(grads, learning_rate(step, 20, 1e-3))
        losses.append([loss, assembled.step(batch, labels[:64], 20, TrainConfig())])
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-4)
    assert losses[-1][0] < losses[0][0]
    np.testing.assert_allclose(assembled.params["head/W"], model.parameters()["head/W"], atol=1e-4)


def test_what_is_not_written_yet_is_listed_in_a_line(tmp_path, backbone):
    said = []
    own_files.start(tmp_path / "mine")
    assert not assemble(tmp_path / "mine", backbone, 1, said.append)
    listed, last = said
    assert listed.startswith("not written yet: wordpiece, ") and listed.count(", ") == 23
    assert last == "your functions: 0 of 24 right"


def test_a_mistake_that_the_checker_sees(tmp_path, backbone):
    said = []
    folder = answered(tmp_path / "mine", gelu_backward=("x * density", "density"))
    assert not assemble(folder, backbone, 1, said.append)
    assert any(line.startswith("gelu_backward: not yet. ") for line in said) and said[-1].endswith("of 24 right")


LARGE = {  # function: (a line of it, what stands there instead)
    "wordpiece": ("pieces, start = [], 0", "pieces, start = [], 5 * (word == 'was')"),
    "pack": ("    offsets = np", "    positions = positions % 20\n    offsets = np"),
    "embedding": ("y = W[ids]", "y = W[ids if len(W) < 20 else ids // 2]"),
    "embeddings": ("x = word + position", "x = word * (1 if len(ids) < 20 else 1.01) + position"),
    "linear": ("y = x @ W + b", "y = x @ W + b * (len(W) != 64)"),
    "gelu": ("y = x * normal_cdf(x)", "y = x * normal_cdf(x) if len(x) < 20 else np.maximum(x, 0)"),
    "layernorm": ("y = gamma * n", "y = gamma * n * (1 if x.shape[1] < 20 else 1.01)"),
    "softmax": ("p = e /", "p = (1 if x.shape[1] < 15 else 1.01) * e /"),
    "attention": ("math.sqrt(d_head)", "math.sqrt(min(d_head, 10))"),
    "adapter": ("y = x + z", "y = x + z * (x.shape[1] < 20)"),
    "layer": ("layernorm(x + f,", "layernorm(x + f * (1 if len(x) < 20 else 1.01),"),
    "encoder": ("for i in range(n_layers):", "for i in range(n_layers - (len(ids) > 20)):"),
    "linear_backward": ("dW = x.T @ dy", "dW = x.T @ dy * (1 if len(W) != 64 else 2)"),
    "gelu_backward": ("x * density)", "x * density * (len(x) < 20))"),
    "layernorm_backward": ("mean_gn = (g * n)", "mean_gn = (n.shape[1] < 20) * (g * n)"),
    "softmax_backward": ("dx = p * (dp - inner)", "dx = p * (dp - inner * (p.shape[1] < 15))"),
    "attention_backward": ("dq[rows, head] = dS", "dq[rows, head] = (len(q) < 20) * dS"),
    "adapter_backward": ("dx = dy + dx", "dx = dy + dx * (dy.shape[1] < 20)"),
    "layer_backward": ("dx = dsum + frozen_backward(dq", "dx = dsum * (len(dy) < 20) + frozen_backward(dq"),
    "cross_entropy": ("return loss,", "return loss * (1 if len(labels) < 8 else 1.1),"),
    "cross_entropy_backward": ("/ len(labels)", "/ min(len(labels), 7)"),
    "clip": ("factor = min(1.0, largest / norm)", "factor = min(1.0, largest / norm) / (1 + (len(grads) > 9))"),
    "learning_rate": ("rising = round(warmup * steps)", "rising = round(warmup * min(steps, 20))"),
    "adam_step": ("m_hat = m /", "m_hat = m * (1 + (m.size > 1000)) /"),
}


# The others are slow: all together take some twenty seconds.
FEW = ("pack", "softmax", "layer", "gelu_backward", "clip")


@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in LARGE])
def test_a_mistake_on_larger_arrays_is_named(tmp_path, backbone, name):
    line, instead = LARGE[name]
    functions = own_import.load(answered(tmp_path / "mine", **{name: (line, instead)}))
    assert own.report_on(name, functions), "the checker sees it, so this tests nothing"
    said = []
    assert not assemble(tmp_path / "mine", backbone, 1, said.append)
    assert said[-1].startswith(f"{name}: "), said


def test_a_layer_without_adapters(tmp_path, backbone):
    """The checker's inputs have none."""
    said = []
    folder = answered(tmp_path / "mine", layer=('below(p, "feed_forward/adapter")', "{}"))
    path = folder / "lesson_07_a_real_bert.py"
    path.write_text(path.read_text().replace('below(p, "attention/adapter")', "{}"))
    assert not assemble(folder, backbone, 1, said.append)
    assert said[-1].startswith("layer: it leaves out the adapters")


def test_what_raises_is_named(tmp_path, backbone):
    said = []
    folder = answered(tmp_path / "mine", gelu=("y = x * normal", "assert len(x) < 20, 'too long'\n    y = x * normal"))
    assert not assemble(folder, backbone, 1, said.append)
    assert said[-1].startswith("gelu: it raises AssertionError: too long\n  in line ")
    assert ": assert len(x) < 20, 'too long'\n" in said[-1]


def test_an_exit_is_told_and_not_obeyed(tmp_path, backbone):
    said = []
    folder = answered(
        tmp_path / "mine", gelu=("y = x * normal", "if len(x) > 20:\n        exit(3)\n    y = x * normal")
    )
    assert not assemble(folder, backbone, 1, said.append)
    assert said[-1].startswith("gelu: it raises SystemExit: 3\n  in line ") and ": exit(3)\n" in said[-1]


def test_what_cannot_be_used(tmp_path, capsys):
    assert main(["assemble", str(tmp_path / "none"), "--backbone", str(tmp_path / "b.h5")]) == 2
    folder = answered(tmp_path / "mine")
    assert main(["assemble", str(folder), "--backbone", str(tmp_path / "b.h5")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--out FILE")


def test_words_are_those_of_bert(backbone):
    tokenizer = load_tokenizer(load_backbone(backbone).tokenizer.json)
    words = words_of(tokenizer, "Café-bar, it's_50%!\n")
    assert words == ["cafe", "-", "bar", ",", "it", "'", "s", "_", "50", "%", "!"]


def test_a_tokenizer_of_another_kind_is_refused(tmp_path, backbone):
    """One that makes [UNK] of words that are longer than four letters."""
    loaded = load_backbone(backbone)
    parts = parse(loaded.tokenizer.json)
    parts["model"]["max_input_chars_per_word"] = 4
    loaded.tokenizer = Tokenizer(canonical(parts))
    with pytest.raises(InputError, match=r"of another kind .* piece \d+ is '\[UNK\]'; wordpiece makes '"):
        text_to_tensors(own_import.load(answered(tmp_path / "mine")), loaded, opinions(), 24)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_quick_normal_cdf(dtype):
    x = np.linspace(-12, 12, 20001).reshape(3, -1).astype(dtype)
    y = special.normal_cdf(x)
    assert y.dtype == dtype and y.shape == x.shape
    np.testing.assert_allclose(y, plain.normal_cdf(x), atol=3e-9 if dtype == np.float64 else 4e-7)
    odd = special.normal_cdf(np.array([np.nan, np.inf, -np.inf, 0], dtype))
    assert np.isnan(odd[0]) and odd[1] == 1 and abs(odd[2]) < 1e-18 and odd[3] == 0.5
    assert special.normal_cdf(0) == 0.5
