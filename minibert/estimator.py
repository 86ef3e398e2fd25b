"""scikit-learn's interface over the same run as `minibert train`: for pipelines, grid searches, calibration, ensembles.

    classifier = AdapterClassifier("models/minilm-l6.h5", adapter_size=16, epochs=4).fit(texts, labels)
    classifier.predict_proba(["never again"])

Nothing is trained here: `fit` makes a Task of X and y, and run.py trains it. With the same rows in a file, and the same
settings, `minibert train --task csv --test-share 0` gives the same bits. It needs scikit-learn: the extra `sklearn`.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from pathlib import Path

import numpy as np

from minibert.backbone import Backbone
from minibert.data import CSV_OPTIONS, Task, check_task
from minibert.data.split import Cut, Uncut
from minibert.data.task import Examples
from minibert.errors import InputError, missing, need, shown
from minibert.evaluate import predict, tokenize
from minibert.model import Model
from minibert.run import open_backbone, train_task
from minibert.trained import max_length
from minibert.trial import TRIAL_OPTIONS, make_trial

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import check_array, check_consistent_length
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ImportError:
    raise missing("minibert.estimator", "scikit-learn", "sklearn") from None

SETTINGS = tuple(  # those of `minibert train` that are not about where the rows come from
    name for name in TRIAL_OPTIONS if name not in ("task", "data", "train_rows", "dev_rows", *CSV_OPTIONS)
)
OWN = {"dev_share": 0.1, "split_seed": 0, "verbose": False}


def _signature() -> Signature:
    """That of the constructor: scikit-learn reads there what the parameters are."""
    first = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "backbone")]
    defaults = dict.fromkeys(SETTINGS) | OWN
    return Signature([*first, *(Parameter(name, Parameter.KEYWORD_ONLY, default=d) for name, d in defaults.items())])


class _AdapterEstimator(BaseEstimator):
    """What the two estimators share: see AdapterClassifier."""

    HEAD, METRICS = "", ()  # of the task

    def __init__(self, backbone, **settings):
        defaults = dict.fromkeys(SETTINGS) | OWN
        if unknown := sorted(set(settings) - set(defaults)):
            raise TypeError(f"{type(self).__name__} has no parameter {unknown[0]!r}; it has {', '.join(defaults)}")
        self.backbone = backbone
        for name, value in (defaults | settings).items():
            setattr(self, name, value)

    __init__.__signature__ = _signature()

    def fit(self, X, y, sample_weight=None, eval_set=None):
        """Train on texts X (N) with labels y (N).

        sample_weight (N): how much each row counts in the loss. eval_set: (X, y) that choose the best epoch; then no
        rows of X are drawn for that. Raises InputError, NonFiniteLoss; after that it is not fitted.
        """
        vars(self).pop("record_", None)
        trial = make_trial(task="csv", **{name: getattr(self, name) for name in SETTINGS})
        backbone = self._backbone()
        train = _examples(X, self._numbers(y, first=True), sample_weight)
        task = self._task(train, eval_set)
        self._model, self.n_features_in_ = None, 1 if train.pairs is None else 2
        self.record_, self.result_, self.notes_ = train_task(trial, task, backbone, quiet=not self.verbose)
        return self

    def _task(self, train: Examples, eval_set) -> Task:
        """The task that the command would read from a file; being called csv, it can be scored on files, too."""
        classes = tuple(map(str, getattr(self, "classes_", ())))
        if eval_set is None:
            cut = Cut(Path("X"), self.dev_share, 0, self.split_seed)
            task = Uncut("csv", self.HEAD, classes, self.METRICS, {"train": train}, (), cut).task()
        else:
            is_two = isinstance(eval_set, (tuple, list)) and len(eval_set) == 2
            need(is_two, f"eval_set must be one pair (X, y), got {shown(eval_set)}; write eval_set=(X_dev, y_dev)")
            dev = _examples(eval_set[0], self._numbers(eval_set[1]))
            task = Task("csv", self.HEAD, classes, self.METRICS, train, {"dev": dev})
        return check_task(task)

    def _backbone(self) -> Backbone:
        return self.backbone if isinstance(self.backbone, Backbone) else open_backbone(self.backbone)

    def _fitted_model(self) -> Model:
        check_is_fitted(self, "record_")
        if self._model is None or self._model[0] is not self.backbone:  # not read yet, or set_params gave another
            where = f"{type(self).__name__} with the backbone {self.backbone}"
            try:
                self._model = self.backbone, Model.from_record(self._backbone(), self.record_, where)
            except InputError as error:
                raise InputError(f"{error}. To give another: set_params(backbone=…)") from None
        return self._model[1]

    def _scores(self, X) -> np.ndarray:
        """What the head predicts of each text: probabilities (N, C), or scores (N,)."""
        model = self._fitted_model()
        examples = _examples(X, None)
        given = 1 if examples.pairs is None else 2
        if given != self.n_features_in_:
            raise InputError(
                f"X has {given} features, but {type(self).__name__} is expecting {self.n_features_in_} features as "
                "input (1: texts, 2: pairs of texts)"
            )
        return predict(model, tokenize(model.backbone, examples, max_length(self.record_)).batch)

    def __getstate__(self):
        if isinstance(self.backbone, Backbone):
            raise InputError(
                f"{type(self).__name__} was given a Backbone, which no pickle holds: give the path of its file instead"
            )
        state = dict(super().__getstate__())
        return state | {"_model": None} if "_model" in state else state


class AdapterClassifier(ClassifierMixin, _AdapterEstimator):
    """A classifier of texts, or of pairs of texts: a backbone with adapters.

    backbone: the path of a backbone file; or a Backbone, with which an estimator cannot be pickled. Then SETTINGS,
    those of `minibert train` by the same names (adapter_size=16, lr=1e-3, seed=1, …); None: its default. dev_share,
    split_seed: the rows that choose the best epoch are drawn from X as by task csv. verbose: print what training does.

    X: texts (a list, an array, a column of a table), or pairs of texts (two columns, or a list of tuples).
    y: labels of any one kind (strings, numbers, booleans). classes_ are its different values, sorted: the columns of
    predict_proba. (The command sorts labels that are all numbers as numbers: so do numbers here, but not their names.)

    After `fit`: record_, what a bank keeps of the task (`add_task("team.h5", replace(record_, name="mine"))`); result_,
    as result.json; notes_, what is to be told of the rows (how they were split, texts that were cut); n_features_in_,
    1 or 2 texts a row. A pickle holds these and the parameters: the backbone is read again from its path when it is
    first needed, and refused if it is another one.
    """

    HEAD, METRICS = "classify", ("accuracy",)

    def _numbers(self, y, first: bool = False) -> np.ndarray:
        """The class number of each label; the classes are those of the first call."""
        y = column_or_1d(y)
        check_classification_targets(y)
        if first:
            self._encoder = LabelEncoder().fit(y)
            self.classes_ = self._encoder.classes_
        return self._encoder.transform(y).astype(np.int64)

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities of the classes.   -> (N, C) float64"""
        return self._scores(X)

    def predict(self, X) -> np.ndarray:
        """The class of each text, of the kind that y had.   -> (N,)"""
        best = self._scores(X).argmax(axis=1)
        return self.classes_[best]

    def decision_function(self, X) -> np.ndarray:
        """Logarithms of the probabilities (N, C), which are the logits but for a number a row. Of two classes that of
        the second minus that of the first (N,): positive where the second is predicted."""
        log_p = np.log(self._scores(X))
        return log_p[:, 1] - log_p[:, 0] if log_p.shape[1] == 2 else log_p


