"""A function that does not end: the checker says so, where the system has a timer, and leaves timers as they were."""

import signal
import threading
import time

import pytest

from minibert import lessons
from minibert.lessons import going_on, mutate, plain
from minibert.lessons.time_limit import DoesNotEnd, limited

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="has no timer")


def endless(*arguments):
    while True:
        pass


def test_an_endless_loop_is_named():
    report = lessons.check("linear", endless, seconds=0.2)
    first, second, third, *_ = str(report).splitlines()
    assert first == "linear: not yet. it did not end within 0.2 s: look at the condition of its loop"
    assert second.startswith("  in line 1") and third.startswith("  tried on x (")


def test_of_a_function_that_draws_random_numbers():
    name = next(name for name, exercise in lessons.EXERCISES.items() if exercise.judge)
    assert "it did not end" in lessons.check(name, endless, seconds=0.2).diagnosis


def test_of_a_forward_function():
    report = lessons.check("gelu_backward", plain.gelu_backward, forward=endless, seconds=0.2)
    assert report.diagnosis.startswith("the forward function is not right yet")


def test_take_waits_once_for_a_forward_function(monkeypatch, capsys):
    waited = []

    def check(name, function, forward=None):
        waited.append(name)
        return lessons.check(name, function, forward, seconds=0.2)

    monkeypatch.setattr(going_on, "check", check)
    assert going_on.take("gelu_backward", plain.gelu_backward, endless) is plain.gelu_backward
    assert waited == ["gelu_backward"] and "ours, until yours is right" in capsys.readouterr().out


def test_of_a_later_input():
    def linear(x, W, b):
        return plain.linear(x, W, -b) if not tried and not tried.append(x) else endless()

    tried = []
    report = lessons.check("linear", linear, seconds=0.2)
    assert "subtracted" in report.diagnosis and "and on a later input it did not end" in str(report)


def test_a_loop_that_catches_every_exception_ends():
    def linear(x, W, b):
        while True:
            try:
                return x @ W.T @ b
            except Exception:
                pass

    assert "it did not end" in lessons.check("linear", linear, seconds=0.2).diagnosis


def test_a_mutant_that_never_ends_on_further_inputs_is_a_mistake(monkeypatch):
    monkeypatch.setattr(mutate, "SECONDS", 0.2)
    exercise = lessons.EXERCISES["linear"]
    assert mutate.is_a_mistake(exercise, endless) and not mutate.is_a_mistake(exercise, plain.linear)


@pytest.fixture
def timer():
    """A handler, and what it was called with; the usual one stands again after the test."""
    called = []

    def handler(number, frame):
        called.append(number)

    usual = signal.signal(signal.SIGALRM, handler)
    yield handler, called
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, usual)


@pytest.mark.parametrize("function", [plain.linear, endless, lambda *given: 1 / 0])
def test_handler_and_timer_are_as_before(timer, function):
    handler, called = timer
    signal.setitimer(signal.ITIMER_REAL, 100, 7)
    lessons.check("linear", function, seconds=0.2)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert signal.getsignal(signal.SIGALRM) is handler and interval == 7 and 50 < left < 100 and not called
    signal.setitimer(signal.ITIMER_REAL, 0)
    lessons.check("linear", function, seconds=0.2)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_timer_that_ran_out_meanwhile_is_late(timer):
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with limited(30):
        time.sleep(0.1)
    time.sleep(0.1)
    assert timer[1] == [signal.SIGALRM]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_is_lost_is_raised_again():
    class Lost:
        def __del__(self):
            endless()

    with pytest.raises(DoesNotEnd), limited(0.1):
        Lost()
        endless()


def test_in_another_thread_nothing_is_limited():
    found = []

    def work():
        with limited(0.01):
            time.sleep(0.1)
        found.append(lessons.check("linear", plain.linear))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found and found[0]


def test_what_the_system_does_not_have_is_not_needed(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")
    assert lessons.check("linear", plain.linear)
