"""What the checker says of a learner's own files (own_files.py): for `status`, for pytest, and before `assemble`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from minibert.errors import cut
from minibert.lessons.checker import UNWRITTEN, Report, check, is_written
from minibert.lessons.exercises import EXERCISES
from minibert.lessons.own_import import MODULE, load  # noqa: F401 (the test_mine.py of a learner calls own.load)
from minibert.lessons.time_limit import SECONDS

RIGHT, NOT_YET, NOT_WRITTEN = "right", "not yet", "not written"
SOON = 1.0  # seconds for a call that calls what does not end
WIDTH = 90  # of a diagnosis in the table


class Standing(NamedTuple):
    """How far a learner is with an exercise. state: RIGHT, NOT_YET or NOT_WRITTEN."""

    lesson: int
    name: str
    state: str
    report: Report


class Reports:
    """The checker's reports on a learner's functions. Each function is checked once, and one that calls an answer that
    does not end is given SOON seconds: it need not be waited for again."""

    def __init__(self, functions: dict[str, Callable]):
        self.functions = functions
        self._made: dict[tuple[str, bool], Report] = {}
        self._begun: set[str] = set()

    def on(self, name: str) -> Report:
        """The report on one function, with the command that gives a hint."""
        return replace(self._found(name), of_own_file=True)

    def _found(self, name: str) -> Report:
        """A backward function must also go with the learner's own forward function, if that is right; one that calls
        another of theirs needs that one first."""
        function = self.functions.get(name)
        if function is None:
            return Report(name, f"{MODULE}.py has no {name}")
        if not is_written(function):
            return Report(name, UNWRITTEN)
        report = self._check(name)
        forward = EXERCISES[name].forward
        if is_written(self.functions.get(forward)) and self._check(forward):
            own = self._check(name, with_own=True)
            report = own if report or not report.named else report
        return report if report or report.named else self._begin_elsewhere(report)

    def _check(self, name: str, with_own: bool = False) -> Report:
        if (name, with_own) not in self._made:
            function, forward = self.functions[name], self.functions[EXERCISES[name].forward] if with_own else None
            self._begun.add(name)
            called = [other for other in called_by(function, self.functions) if other not in self._begun]
            never_ends = [other for other in called if not self._check(other).ends]
            self._made[name, with_own] = check(name, function, forward, seconds=SOON if never_ends else SECONDS)
            self._begun.discard(name)
        return self._made[name, with_own]

    def _begin_elsewhere(self, report: Report) -> Report:
        """The same report, or, if the function calls one of the learner's that is not right, that this comes first."""
        for name in called_by(self.functions[report.exercise], self.functions):
            if name != report.exercise and not self._check(name):
                state = "right" if is_written(self.functions[name]) else "written"
                said = f"it calls {name}, which is not {state} yet: begin there"
                return Report(report.exercise, said, (report.diagnosis,), begin=name)
        return report


def report_on(name: str, functions: dict[str, Callable]) -> Report:
    """The report on one of a learner's functions. Of several, `Reports` checks each once."""
    return Reports(functions).on(name)


def called_by(function: Callable, functions: dict[str, Callable]) -> list[str]:
    """The learner's answers that a function calls, directly or by a function beside it that is no answer."""
    found, waiting, seen = [], [inspect.unwrap(function)], set()
    while waiting:
        now = waiting.pop(0)
        code, names = getattr(now, "__code__", None), getattr(now, "__globals__", {})
        for name in code.co_names if code else ():
            called = names.get(name)
            if called is None or id(called) in seen:
                continue
            seen.add(id(called))
            if inspect.unwrap(functions.get(name)) is called:
                found.append(name)
            elif getattr(called, "__globals__", None) is names:
                waiting.append(called)
    return found


def standings(functions: dict[str, Callable]) -> list[Standing]:
    """How far a learner is, exercise by exercise, in the order of the lessons."""
    found, reports = [], Reports(functions)
    for name, exercise in EXERCISES.items():
        report = reports.on(name)
        state = RIGHT if report else NOT_YET if is_written(functions.get(name)) else NOT_WRITTEN
        found.append(Standing(exercise.lesson, name, state, report))
    return found


def table(found: list[Standing]) -> str:
    """The standings for people, and how many are right."""
    lines = [f"{'lesson':<8}{'exercise':<24}state", "-" * 60]
    for lesson, name, state, report in found:
        why = cut(" ".join(report.diagnosis.split()), WIDTH)
        lines.append(f"{lesson:<8}{name:<24}{state}{f': {why}' if state == NOT_YET else ''}")
    n_right = sum(standing.state == RIGHT for standing in found)
    return "\n".join([*lines, f"{n_right} of {len(found)} right"])
