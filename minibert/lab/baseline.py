"""The "no BERT" baseline: what a linear model on counts of words and letters reaches, at its best setting on dev.

The paper's baseline (section 3.3) searched networks on pre-trained text embeddings for a week on 30 machines. This one
asks the same question, whether the task needs BERT at all, in minutes: TF-IDF of word and character n-grams, logistic
regression (ridge regression for scores), and a random search over their settings. It needs scikit-learn: the extra
`baseline`.
"""

from __future__ import annotations

import random
import time

import numpy as np
from tqdm import tqdm

from minibert.data.task import Examples, Task
from minibert.errors import InputError, require, shown
from minibert.evaluate import named_by_split
from minibert.metrics import METRICS

MOST_FEATURES = 200_000  # n-grams of each kind; the most frequent stay
TOLERANCE = 1e-2  # of the solver; smaller changes no score that is printed


def no_bert(task: Task, trials: int, seed: int) -> dict:
    """Search `trials` settings drawn with seed; return the best on dev and its scores.

    The best is that with the highest first metric of the task on its first dev split; of equals, the first drawn. More
    trials with the same seed try the same settings and then others. The same seed gives the same result.

    Keys: task, method, trials, seed, setting {name: value}, features (how many n-grams), dev {metric: value} (further
    dev splits as metric_split), test (likewise, or None if the task has no labelled test split), seconds.
    Raises InputError: scikit-learn is not there, numbers out of range, texts without a single word.
    """
    _check(trials, seed)
    if task.label_shape:
        what = "several labels a text" if task.labels else "answers in its texts"
        raise InputError(f"task {task.name} has {what}; the baseline is for one label or score a text")
    start = time.perf_counter()
    rng = random.Random(seed)
    best, best_score = None, -np.inf
    for setting in tqdm([draw_setting(rng) for _ in range(trials)], desc="no BERT", unit="trial", disable=None):
        try:
            model = _Linear(task, setting)
        except _NoWords:
            continue
        first = next(iter(task.dev.values()))
        score = METRICS[task.metrics[0]](model.predict(first), first.labels)
        if score > best_score:
            best, best_score = model, score
    if best is None:
        raise InputError(f"task {task.name}: in {trials} trials no words were found to learn from")
    test = task.labelled_test
    return {
        "task": task.name,
        "method": "no_bert",
        "trials": trials,
        "seed": seed,
        "setting": best.setting,
        "features": best.n_features,
        "dev": _scores(best, task.dev, task.metrics),
        "test": None if test is None else _scores(best, {"test": test}, task.metrics),
        "seconds": time.perf_counter() - start,
    }


def _check(trials: int, seed: int) -> None:
    for name, value, least in (("trials", trials, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number from {least}, got {shown(value)}")
    check_installed()


def check_installed() -> None:
    """Raise InputError if scikit-learn is not installed."""
    require("the baseline", "sklearn", "baseline", "scikit-learn")


def draw_setting(rng: random.Random) -> dict:
    """One point of the search: what is counted, how it is weighted, how strongly the model is held back."""
    return {
        "word_ngrams": rng.choice((1, 2, 3)),  # up to so many words
        "character_ngrams": rng.choice((0, 3, 4, 5)),  # from 2 up to so many letters within a word; 0: not counted
        "lowercase": rng.random() < 0.7,
        "min_df": rng.choice((1, 2, 3)),  # texts in which an n-gram must occur
        "sublinear_tf": rng.random() < 0.5,  # 1 + log(count) in place of the count
        "C": round(10 ** rng.uniform(-0.5, 2), 4),  # inverse strength of the penalty on squared weights
        "balanced": rng.random() < 0.3,  # rare classes weigh more; of no meaning for scores
    }


class _NoWords(Exception):
    """No n-gram of the texts is frequent enough for a setting."""


class _Linear:
    """Vectorizers and a linear model, fitted on the training split of a task."""

    def __init__(self, task: Task, setting: dict):
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.multiclass import OneVsRestClassifier

        self.setting = setting
        self.vectorizers = _vectorizers(setting)
        features = self._features(task.train, fit=True)
        self.n_features = sum(len(vectorizer.vocabulary_) for vectorizer in self.vectorizers)
        if not task.labels:
            self.model = Ridge(alpha=1 / setting["C"], solver="sparse_cg")
        else:
            weights = "balanced" if setting["balanced"] else None
            logistic = LogisticRegression(C=setting["C"], class_weight=weights, solver="liblinear", tol=TOLERANCE)
            # One class against the rest: a joint model of many classes needs gigabytes for its second-order steps.
            self.model = OneVsRestClassifier(logistic)
        self.model.fit(features, task.train.labels)

    def predict(self, split: Examples) -> np.ndarray:
        """Class numbers (N,), or scores (N,)."""
        return self.model.predict(self._features(split))

    def _features(self, split: Examples, fit: bool = False):
        """Sparse (N, features): of a pair both texts', their differences, and how alike they are."""
        from scipy.sparse import csr_matrix, hstack

        texts = split.texts + (split.pairs or [])  # both texts of a pair share a vocabulary
        try:
            parts = [v.fit_transform(texts) if fit else v.transform(texts) for v in self.vectorizers]
        except ValueError as error:
            raise _NoWords from error
        vectors = hstack(parts, format="csr")
        if split.pairs is None:
            return vectors
        one, other = vectors[: len(split)], vectors[len(split) :]
        alike = np.asarray(one.multiply(other).sum(axis=1)).reshape(-1, 1)  # (N, 1), the sum being (N, 1) or (N,)
        return hstack([one, other, abs(one - other), csr_matrix(alike)], format="csr")


def _vectorizers(setting: dict) -> list:
    from sklearn.feature_extraction.text import TfidfVectorizer

    shared = {name: setting[name] for name in ("lowercase", "min_df", "sublinear_tf")}
    shared |= {"max_features": MOST_FEATURES, "dtype": np.float64}
    words = {
        "ngram_range": (1, setting["word_ngrams"]),
        "token_pattern": r"\w+|[^\w\s]",
    }  # punctuation counts, too
    vectorizers = [TfidfVectorizer(**words, **shared)]
    if setting["character_ngrams"]:
        vectorizers.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, setting["character_ngrams"]), **shared))
    return vectorizers


def _scores(model: _Linear, splits: dict[str, Examples], metrics: tuple[str, ...]) -> dict[str, float]:
    """{metric: value} on the first split; those of further ones are named metric_split, as after training."""
    guesses = {name: model.predict(split) for name, split in splits.items()}
    return named_by_split(
        {name: {m: METRICS[m](guesses[name], split.labels) for m in metrics} for name, split in splits.items()}
    )
