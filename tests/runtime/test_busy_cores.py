"""Where other programs hold the cores, one thread computes: waiting for a core costs more than a second thread."""

import pytest

import kernels
from kernels.runtime import threads

pytestmark = pytest.mark.skipif(not kernels.COMPILED, reason="the reference has no threads")


@pytest.fixture
def clock(monkeypatch):
    """A clock, and the seconds that our threads have waited for a core: both stand still until they are moved."""
    now = {"time": 100.0, "waited": 1.0}
    chosen = threads.most_threads()
    if chosen < 2:
        pytest.skip("there is one thread only")
    monkeypatch.setattr(threads.time, "perf_counter", lambda: now["time"])
    monkeypatch.setattr(threads, "seconds_waited", lambda: now["waited"])
    monkeypatch.setattr(threads, "_state", threads._State())
    monkeypatch.setattr(threads, "_look", threads._Look())
    yield now
    monkeypatch.undo()
    threads.use_threads(chosen)


def pass_time(clock, seconds, waited):
    clock["time"] += seconds
    clock["waited"] += waited
    return threads.share(10 * threads.SMALL)


def test_all_threads_compute_while_none_waits(clock):
    most = threads.most_threads()
    assert [pass_time(clock, 0.3, waited) for waited in (0, 0.01, 0, 0.02)] == [most] * 4


def test_one_thread_computes_for_a_while_after_threads_have_waited(clock):
    most = threads.most_threads()
    assert pass_time(clock, 0.3, 0) == most
    assert pass_time(clock, 0.3, 0.15) == 1
    assert pass_time(clock, threads.FIRST_REST / 2, 0) == 1
    assert pass_time(clock, threads.FIRST_REST, 0) == most, "then all try again"
    assert pass_time(clock, 0.3, 0.15) == 1


def seconds_on_one_thread(clock):
    """How long one thread computes before all try again."""
    start = clock["time"]
    while pass_time(clock, 0.05, 0) == 1:
        pass
    return clock["time"] - start


def test_a_core_that_stays_taken_is_tried_seldom(clock):
    pass_time(clock, 0.3, 0)
    rests = []
    for _ in range(5):
        assert pass_time(clock, 0.3, 0.15) == 1
        rests.append(seconds_on_one_thread(clock))
    assert rests[0] <= threads.FIRST_REST + 0.1 and rests[-1] >= threads.REST - 0.1 and rests == sorted(rests)
    assert max(rests) <= threads.REST + 0.1


def test_after_a_moment_without_waiting_the_next_wait_costs_a_moment(clock):
    pass_time(clock, 0.3, 0)
    for _ in range(4):
        pass_time(clock, 0.3, 0.15)
        seconds_on_one_thread(clock)
    assert pass_time(clock, 0.3, 0) > 1  # nobody waits any more
    assert pass_time(clock, 0.3, 0.15) == 1
    assert seconds_on_one_thread(clock) <= threads.FIRST_REST + 0.1


def test_a_wait_of_long_ago_is_forgotten(clock):
    pass_time(clock, 0.3, 0)
    for _ in range(4):
        pass_time(clock, 0.3, 0.15)
        seconds_on_one_thread(clock)
    assert pass_time(clock, 0.3, 0.15) == 1
    assert pass_time(clock, 3600, 0) > 1  # nothing was computed for an hour
    assert pass_time(clock, 0.3, 0.15) == 1
    assert seconds_on_one_thread(clock) <= threads.FIRST_REST + 0.1


def test_small_work_is_one_threads_in_any_case(clock):
    assert pass_time(clock, 0.3, 0) > 1 and threads.share(threads.SMALL - 1) == 1


def test_a_system_that_does_not_tell_is_never_busy(clock, monkeypatch):
    monkeypatch.setattr(threads, "seconds_waited", lambda: 0.0)
    assert pass_time(clock, 0.3, 9) == pass_time(clock, 0.3, 9) == threads.most_threads()
