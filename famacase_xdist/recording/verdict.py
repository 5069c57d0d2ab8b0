"""The status policy: what pytest's reports of a test's phases make its status and message."""

from __future__ import annotations

import itertools
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pytest

from famacase_xdist.results.pytest_reports import crash_line, is_assertion, skip_reason, xfail_reason
from famacase_xdist.results.status import BLOCKED, FAILED, INVALID, PASSED, SKIPPED
from famacase_xdist.results.text import text_of
from famacase_xdist.settings.settings import Settings

if TYPE_CHECKING:
    from doctest import DocTestFailure, UnexpectedException

    DoctestFailure: TypeAlias = DocTestFailure | UnexpectedException

_WEIGHT = {"passed": 0, "skipped": 1, "failed": 2}
#: How pytest begins the messages of groups that it makes of what several finalizers, or several scopes' ends, raised.
_TEARDOWN_GROUP = ("errors while tearing down", "errors during test teardown")

#: Says what there is to say of an exception besides its own text; empty for nothing.
Note = Callable[[BaseException], str]


class PhaseVerdict(NamedTuple):
    """What one phase came to: pytest's own outcome, and what we report where this phase decides."""

    outcome: str
    status: str
    reason: str = ""
    stacktrace: str = ""
    decides: bool = True


class Verdict:
    """The verdict on one attempt; grows with each phase."""

    def __init__(self) -> None:
        self._phases: list[PhaseVerdict] = []
        self._is_over = False
        self._is_interrupted = False

    def add(
        self,
        report: pytest.TestReport,
        call: pytest.CallInfo[None] | None,
        settings: Settings,
        note: Note | None = None,
    ) -> None:
        """Take one phase's report into account; a set-up or teardown that passed says nothing about the test.

        Args:
            report: What pytest says of the phase.
            call: What it was made of; None where a plugin made it of nothing.
            settings: What an xfail and an xpass are.
            note: Asked about each error of a set-up or a teardown.
        """
        self._is_over = self._is_over or report.when == "teardown"
        if report.when == "call" or not report.passed:
            self._phases.append(_phase(report, call, settings, None if report.when == "call" else note))

    def add_subtest(
        self, name: str, report: pytest.TestReport, call: pytest.CallInfo[None] | None, settings: Settings
    ) -> str:
        """Take a subtest into account and give its status; only a failed one decides anything about the test."""
        phase = _phase(report, call, settings)
        if report.failed:
            self._phases.append(phase._replace(reason=f"{name}: {phase.reason}"))
        elif phase.reason:
            self._phases.append(phase._replace(reason=f"{name}: {phase.reason}", stacktrace="", decides=False))
        return phase.status

    def interrupt(self, error: BaseException, path: str) -> None:
        """Take in what ended the session in the middle of the test: pytest makes no report of that phase."""
        if not self._is_over:
            self._is_interrupted = True
            self._phases.append(PhaseVerdict("failed", INVALID, _interruption(error), _trace_from(error, path)))

    @property
    def status(self) -> str | None:
        """One of the server's statuses, from the first phase with the worst outcome; None until there is one."""
        status, weight = None, -1
        for phase in self._phases:
            if phase.decides and _WEIGHT.get(phase.outcome, 0) > weight:
                status, weight = phase.status, _WEIGHT.get(phase.outcome, 0)
        return status

    @property
    def message(self) -> str | None:
        """What went wrong, or why the test was skipped; a reason that two phases have is said once."""
        return "\n".join(dict.fromkeys(phase.reason for phase in self._phases if phase.reason)) or None

    @property
    def stacktrace(self) -> str | None:
        """What pytest itself says of every failure."""
        return "\n\n".join(phase.stacktrace for phase in self._phases if phase.stacktrace) or None

    def final(self, settings: Settings, *, muted: bool, upstream: str | None = None) -> str:
        """Give the status to report: a muted test that did not pass is blocked; the mapping comes last.

        `upstream` is the status that qase-pytest gives, where its policy is asked for; it knows no muted tests, and
        never hears of a test that an interruption ended.
        """
        if upstream and not self._is_interrupted:
            status = upstream
        else:
            status = self.status or INVALID
            if muted and status != PASSED and settings.status_policy == "famacase":
                status = BLOCKED
        return settings.status_mapping.get(status, status)


