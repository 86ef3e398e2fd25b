"""How many threads kernels run on: those that were chosen, or one where work is small."""

import re
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
import tiny

import kernels
from kernels.runtime import threads
from kernels.runtime.settings import LAYERS, is_there
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


def in_another_thread(function):
    """What a function returns in a Python thread of its own."""
    found = []
    other = threading.Thread(target=lambda: found.append(function()))
    other.start()
    other.join()
    return found[0]


def test_a_choice_holds_for_all_python_threads_that_made_none():
    """Numba itself gives a new thread all of them."""
    use_threads(1)
    assert in_another_thread(lambda: [share(1e9), numba.get_num_threads(), kernels.threads()]) == [1, 1, 1]
    use_threads(ALL)
    assert in_another_thread(lambda: [share(1e9), numba.get_num_threads(), share(0)]) == [ALL, ALL, 1]


def test_a_python_thread_keeps_its_own_choice():
    use_threads(ALL)

    def choose_one():
        use_threads(1)
        return share(1e9)

    assert in_another_thread(choose_one) == 1
    assert share(1e9) == kernels.threads() == ALL


@pytest.mark.parametrize("layer", LAYERS)
def test_python_threads_share_a_model_on_every_threading_layer(layer):
    """No exception, and the bits of one thread: `python -m tests.threads` does it for longer."""
    if not is_there(layer):
        pytest.skip(f"{layer} is not installed")
    command = [sys.executable, "-m", "tests.threads", "--seconds", "1", "--threads", "6", "--layer", layer]
    environment = tiny.environment(NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    done = subprocess.run(command, cwd=tiny.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(rf"{layer} +6 threads, +[1-9]\d* passes, 0 exceptions, 0 differences\n", done.stdout)


KERNELS_IN_THREADS = """
import threading
import numpy as np, kernels
x = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
expected, wrong = kernels.matmul(x, x.T.copy()), []
def work():
    for _ in range(100):
        if not np.array_equal(kernels.matmul(x, x.T.copy()), expected):
            wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(wrong))
"""


def test_on_workqueue_even_single_kernels_take_turns():
    """Numba ends the process otherwise."""
    environment = tiny.environment(NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")
    command = [sys.executable, "-c", KERNELS_IN_THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_bits_do_not_depend_on_where_small_ends(monkeypatch):
    x, W = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
    small = kernels.matmul(x, W)
    monkeypatch.setattr("kernels.runtime.threads.SMALL", 0)
    np.testing.assert_array_equal(kernels.matmul(x, W), small)
