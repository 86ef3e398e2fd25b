"""How many threads kernels run on: those that were chosen, or one where work is small."""

import threading

import numba
import numpy as np
import pytest

import kernels
from kernels.runtime import threads
from kernels.runtime.threads import SMALL, n_threads, share, use_threads

pytestmark = pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threads")
ALL = numba.config.NUMBA_NUM_THREADS


@pytest.fixture(autouse=True)
def all_threads(monkeypatch):
    monkeypatch.setattr(threads, "WAITED", 1e9)  # else all work runs on one thread where cores are taken
    use_threads(ALL)
    yield
    use_threads(ALL)


@pytest.mark.parametrize("n", {1, ALL})
def test_large_work_has_all_threads_that_were_chosen_and_small_work_one(n):
    use_threads(n)
    assert n_threads() == numba.get_num_threads() == n
    for nanoseconds, expected in ((SMALL - 1, 1), (SMALL, n), (0, 1), (1e9, n)):
        assert share(nanoseconds) == n_threads() == numba.get_num_threads() == expected


def test_a_number_that_is_refused_changes_nothing():
    with pytest.raises(ValueError):
        use_threads(ALL + 1)
    assert share(1e9) == ALL


def test_each_python_thread_has_a_choice_of_its_own():
    """As in Numba: a thread that runs a kernel must not find the number that another one set."""
    use_threads(1)
    found = []
    other = threading.Thread(target=lambda: found.extend([share(1e9), numba.get_num_threads(), share(0)]))
    other.start()
    other.join()
    assert found == [ALL, ALL, 1]
    assert share(1e9) == 1


def test_bits_do_not_depend_on_where_small_ends(monkeypatch):
    x, W = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
    small = kernels.matmul(x, W)
    monkeypatch.setattr("kernels.runtime.threads.SMALL", 0)
    np.testing.assert_array_equal(kernels.matmul(x, W), small)