def _phase(
    report: pytest.TestReport, call: pytest.CallInfo[None] | None, settings: Settings, note: Note | None = None
) -> PhaseVerdict:
    error = call.excinfo.value if call and call.excinfo else None
    if report.failed:
        return PhaseVerdict(report.outcome, _failure(report, call), _reason(report, error, note), report.longreprtext)
    if hasattr(report, "wasxfail"):
        status = settings.pytest_xfail_status_xfail if report.skipped else settings.pytest_xfail_status_xpass
        return PhaseVerdict(report.outcome, status, xfail_reason(report), report.longreprtext)
    if report.skipped:
        return PhaseVerdict(report.outcome, SKIPPED, skip_reason(report))
    return PhaseVerdict(report.outcome, PASSED)


def _failure(report: pytest.TestReport, call: pytest.CallInfo[None] | None) -> str:
    """Tell failed from invalid. Without an exception it is pytest's own verdict: a strict xfail that passed."""
    is_failure = is_assertion(report) if call is None else call.excinfo is None or _is_unmet(call.excinfo.value)
    return FAILED if report.when == "call" and is_failure else INVALID


def _is_unmet(error: BaseException) -> bool:
    """Whether an expectation of the test was not met; a doctest's assertion is the output that it shows."""
    in_doctest = _doctest_failures(error)
    return isinstance(error, AssertionError) or (bool(in_doctest) and all(hasattr(each, "got") for each in in_doctest))


def _doctest_failures(error: BaseException) -> list[DoctestFailure]:
    """Give what went wrong in a doctest; under --doctest-continue-on-failure that may be several."""
    doctest = sys.modules.get("doctest")  # pytest imports it where there are any
    failures = getattr(error, "failures", [error])
    if doctest is None or not isinstance(failures, list):
        return []
    return [each for each in failures if isinstance(each, (doctest.DocTestFailure, doctest.UnexpectedException))]


def _reason(report: pytest.TestReport, error: BaseException | None, note: Note | None) -> str:
    if error is None:
        return crash_line(report) or text_of(report.longrepr)
    lines = [_in_doctest(each) for each in _doctest_failures(error)]
    return "\n".join(map(text_of, lines or _noted(error, note)))


def _noted(error: BaseException, note: Note | None) -> Iterator[str]:
    """Give a line for each exception, and what there is to say of several in a row once, after the last of them."""
    for said, errors in itertools.groupby(raised(error), note or (lambda error: "")):
        yield from map(_exconly, errors)
        if said:
            yield said


def _in_doctest(failure: DoctestFailure) -> str:
    """Say what an example of a doctest came to; pytest's own line names only where the doctest stands."""
    source, want = text_of(failure.example.source).strip(), text_of(failure.example.want).strip()
    if hasattr(failure, "got"):
        return f"{source}: expected {want or 'nothing'}, got {text_of(failure.got).strip() or 'nothing'}"
    return f"{source}: {_exconly(failure.exc_info[1])}"


def raised(error: BaseException) -> Iterator[BaseException]:
    """Give the exceptions in the groups that pytest makes; a test's own group is one exception."""
    if isinstance(error, BaseExceptionGroup) and error.message.startswith(_TEARDOWN_GROUP):
        for each in error.exceptions:
            yield from raised(each)
    else:
        yield error


def _exconly(error: BaseException) -> str:
    if error.__traceback__ is None:  # in a group may be one that nobody raised, which pytest does not take
        return "".join(traceback.format_exception_only(error)).rstrip()
    return pytest.ExceptionInfo.from_exception(error).exconly()


def _interruption(error: BaseException) -> str:
    if isinstance(error, pytest.exit.Exception):
        return f"pytest.exit: {text_of(error.msg)}"
    if isinstance(error, KeyboardInterrupt):
        return f"the session was interrupted while this test was running: {_exconly(error)}"
    return text_of(_exconly(error))


def _trace_from(error: BaseException, path: str) -> str:
    """Give the traceback from the test's own file on; all of it where that is not in it."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((number for number, frame in enumerate(frames) if frame.filename == path), 0)
    return "".join((*traceback.format_list(frames[first:]), _exconly(error)))
