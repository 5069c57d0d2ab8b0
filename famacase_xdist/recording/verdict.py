"""The status policy: the status and the message of a test, made from pytest's reports of its phases."""

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
#: The messages of pytest's exception groups begin so. pytest makes a group if several finalizers raise, or the ends of
#: several scopes.
_TEARDOWN_GROUP = ("errors while tearing down", "errors during test teardown")

#: Returns a line on an exception besides the exception's own text; empty for none.
Note = Callable[[BaseException], str]


class PhaseVerdict(NamedTuple):
    """The verdict on one phase: pytest's own outcome, and the status and texts to report if this phase decides."""

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
            report: pytest's report of the phase.
            call: The call that the report was made of; None if a plugin made the report without one.
            settings: Has the statuses of an xfail and of an xpass.
            note: Called with each error of a set-up or a teardown.
        """
        self._is_over = self._is_over or report.when == "teardown"
        if report.when == "call" or not report.passed:
            self._phases.append(_verdict_on(report, call, settings, None if report.when == "call" else note))

    def add_subtest(
        self, name: str, report: pytest.TestReport, call: pytest.CallInfo[None] | None, settings: Settings
    ) -> str:
        """Take a subtest into account and return its status. Only a failed one decides anything about the test."""
        phase = _verdict_on(report, call, settings)
        if report.failed:
            self._phases.append(phase._replace(reason=f"{name}: {phase.reason}"))
        elif phase.reason:
            self._phases.append(phase._replace(reason=f"{name}: {phase.reason}", stacktrace="", decides=False))
        return phase.status

    def interrupt(self, error: BaseException, path: str) -> None:
        """Take the interruption of a phase into account, because pytest makes no report of that phase."""
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
        """The errors, or the reason of the skip. A reason that two phases have in common stands once."""
        return "\n".join(dict.fromkeys(phase.reason for phase in self._phases if phase.reason)) or None

    @property
    def stacktrace(self) -> str | None:
        """The text that pytest has of every failure."""
        return "\n\n".join(phase.stacktrace for phase in self._phases if phase.stacktrace) or None

    def final(self, settings: Settings, *, muted: bool, upstream: str | None = None) -> str:
        """Return the status to report: a muted test that did not pass is blocked; the mapping comes last.

        Args:
            settings: Has the policy and the mapping.
            muted: Whether a failure of the test does not count.
            upstream: The status that qase-pytest gives, if its policy is asked for. That policy has no muted tests, and
                gets no report of a test that an interruption ended.
        """
        if upstream and not self._is_interrupted:
            status = upstream
        else:
            status = self.status or INVALID
            if muted and status != PASSED and settings.status_policy == "famacase":
                status = BLOCKED
        return settings.status_mapping.get(status, status)


def _verdict_on(
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
    """Return failed or invalid. Without an exception it is pytest's own verdict: a strict xfail that passed."""
    is_failure = is_assertion(report) if call is None else call.excinfo is None or _is_unmet(call.excinfo.value)
    return FAILED if report.when == "call" and is_failure else INVALID


def _is_unmet(error: BaseException) -> bool:
    """Return whether an expectation of the test was not met. A doctest expects the output that it shows."""
    in_doctest = _doctest_failures(error)
    return isinstance(error, AssertionError) or (bool(in_doctest) and all(hasattr(each, "got") for each in in_doctest))


def _doctest_failures(error: BaseException) -> list[DoctestFailure]:
    """Return the failures in a doctest, which are several with --doctest-continue-on-failure."""
    doctest = sys.modules.get("doctest")  # pytest imports it if there are doctests
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
    """Yield a line for each exception. A note that several in a row have in common comes once, after the last."""
    for said, errors in itertools.groupby(raised(error), note or (lambda error: "")):
        yield from map(_exconly, errors)
        if said:
            yield said


def _in_doctest(failure: DoctestFailure) -> str:
    """Return a line on the failed example of a doctest; pytest's own line has only the place of the doctest."""
    source, want = text_of(failure.example.source).strip(), text_of(failure.example.want).strip()
    if hasattr(failure, "got"):
        return f"{source}: expected {want or 'nothing'}, got {text_of(failure.got).strip() or 'nothing'}"
    return f"{source}: {_exconly(failure.exc_info[1])}"


def raised(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in the groups that pytest makes. A test's own group is one exception."""
    if isinstance(error, BaseExceptionGroup) and error.message.startswith(_TEARDOWN_GROUP):
        for each in error.exceptions:
            yield from raised(each)
    else:
        yield error


def _exconly(error: BaseException) -> str:
    if error.__traceback__ is None:  # a group may contain one that was never raised, which pytest refuses
        return "".join(traceback.format_exception_only(error)).rstrip()
    return pytest.ExceptionInfo.from_exception(error).exconly()


def _interruption(error: BaseException) -> str:
    if isinstance(error, pytest.exit.Exception):
        return f"pytest.exit: {text_of(error.msg)}"
    if isinstance(error, KeyboardInterrupt):
        return f"the session was interrupted while this test was running: {_exconly(error)}"
    return text_of(_exconly(error))


def _trace_from(error: BaseException, path: str) -> str:
    """Return the traceback from the test's own file on; all of it if that file is not in it."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((number for number, frame in enumerate(frames) if frame.filename == path), 0)
    return "".join((*traceback.format_list(frames[first:]), _exconly(error)))
