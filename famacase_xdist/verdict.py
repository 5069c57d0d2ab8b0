"""The status policy: what pytest's reports of a test's phases make its status and message."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from .settings import Settings
from .wire import text_of

PASSED, FAILED, INVALID, SKIPPED, BLOCKED = "passed", "failed", "invalid", "skipped", "blocked"

_WEIGHT = {"passed": 0, "skipped": 1, "failed": 2}


class _Phase(NamedTuple):
    """What one phase came to: pytest's own outcome, and what we report where this phase decides."""

    outcome: str
    status: str
    reason: str = ""
    stacktrace: str = ""


class Verdict:
    """The verdict on one attempt; grows with each phase."""

    def __init__(self) -> None:
        self._phases: list[_Phase] = []

    def add(self, report: pytest.TestReport, call: pytest.CallInfo[None], settings: Settings) -> None:
        """Take one phase's report into account; a set-up or teardown that passed says nothing about the test."""
        if report.when == "call" or not report.passed:
            self._phases.append(_phase(report, call, settings))

    @property
    def status(self) -> str | None:
        """One of the server's statuses, from the first phase with the worst outcome; None until there is one."""
        decisive = max(self._phases, key=lambda phase: _WEIGHT.get(phase.outcome, 0), default=None)
        return decisive.status if decisive else None

    @property
    def message(self) -> str | None:
        """What went wrong, or why the test was skipped; a reason that two phases have is said once."""
        return "\n".join(dict.fromkeys(phase.reason for phase in self._phases if phase.reason)) or None

    @property
    def stacktrace(self) -> str | None:
        """What pytest itself says of every failure."""
        return "\n\n".join(phase.stacktrace for phase in self._phases if phase.stacktrace) or None

    def final(self, settings: Settings, *, muted: bool) -> str:
        """Give the status to report: a muted test that did not pass is blocked; the mapping comes last."""
        status = self.status or INVALID
        if muted and status != PASSED:
            status = BLOCKED
        return settings.status_mapping.get(status, status)


def _phase(report: pytest.TestReport, call: pytest.CallInfo[None], settings: Settings) -> _Phase:
    if report.failed:
        return _Phase(report.outcome, _failure(report, call), _error(report, call), report.longreprtext)
    if hasattr(report, "wasxfail"):
        status = settings.pytest_xfail_status_xfail if report.skipped else settings.pytest_xfail_status_xpass
        return _Phase(report.outcome, status, _xfail_reason(report), report.longreprtext)
    if report.skipped:
        return _Phase(report.outcome, SKIPPED, skip_reason(report))
    return _Phase(report.outcome, PASSED)


def _failure(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    """Tell failed from invalid. Without an exception it is pytest's own verdict: a strict xfail that passed."""
    is_failure = call.excinfo is None or isinstance(call.excinfo.value, AssertionError)
    return FAILED if report.when == "call" and is_failure else INVALID


def _error(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    return text_of(call.excinfo.exconly() if call.excinfo else report.longrepr)


def _xfail_reason(report: pytest.TestReport) -> str:
    return text_of(report.wasxfail).removeprefix("reason: ")


def skip_reason(report: pytest.TestReport) -> str:
    """Give the whole reason; pytest keeps path, line and "Skipped: reason"."""
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) and len(where) == 3 else report.longreprtext
    return text_of(reason).removeprefix("Skipped: ")
