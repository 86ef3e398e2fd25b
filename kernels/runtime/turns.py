"""Python threads that compute take turns, and a fork waits for the end of a turn.

A pass has all cores to itself: two passes side by side would be no faster, and take twice the memory. So whoever makes
a pass holds one lock meanwhile. A single kernel needs no lock, but on a threading layer of Numba that cannot be called
by two threads (compiling.py).
"""

from __future__ import annotations

import os
import threading

_locks: list[threading.RLock] = []  # in the order in which they are taken


def lock_held_across_forks() -> threading.RLock:
    """A lock that `os.fork` takes and releases on both sides: whatever it protects is whole in the child, too.

    Whoever holds it must not wait for one that was made before.
    """
    _locks.append(threading.RLock())
    return _locks[-1]


def _take_all() -> None:
    for lock in _locks:
        lock.acquire()


def _release_all() -> None:
    for lock in reversed(_locks):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_release_all, after_in_child=_release_all)

_turn = lock_held_across_forks()


def one_at_a_time() -> threading.RLock:
    """A context for a pass, or a part of one: Python threads that enter it wait for each other. It may be nested.

    So one model may be used from several threads, and gives the bits that it gives to one.
    """
    return _turn
