"""Cutting rows into train, dev and test for files that come without a split."""

from __future__ import annotations

import numpy as np

from minibert.config import InputError


def stratified_split(
    groups: np.ndarray, dev_share: float, test_share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of train, dev and test, each in rising order. groups (N,) are class numbers (all 0: a random split).

    The rule, class by class, n rows each:
    1. n rows are shuffled; the first go to test, the next to dev, the rest to train.
    2. A part gets share × n rows, rounded half up, and at least one; a share of 0 gets none.
    3. Train keeps at least one row: while it would have none, the larger of the two other parts (test, if equal) gives
       one up. So a class with 3 rows or more is in all parts, one with 2 in train and dev, one with 1 in train.

    The same seed gives the same split on every platform. Raises InputError if a share is out of range.
    """
    _check_shares(dev_share, test_share)
    rng = np.random.default_rng(seed)
    # Sorting random numbers, and not Generator.permutation: its draws depend on the platform's integer size.
    order = np.argsort(rng.random(len(groups)), kind="stable")
    train, dev, test = [], [], []
    for group in np.unique(groups):
        rows = order[groups[order] == group]
        n_dev, n_test = _sizes(len(rows), dev_share, test_share)
        test.append(rows[:n_test])
        dev.append(rows[n_test : n_test + n_dev])
        train.append(rows[n_test + n_dev :])
    return tuple(np.sort(np.concatenate(part)) for part in (train, dev, test))


def _sizes(n: int, dev_share: float, test_share: float) -> tuple[int, int]:
    n_dev, n_test = (max(1, int(share * n + 0.5)) if share > 0 else 0 for share in (dev_share, test_share))
    while n_dev + n_test > n - 1:
        if n_test >= n_dev:
            n_test -= 1
        else:
            n_dev -= 1
    return n_dev, n_test


def _check_shares(dev_share: float, test_share: float) -> None:
    for name, share in (("dev", dev_share), ("test", test_share)):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise InputError(f"the share of rows for {name} must be a number from 0 to below 1, got {share!r}")
    if dev_share == 0:
        raise InputError("the share of rows for dev must be above 0: the best epoch is chosen on the dev set")
    if dev_share + test_share >= 1:
        raise InputError(f"the shares for dev ({dev_share}) and test ({test_share}) leave no rows for training")
