"""scikit-learn's interface: the same bits as `minibert train`, and every use that scikit-learn has for an estimator."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_checks
from tiny import environment, random_texts, write_csv, write_tiny_backbone

from minibert import InputError, load_backbone
from minibert.cli import main
from minibert.estimator import SETTINGS, AdapterClassifier, AdapterRegressor
from minibert.storage import add_task, read_bank

FAST = {"adapter_size": 4, "lr": 1e-2, "epochs": 2, "batch_size": 8, "max_length": 24}
TEXTS, LABELS = random_texts(40)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.h5"))


@pytest.fixture(scope="module")
def fitted(path):
    return AdapterClassifier(path, **FAST).fit(TEXTS, LABELS)


def by_commands(path, folder, capsys, columns, *flags):
    """result.json of `minibert train` on the rows of columns, and what `minibert predict` prints of their texts."""
    data = write_csv(folder / "rows.csv", columns)
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in FAST.items()]
    own = ["--task=csv", f"--data={data}", "--text-column=text", "--label-column=label", "--test-share=0", *flags]
    assert main(["train", f"--backbone={path}", f"--out={folder / 'run'}", *own, *settings]) == 0
    texts = folder / "texts.txt"
    texts.write_text("".join("\t".join(row) + "\n" for row in zip(*list(columns.values())[:-1], strict=True)))
    capsys.readouterr()
    assert not main(["predict", f"--backbone={path}", f"--bank={folder / 'run'}", f"--file={texts}", "--json"])
    return json.loads((folder / "run" / "result.json").read_text()), list(
        map(json.loads, capsys.readouterr().out.splitlines())
    )


def test_a_classifier_gives_the_bits_of_the_command(path, tmp_path, capsys):
    result, answers = by_commands(
        path, tmp_path, capsys, {"text": TEXTS, "label": LABELS}, "--seed=3", "--split-seed=5"
    )
    classifier = AdapterClassifier(path, seed=3, split_seed=5, **FAST).fit(np.array(TEXTS), LABELS)
    assert classifier.result_["dev"] == result["dev"] and classifier.result_["best_epoch"] == result["best_epoch"]
    assert classifier.result_["settings"]["data_whole"] == result["settings"]["data_whole"]
    printed = np.array([[answer["probabilities"][name] for name in ("no", "yes")] for answer in answers])
    assert np.array_equal(classifier.predict_proba(TEXTS), printed)
    assert classifier.predict(TEXTS).tolist() == [answer["label"] for answer in answers]
    other = AdapterClassifier(path, seed=4, split_seed=5, **FAST).fit(TEXTS, LABELS)
    assert not np.array_equal(other.predict_proba(TEXTS), printed)


def test_the_choices_of_the_command_are_settings_here(path, tmp_path, capsys):
    flags = ["--metric=macro_f1", "--class-weights=balanced", "--patience=1"]
    result, answers = by_commands(path, tmp_path, capsys, {"text": TEXTS, "label": LABELS[:30] + ["yes"] * 10}, *flags)
    settings = FAST | {"metric": "macro_f1", "class_weights": "balanced", "patience": 1}
    classifier = AdapterClassifier(path, **settings).fit(TEXTS, LABELS[:30] + ["yes"] * 10)
    assert classifier.result_["dev"] == result["dev"] and "macro_f1" in result["dev"]
    assert classifier.predict_proba(TEXTS)[:, 1].tolist() == [answer["probabilities"]["yes"] for answer in answers]


def test_a_regressor_of_pairs_gives_the_bits_of_the_command(path, tmp_path, capsys):
    pairs = [tuple(text.split("\t")) for text in random_texts(30, pairs=True)[0]]
    scores = np.random.default_rng(0).normal(size=30)
    first, second = zip(*pairs, strict=True)
    columns = {"text": first, "pair": second, "label": [repr(float(score)) for score in scores]}
    result, answers = by_commands(path, tmp_path, capsys, columns, "--pair-column=pair", "--regress")
    regressor = AdapterRegressor(path, **FAST).fit(pairs, scores)
    assert regressor.result_["dev"] == result["dev"] and regressor.n_features_in_ == 2
    predicted = regressor.predict(pairs)
    assert predicted.tolist() == [answer["score"] for answer in answers]
    assert regressor.score(pairs, scores) == r2_score(scores, predicted)


@pytest.mark.parametrize(
    "labels", [["b", "a", "é"], [10, 9, -1], [True, False], [2.0, 1.0], np.array(["x", "y"], object)], ids=str
)
def test_labels_are_of_any_kind(path, labels):
    y = np.array([labels[i % len(labels)] for i in range(len(TEXTS))], np.asarray(labels).dtype)
    classifier = AdapterClassifier(path, **FAST).fit(TEXTS, y)
    assert classifier.classes_.tolist() == np.unique(y).tolist() and classifier.classes_.dtype == y.dtype
    predicted, probabilities = classifier.predict(TEXTS), classifier.predict_proba(TEXTS)
    assert predicted.dtype == y.dtype and predicted.tolist() == y[:0].tolist() + [
        classifier.classes_[row].item() if y.dtype != object else classifier.classes_[row]
        for row in probabilities.argmax(axis=1)
    ]
    assert probabilities.shape == (40, len(labels)) and np.allclose(probabilities.sum(axis=1), 1)
    assert classifier.score(TEXTS, y) == accuracy_score(y, predicted)


def test_the_decision_function_is_the_logits(path, fitted):
    margin, p = fitted.decision_function(TEXTS), fitted.predict_proba(TEXTS)
    assert margin.shape == (40,) and np.allclose(1 / (1 + np.exp(-margin)), p[:, 1])
    assert ((margin > 0) == (fitted.predict(TEXTS) == "yes")).all()
    three = AdapterClassifier(path, **FAST).fit(TEXTS, np.arange(40) % 3)
    margins = three.decision_function(TEXTS)
    model, backbone = three._fitted_model(), load_backbone(path)
    logits = model.forward(backbone.encode(TEXTS, max_length=24))
    assert margins.shape == (40, 3)
    assert np.allclose(margins - margins[:, :1], logits - logits[:, :1], atol=1e-5)


def test_texts_come_in_every_form(path, fitted):
    pandas = pytest.importorskip("pandas")
    usual = fitted.predict_proba(TEXTS)
    frame = pandas.DataFrame({"text": TEXTS}, index=range(100, 140))
    forms = [
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object)[:, None],
        frame["text"],
        frame,
        [[t] for t in TEXTS],
    ]
    assert all(np.array_equal(fitted.predict_proba(X), usual) for X in forms)
    again = AdapterClassifier(path, **FAST).fit(frame["text"], pandas.Series(LABELS, index=frame.index))
    assert np.array_equal(again.predict_proba(TEXTS), usual)


def test_pairs_come_in_every_form_and_are_not_single_texts(path):
    pandas = pytest.importorskip("pandas")
    pairs = [text.split("\t") for text in random_texts(30, pairs=True)[0]]
    classifier = AdapterClassifier(path, **FAST).fit(pairs, [0, 1] * 15)
    usual = classifier.predict_proba(pairs)
    forms = [np.array(pairs), pandas.DataFrame(pairs, columns=["one", "other"]), list(map(tuple, pairs))]
    assert all(np.array_equal(classifier.predict_proba(X), usual) for X in forms)
    assert not np.array_equal(classifier.predict_proba([row[::-1] for row in pairs]), usual)
    with pytest.raises(InputError, match="X has 1 features, but AdapterClassifier is expecting 2"):
        classifier.predict([row[0] for row in pairs])


@pytest.mark.parametrize(
    "X, message",
    [
        ("one text", r"write \[text\]"),
        ([], "X is empty; give a list of texts"),
        (np.empty((0, 2), object), "shape"),
        (["a", float("nan")], "row 1 .* nan, of type float"),
        (["a", None], "row 1 .* None"),
        ([["a", "b", "c"]], "two for pairs; got 3"),
        ([("a", "b"), ("c",)], r"row 0 \(from 0\) holds"),
        (np.eye(2), "row 0 .* float"),
    ],
    ids=str,
)
def test_what_is_no_text_is_told(fitted, X, message):
    with pytest.raises(InputError, match=message):
        fitted.predict(X)


def test_bad_labels_and_settings_are_told_before_work_starts(path):
    new = AdapterClassifier(path, **FAST)
    for y, message in (
        (LABELS[:-1], "inconsistent"),
        (["a"] * 40, "same class"),
        (np.linspace(0, 1, 40), "continuous"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(new).fit(TEXTS, y)
    with pytest.raises(ValueError, match="unseen labels"):
        clone(new).fit(TEXTS, LABELS, eval_set=(TEXTS, ["maybe"] * 40))
    for wrong in ([(TEXTS, LABELS)], 3, {"X": TEXTS}):
        with pytest.raises(InputError, match=r"eval_set must be one pair \(X, y\), got .*eval_set=\(X_dev, y_dev\)"):
            clone(new).fit(TEXTS, LABELS, eval_set=wrong)
    with pytest.raises(InputError, match="learning rate"):
        clone(new).set_params(lr=-1).fit(TEXTS, LABELS)
    with pytest.raises(InputError, match="dev must be above 0"):
        clone(new).set_params(dev_share=0).fit(TEXTS, LABELS)
    with pytest.raises(InputError, match="nowhere"):
        AdapterClassifier("nowhere.h5").fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="NaN"):
        AdapterRegressor(path, **FAST).fit(TEXTS, [float("nan")] * 40)
    with pytest.raises(TypeError, match="no parameter 'learning_rate'"):
        AdapterClassifier(path, learning_rate=1)


def test_parameters_are_kept_as_given(path):
    layers = (0,)
    classifier = AdapterClassifier(path, adapter_layers=layers, lr=np.float64(0.5), verbose=1)
    params = classifier.get_params()
    assert set(params) == {"backbone", "dev_share", "split_seed", "verbose", *SETTINGS}
    assert {"method", "adapter_size", "lr", "clip", "seed", "freeze_layernorm", "top_k"} <= set(SETTINGS)
    assert params["adapter_layers"] is layers and params["backbone"] is path and params["adapter_size"] is None
    assert clone(classifier).get_params() == params
    assert clone(classifier).set_params(adapter_size=3).adapter_size == 3
    assert "adapter_layers=(0,)" in repr(classifier) and "adapter_size" not in repr(classifier)


def test_what_is_not_fitted_says_so(path):
    once = AdapterClassifier(path, **FAST).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="dev set would be empty"):
        once.set_params(dev_share=0.001).fit(TEXTS[:2], ["new", "labels"])
    for estimator in (AdapterClassifier(path), AdapterRegressor(path), once):
        with pytest.raises(NotFittedError):
            estimator.predict(TEXTS)


@pytest.mark.parametrize("kind", [AdapterClassifier, AdapterRegressor])
def test_the_checks_of_scikit_learn_that_need_no_numbers(path, kind):
    for name in ("no_attributes_set_in_init", "get_params_invariance", "set_params", "estimator_repr"):
        getattr(estimator_checks, f"check_{name}")(kind.__name__, kind(path))


def test_a_backbone_may_be_given_itself(path, fitted):
    backbone = load_backbone(path)
    classifier = clone(AdapterClassifier(backbone, **FAST)).fit(TEXTS, LABELS)
    assert classifier.backbone is backbone
    assert np.array_equal(classifier.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    with pytest.raises(InputError, match="path of its file"):
        pickle.dumps(classifier)


def test_another_backbone_that_is_set_later_is_the_one_that_is_read(path, tmp_path):
    classifier = AdapterClassifier(path, **FAST).fit(TEXTS, LABELS)
    usual = classifier.predict_proba(TEXTS)
    other = str(write_tiny_backbone(tmp_path / "other.h5", seed=1))
    for wrong, message in (("nowhere.h5", "nowhere"), (other, r"trained on the backbone .*set_params\(backbone=")):
        with pytest.raises(InputError, match=message):
            classifier.set_params(backbone=wrong).predict(TEXTS)
    assert np.array_equal(classifier.set_params(backbone=path).predict_proba(TEXTS), usual)


def test_an_eval_set_chooses_the_epoch(path):
    chosen = AdapterClassifier(path, **FAST).fit(TEXTS[:30], LABELS[:30], eval_set=(TEXTS[30:], LABELS[30:]))
    assert chosen.result_["settings"]["train_rows"] == 30
    (few,) = chosen.notes_
    assert few.startswith("8 steps in all, in which little is learned: try more epochs, or a smaller batch size")
    assert chosen.result_["dev"] == {"accuracy": chosen.score(TEXTS[30:], LABELS[30:])}
    assert chosen.record_.rows["dev"].shape == (10,)


@pytest.mark.parametrize(("more", "n"), [({"epochs": 7}, 1), ({"epochs": 8}, 0), ({"max_steps": 3}, 0)])
def test_few_steps_are_told_unless_they_were_wanted(path, more, n):
    settings = FAST | {"batch_size": 5} | more  # 7 steps an epoch
    fitted = AdapterClassifier(path, **settings).fit(TEXTS[:33], LABELS[:33], eval_set=(TEXTS, LABELS))
    assert sum("steps in all" in note for note in fitted.notes_) == n


def test_it_is_quiet_unless_it_is_told_not_to_be(path, capsys):
    AdapterClassifier(path, **FAST).fit(TEXTS, LABELS)
    assert capsys.readouterr().out == ""
    short = AdapterClassifier(path, **FAST | {"max_length": 4}, verbose=True).fit(TEXTS, LABELS)
    printed = capsys.readouterr().out
    assert "epoch 2/2" in printed and "split by class with seed 0: train 36, dev 4" in printed
    assert "36 of 36 train texts are cut to 4 tokens" in short.notes_ and f"note: {short.notes_[1]}" in printed


def test_weights_count_in_the_loss(path, fitted):
    def fit(weights, labels=LABELS):
        classifier = AdapterClassifier(path, **FAST)
        return classifier.fit(TEXTS, labels, sample_weight=weights, eval_set=(TEXTS, LABELS)).predict_proba(TEXTS)

    plain = fit(None)
    assert np.allclose(fit([2] * 40), plain, atol=1e-6)  # that all count alike changes nothing
    ones = np.array([label == "yes" for label in LABELS], float)
    toward_yes = fit(0.1 + ones)
    assert toward_yes[:, 1].mean() > plain[:, 1].mean() + 0.05
    flipped = ["yes", *LABELS[1:]] if LABELS[0] == "no" else ["no", *LABELS[1:]]
    weights = np.r_[0.0, np.ones(39)]
    assert np.array_equal(fit(weights), fit(weights, flipped))  # a label that counts nothing
    for n in (39, 80):  # of 40 rows; also where some are drawn from them
        for eval_set in (None, (TEXTS, LABELS)):
            with pytest.raises(ValueError, match=f"sample_weight has {n} weights, X has 40 rows"):
                AdapterClassifier(path, **FAST).fit(TEXTS, LABELS, sample_weight=[1] * n, eval_set=eval_set)
    for wrong, message in (([-1] * 40, "from 0 on"), ([0] * 40, "are 0"), (["a"], "a")):
        with pytest.raises(ValueError, match=message):
            fit(wrong)
    for seed in range(2):  # the dev rows that are drawn may count nothing: they are not trained on
        AdapterClassifier(path, **FAST, split_seed=seed).fit(TEXTS, LABELS, sample_weight=np.arange(40) < 3)


# ------------------------------------------------------------------------------------------- scikit-learn's own uses


def test_pipeline_and_cross_validation(path, fitted):
    pipeline = make_pipeline(
        FunctionTransformer(lambda X: [text.upper() for text in X]), AdapterClassifier(path, **FAST)
    )
    assert np.array_equal(pipeline.fit(TEXTS, LABELS).predict_proba(TEXTS), fitted.predict_proba(TEXTS))  # uncased
    scores = cross_val_score(AdapterClassifier(path, **FAST), np.array(TEXTS), LABELS, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()
    targets = np.linspace(-1, 1, 40)
    assert np.isfinite(cross_val_score(AdapterRegressor(path, **FAST), TEXTS, targets, cv=2)).all()


def test_scores_far_from_0_are_told_and_scikit_learn_scales_them(path):
    prices = np.array([1250.0 + 150 * (label == "yes") + i for i, label in enumerate(LABELS)])
    plain = AdapterRegressor(path, **FAST)
    assert any("training scores have mean 13" in note for note in plain.fit(TEXTS, prices).notes_)
    both = TransformedTargetRegressor(AdapterRegressor(path, **FAST), transformer=StandardScaler()).fit(TEXTS, prices)
    assert not any("training scores" in note for note in both.regressor_.notes_)
    scaled = AdapterRegressor(path, **FAST).fit(TEXTS, (prices - prices.mean()) / prices.std())
    assert np.allclose(both.predict(TEXTS), scaled.predict(TEXTS) * prices.std() + prices.mean(), rtol=1e-5)
    assert plain.score(TEXTS, prices) < -50 and both.score(TEXTS, prices) > -1
    assert plain.result_["dev"]["r2"] < -50


@pytest.mark.slow
def test_a_grid_search_gives_the_same_in_two_processes(path):
    def search(n_jobs):
        grid = {"adapter_size": [2, 8], "lr": [1e-2, 3e-2]}
        found = GridSearchCV(AdapterClassifier(path, **FAST), grid, cv=2, n_jobs=n_jobs, scoring="neg_log_loss")
        return found.fit(TEXTS, LABELS)

    one, two = search(1), search(2)
    assert len(set(one.cv_results_["mean_test_score"])) == 4
    assert np.array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])
    assert one.best_params_ == two.best_params_
    assert np.array_equal(one.predict_proba(TEXTS), two.predict_proba(TEXTS))


def test_calibration_and_soft_voting(path):
    calibrated = CalibratedClassifierCV(AdapterClassifier(path, **FAST), cv=2).fit(TEXTS, LABELS)
    assert np.allclose(calibrated.predict_proba(TEXTS).sum(axis=1), 1)
    words = make_pipeline(CountVectorizer(), LogisticRegression())
    both = VotingClassifier([("bert", AdapterClassifier(path, **FAST)), ("words", words)], voting="soft")
    both.fit(TEXTS, LABELS)
    apart = [estimator.predict_proba(TEXTS) for estimator in both.estimators_]
    assert np.allclose(both.predict_proba(TEXTS), np.mean(apart, axis=0))
    assert not np.allclose(*apart) and set(both.predict(TEXTS)) <= set(LABELS)


# ------------------------------------------------------------------------------------------------------ pickles, banks


def test_a_pickle_holds_what_was_trained_and_not_the_backbone(path, fitted):
    fitted.predict(TEXTS)
    kept = pickle.dumps(fitted)
    assert len(kept) < 4 * sum(a.size for a in fitted.record_.params.values()) + 10_000 < os.path.getsize(path)
    assert load_backbone(path).params["embeddings"]["word"]["W"].tobytes() not in kept
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).predict_proba(['good tea']).tobytes().hex())"
    run = subprocess.run([sys.executable, "-c", code], input=kept, capture_output=True, env=environment(), check=True)
    assert bytes.fromhex(run.stdout.decode()) == fitted.predict_proba(["good tea"]).tobytes()
    assert pickle.loads(pickle.dumps(AdapterClassifier(path, lr=0.5))).lr == 0.5


def test_a_backbone_that_is_gone_or_another_one_is_told(tmp_path, fitted):
    file = tmp_path / "moved.h5"
    original = write_tiny_backbone(file)
    kept = pickle.dumps(AdapterClassifier(str(original), **FAST).fit(TEXTS, LABELS))
    file.rename(tmp_path / "here.h5")
    with pytest.raises(InputError, match=r"moved\.h5.*set_params\(backbone=…\)"):
        pickle.loads(kept).predict(TEXTS)
    there = pickle.loads(kept).set_params(backbone=str(tmp_path / "here.h5"))
    assert np.array_equal(there.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    write_tiny_backbone(file, seed=1)
    with pytest.raises(InputError, match=r"moved\.h5.*was trained on the backbone .* this one is"):
        pickle.loads(kept).predict(TEXTS)


def test_its_record_is_a_task_of_a_bank(path, fitted, tmp_path, capsys):
    add_task(tmp_path / "bank.h5", fitted.record_)
    assert read_bank(tmp_path / "bank.h5")["csv"].labels == ("no", "yes")
    data = write_csv(tmp_path / "rows.csv", {"text": TEXTS, "label": LABELS})
    bank, columns = f"--bank={tmp_path / 'bank.h5'}", ["--text-column=text", "--label-column=label", f"--data={data}"]
    assert not main(["eval", f"--backbone={path}", bank, *columns, "--split=all", "--json"])
    assert json.loads(capsys.readouterr().out)["accuracy"] == fitted.score(TEXTS, LABELS)


def test_without_scikit_learn_the_extra_is_named():
    code = "import sys; sys.modules['sklearn'] = sys.modules['sklearn.base'] = None; import minibert.estimator"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert run.returncode and "pip install scikit-learn (it belongs to the extra sklearn)" in run.stderr
