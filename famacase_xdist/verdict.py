"""The status policy: what pytest's reports of a test's phases make its status and message."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .settings import Settings
from .wire import text_of

PASSED, FAILED, INVALID, SKIPPED, BLOCKED = "passed", "failed", "invalid", "skipped", "blocked"


@dataclass(slots=True)
class Verdict:
    """The verdict on one attempt; grows with each phase.

    Attributes:
        status: One of the server's statuses; None until a phase decided it.
        message: What went wrong, or why the test was skipped.
        stacktrace: pytest's own account of the failure.
    """

    status: str | None = None
    message: str | None = None
    stacktrace: str | None = None

    def add(self, report: pytest.TestReport, call: pytest.CallInfo[None], settings: Settings) -> None:
        """Take one phase's report into account."""
        if report.failed:
            self._failed(report, call)
        elif report.skipped:
            self._skipped(report, settings)
        elif report.when == "call":
            self._passed(report, settings)

    def final(self, settings: Settings, *, muted: bool) -> str:
        """Give the status to report: a muted test that did not pass is blocked; the mapping comes last."""
        status = self.status or INVALID
        if muted and status != PASSED:
            status = BLOCKED
        return settings.status_mapping.get(status, status)

    def _failed(self, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
        message = text_of(call.excinfo.exconly()) if call.excinfo else text_of(report.longrepr)
        if report.when != "teardown":
            # Without an exception it is pytest's own verdict: a strict xfail that passed.
            is_failure = call.excinfo is None or isinstance(call.excinfo.value, AssertionError)
            self.status = FAILED if report.when == "call" and is_failure else INVALID
        elif self.status in (None, PASSED, SKIPPED):
            self.status = INVALID
        self._say(message)
        self.stacktrace = "\n\n".join(filter(None, (self.stacktrace, report.longreprtext)))

    def _skipped(self, report: pytest.TestReport, settings: Settings) -> None:
        if hasattr(report, "wasxfail"):
            self.status = settings.pytest_xfail_status_xfail
            self._say(_xfail_reason(report))
            self.stacktrace = report.longreprtext or None
        else:
            self.status = SKIPPED
            self._say(_skip_reason(report))

    def _passed(self, report: pytest.TestReport, settings: Settings) -> None:
        if hasattr(report, "wasxfail"):
            self.status = settings.pytest_xfail_status_xpass
            self._say(_xfail_reason(report))
        elif self.status is None:
            self.status = PASSED

    def _say(self, message: str) -> None:
        self.message = "\n".join(filter(None, (self.message, message)))


def _xfail_reason(report: pytest.TestReport) -> str:
    return text_of(report.wasxfail).removeprefix("reason: ")


def _skip_reason(report: pytest.TestReport) -> str:
    """Give the whole reason; pytest keeps path, line and "Skipped: reason"."""
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) and len(where) == 3 else report.longreprtext
    return text_of(reason).removeprefix("Skipped: ")
