"""What the heads take, give and refuse; and that a new kind of task is one new record."""

import json
import re

import numpy as np
import pytest
from small_models import TEXTS, encode, make_model
from tiny import ROOT, random_texts, write_tiny_backbone

from minibert import AdapterConfig, Model, heads
from minibert.cli import main
from minibert.config import HEADS, TrainConfig
from minibert.data.checks import check_task
from minibert.data.task import Examples, Task
from minibert.errors import InputError
from minibert.evaluate import predict
from minibert.gradcheck import check_gradients, tiny_batch, tiny_model
from minibert.heads import RECORDS, Head
from minibert.losses import squared_error
from minibert.train import Training


def test_a_regression_has_one_score_a_text(backbone):
    model, batch = make_model(backbone, head="regress", n_out=1), encode(backbone, TEXTS, pairs=TEXTS[::-1])
    assert model.predict(batch).shape == (4,)
    targets = np.array([0.0, 1.0, 2.5, 5.0])
    loss, _ = model.loss_and_grads(batch, targets)
    assert loss == pytest.approx(np.mean((model.predict(batch) - targets) ** 2), rel=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, "2.5", None, True, 1j], ids=repr)
def test_a_target_that_is_no_finite_number_is_refused(backbone, wrong):
    """It would be an infinite loss, or a number that nobody meant."""
    model, batch = make_model(backbone, head="regress", n_out=1), encode(backbone, TEXTS)
    labels = [wrong] * 4 if isinstance(wrong, bool) else [0.5, wrong, 1, 2]
    for compute in (model.loss, model.loss_and_grads):
        with pytest.raises(InputError, match="labels must be finite numbers"):
            compute(batch, labels)
    assert model.loss(batch, [0, 1, 2, 3]) > 0


def test_squared_error_by_hand():
    loss, dscores = squared_error(np.array([[3.0], [1.0]]), np.array([1.0, 4.0]), None)
    assert loss == (4 + 9) / 2
    np.testing.assert_array_equal(dscores, [[2], [-3]])


@pytest.mark.parametrize("head", HEADS)
def test_every_head_has_a_record_and_labels_that_fit_it(head):
    record, n_out, lengths = RECORDS[head], HEADS[head] or 3, np.array([5, 3, 4])
    record.check_outputs(n_out)
    labels = record.to_labels(record.example_labels(n_out), n_out, lengths)
    assert len(labels) == len(lengths)
    with pytest.raises(InputError, match="labels must be"):
        record.to_labels(labels[:2], n_out, lengths)
    with pytest.raises(InputError, match=f"head {head} needs"):
        record.check_outputs(0)


@pytest.mark.parametrize("head", HEADS)
def test_no_texts_have_no_scores(head, backbone):
    """An empty array of the shape that many texts give, but for their number."""
    model = make_model(backbone, head=head, n_out=HEADS[head] or 3)
    nothing, some = (predict(model, encode(backbone, texts)) for texts in ([], TEXTS))
    assert nothing.shape == (0, *some.shape[1:]) and nothing.dtype == some.dtype
    assert model.forward(encode(backbone, [])).shape == (0, model.n_out)


# --------------------------------------------------------------------- a new kind of task: how often something happens


def poisson_loss(scores, counts, offsets):
    """Mean of rate - count score with rate = exp(score), the negative log-likelihood but for log(count!).

    (B, 1), (B,) -> (loss, dscores (B, 1))
    """
    rates = np.exp(scores[:, 0].astype(np.float64))
    dscores = ((rates - counts) / len(counts)).astype(scores.dtype)[:, None]
    return float(np.mean(rates - counts * scores[:, 0])), dscores


def counts_from(labels, n_out, lengths):
    if labels.shape != (len(lengths),) or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise InputError("labels must be whole numbers from 0 on, one a sequence")
    return labels


@pytest.fixture
def count_head(monkeypatch):
    """What the author of a new head writes: a record, and its number of outputs."""
    record = Head(
        "count",
        loss=poisson_loss,
        to_labels=counts_from,
        to_prediction=lambda scores: np.exp(scores[:, 0]),
        describe=lambda rate, names: ([f"{rate:.2f}"], {"rate": float(rate)}),
        example_labels=lambda n_out: np.array([0, 3, 1]),
    )
    monkeypatch.setitem(heads.RECORDS, "count", record)
    monkeypatch.setitem(HEADS, "count", 1)
    return record.name


@pytest.mark.parametrize("dropout_step", [None, 5], ids=["no dropout", "dropout"])
def test_the_gradients_of_a_new_head_are_checked_like_all(count_head, dropout_step):
    model = tiny_model("adapter", count_head)
    checks = check_gradients(model, *tiny_batch(model.config, count_head), dropout_step)
    assert {check.name for check in checks} == set(model.trained())
    assert [check for check in checks if not check.passed] == []
    assert [check.name for check in checks if check.zero] == []  # adapters train no key bias


def test_a_new_head_trains_is_kept_in_a_bank_and_predicts(count_head, backbone, tmp_path, capsys):
    """Its labels are the number of commas and full stops: by heart."""
    texts, _ = random_texts(24)
    counts = np.array([text.count(",") + text.count(".") for text in texts])
    examples = Examples(texts, None, counts)
    task = Task("stops", count_head, (), ("pearson",), examples, {"dev": examples})
    assert check_task(task).n_out == 1
    model = Model(backbone, count_head, task.n_out, adapter=AdapterConfig(16))
    before, batch = model.loss(encode(backbone, texts), counts), encode(backbone, texts)
    settings = TrainConfig(lr=1e-2, epochs=40, batch_size=8, max_length=24)
    training = Training(model, task, settings, tmp_path / "run", quiet=True)
    result = training.run()
    assert result["finished"] and result["dev"]["pearson"] > 0.8
    best = training.best_model()
    assert best.loss(batch, counts) < before - 0.3
    rates = best.predict(batch)
    assert rates.shape == (24,) and (rates > 0).all() and np.abs(rates - counts).mean() < 0.5

    capsys.readouterr()
    backbone_file = str(write_tiny_backbone(tmp_path / "tiny.h5"))
    command = ["predict", "--backbone", backbone_file, "--bank", str(tmp_path / "run"), *texts[:3]]
    assert main([*command, "--json"]) == 0
    printed = [json.loads(line)["rate"] for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(printed, rates[:3], rtol=1e-4)


def test_no_other_file_asks_which_head_it_is():
    """Else a new head would have to be added there, too: a question for its record to answer."""
    files = [file for file in sorted((ROOT / "minibert").rglob("*.py")) if file.name != "heads.py"]
    files = [file for file in files if "lessons" not in file.parts]  # there, a head is one of attention
    asks = re.compile(r"""head\b\s*(==|!=|in\b)|(==|!=)\s*["'](classify|regress|span|multilabel)["']""")
    lines = [(file.name, line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert asks.search('if task.head == "span":') and asks.search("if record.head in (1, 2):")
    assert [line for line in lines if asks.search(line[1])] == []
    assert len(files) > 40


def test_a_new_head_refuses_what_does_not_fit_it(count_head, backbone):
    with pytest.raises(InputError, match="count needs exactly 1"):
        Model(backbone, count_head, 2)
    model = Model(backbone, count_head, 1)
    for labels in ([0, 1, -1, 2], [0.5, 1, 1, 1], [1, 2]):
        with pytest.raises(InputError, match="whole numbers from 0 on"):
            model.loss(encode(backbone, TEXTS), labels)