class AdapterRegressor(RegressorMixin, _AdapterEstimator):
    """A regressor of texts, or of pairs of texts. All else is as for AdapterClassifier.

    y: finite numbers, best with a mean near 0 and a standard deviation near 1. Others train badly, as a note says:
    TransformedTargetRegressor(AdapterRegressor(…), transformer=StandardScaler()) scales them, and what is predicted.
    """

    HEAD, METRICS = "regress", ("spearman", "pearson", "r2")

    def _numbers(self, y, first: bool = False) -> np.ndarray:
        return column_or_1d(check_array(y, ensure_2d=False, dtype=np.float64)).astype(np.float32)

    def predict(self, X) -> np.ndarray:
        """The score of each text.   -> (N,) float32"""
        return self._scores(X)


def _examples(X, labels: np.ndarray | None, weights=None) -> Examples:
    """X as a split. Raises InputError if it is not texts or pairs of texts."""
    if isinstance(X, (str, bytes)):
        raise InputError("X must be a list of texts, got one text; write [text]")
    cells = X.to_numpy() if hasattr(X, "to_numpy") else X
    cells = np.array(cells, dtype=object)
    need(cells.shape != (0,), "X is empty; give a list of texts, at least one")
    need(cells.ndim in (1, 2) and len(cells) > 0, f"X must be texts or pairs of texts, got shape {cells.shape}")
    columns = [cells] if cells.ndim == 1 else list(cells.T)
    need(len(columns) in (1, 2), f"X must have one column of texts, or two for pairs; got {len(columns)}")
    for column in columns:
        for row, cell in enumerate(column):
            if not isinstance(cell, str):
                raise InputError(
                    f"X must hold texts; row {row} (from 0) holds {shown(cell)}, of type {type(cell).__name__}"
                )
    if labels is not None:
        check_consistent_length(cells, labels)
    if weights is not None:
        weights = column_or_1d(check_array(weights, ensure_2d=False, dtype=np.float64))
        many = f"sample_weight has {len(weights)} weights, X has {len(cells)} rows; give one weight for each row"
        need(len(weights) == len(cells), many)
    texts, pairs = [*columns, None][:2]
    return Examples(list(map(str, texts)), None if pairs is None else list(map(str, pairs)), labels, weights=weights)
