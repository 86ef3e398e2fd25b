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
    assert pass_time(clock, 0.5, 0) == 1, "for seconds, since each try costs time"
    assert pass_time(clock, threads.REST, 0) == most, "then all try again"
    assert pass_time(clock, 0.3, 0.15) == 1


def test_small_work_is_one_threads_in_any_case(clock):
    assert pass_time(clock, 0.3, 0) > 1 and threads.share(threads.SMALL - 1) == 1


def test_a_system_that_does_not_tell_is_never_busy(clock, monkeypatch):
    monkeypatch.setattr(threads, "seconds_waited", lambda: 0.0)
    assert pass_time(clock, 0.3, 9) == pass_time(clock, 0.3, 9) == threads.most_threads()
