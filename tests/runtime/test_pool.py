"""The memory pool: arrays never overlap, and what is released is used again."""

import random
import sys
import threading

import numpy as np

from kernels.runtime import pool
from kernels.runtime.pool import LINE, empty


def test_arrays_in_use_never_overlap_and_their_memory_comes_back():
    """Arrays of any size come and go; each keeps its elements, and in the end all memory is in few pieces again."""
    rng, alive = np.random.default_rng(0), []
    for i in range(600):
        array = empty(int(rng.integers(1, 2**20) ** rng.uniform(0.7, 1.2)) + 2**13, np.float32)
        array.fill(i)
        alive.append((i, array))
        while len(alive) > 20:
            number, array = alive.pop(rng.integers(len(alive)))
            assert (array == number).all()
    most = sum(piece.size for piece in pool._pieces)
    alive.clear()
    del array
    large = [empty(2**22, np.float32) for _ in range(4)]  # larger than any before, from what was released
    assert len(large) == 4 and sum(piece.size for piece in pool._pieces) <= most + 2 * pool.PIECE
    for piece in pool._pieces:
        assert sum(piece.parts.values()) <= piece.size
        assert {start + n: start for start, n in piece.parts.items()} == piece.ends


def test_what_was_unused_for_longest_is_given_up(monkeypatch):
    for name, start in (("_pool", {}), ("_pieces", []), ("_owned", 0), ("_most_lent", 0), ("_misses", 0)):
        monkeypatch.setattr(pool, name, start)
    arrays = [empty(quarters << 16, np.float32) for quarters in (4, 8, 12)]  # quarters of a megabyte
    del arrays
    assert not empty(4 << 16, np.float32).ctypes.data % LINE  # the first of the three is used once more
    other = empty(6 << 16, np.float32)  # more than was ever in use together, unless one is given up
    assert {size >> 18: len(blocks) for size, blocks in pool._pool.items()} == {4: 1, 8: 0, 12: 1, 6: 0}
    taken = sum(piece.size - sum(piece.parts.values()) for piece in pool._pieces)
    assert taken == pool._owned == (4 + 12) * 2**18 + other.nbytes


def test_memory_is_used_again_only_when_the_last_view_is_gone():
    first = empty((100, 100), np.float32)
    address, view = first.ctypes.data, first[3:, 5:].T
    del first
    second = empty((100, 100), np.float32)
    assert not np.shares_memory(view, second)
    del view
    assert empty((100, 100), np.float32).ctypes.data == address
    assert address % LINE == second.ctypes.data % LINE == 0


def test_python_threads_may_take_memory_at_the_same_time():
    wrong = []

    def take_and_hold(number):
        rng, held = random.Random(number), []
        try:
            for _ in range(1000):
                array = empty(rng.randint(10_000, 400_000), np.float32)
                array[:5] = array[-5:] = number
                held.append(array)
                if len(held) > 5:
                    array = held.pop(rng.randrange(6))
                    assert (array[:5] == number).all() and (array[-5:] == number).all()
        except Exception as error:
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=take_and_hold, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
