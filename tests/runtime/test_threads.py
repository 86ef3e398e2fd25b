"""How many threads kernels run on."""

import numba
import pytest

import kernels
from kernels.runtime.threads import n_threads, use_threads


@pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threads")
def test_what_was_chosen_is_what_numba_uses():
    before = n_threads()
    try:
        for n in (1, numba.config.NUMBA_NUM_THREADS):
            use_threads(n)
            assert n_threads() == numba.get_num_threads() == n
    finally:
        use_threads(before)
    with pytest.raises(ValueError):
        use_threads(numba.config.NUMBA_NUM_THREADS + 1)
    assert n_threads() == before, "a number that is refused changes nothing"
