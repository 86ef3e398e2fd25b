"""How many threads share a product.

Numba knows it, but answers behind a lock, and beside a product of 200 us the 8 us of an answer count.
"""

import numba

_threads = numba.config.NUMBA_NUM_THREADS


def use_threads(n: int) -> None:
    """From now on kernels run on n threads."""
    global _threads
    numba.set_num_threads(n)
    _threads = n


def n_threads() -> int:
    """What was said last. (Who tells Numba alone gets the same numbers, shared out less evenly.)"""
    return _threads
