"""What can be read off pytest's reports, which is all that there is of a test whose worker died."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from .text import text_of


def subtest_name(report: pytest.TestReport) -> str | None:
    """Return the name of a subtest, its message and arguments, from its report; None for any other report.

    The report's class is pytest's since version 9, and the one of the plugin pytest-subtests before.
    """
    context = getattr(report, "context", None)
    if not (hasattr(context, "msg") and hasattr(context, "kwargs")):
        return None
    head_line = text_of(report.head_line)
    return f"subtest {head_line.removeprefix(f'{report.location[2]} ')}"


def without_subtests(reports: Sequence[pytest.TestReport]) -> list[pytest.TestReport]:
    """Return the reports of a test's own phases."""
    return [report for report in reports if subtest_name(report) is None]


def phase_after(reports: Sequence[pytest.TestReport]) -> str:
    """Return the phase that a test was in when these reports of it had come."""
    phases = without_subtests(reports)
    if not phases:
        return "set-up"
    return "call" if phases[-1].when == "setup" and phases[-1].passed else "tear-down"


def xfail_reason(report: pytest.TestReport) -> str:
    """Return the reason of an xfail or an xpass."""
    return text_of(report.wasxfail).removeprefix("reason: ")


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the whole reason of a skip, which pytest keeps as path, line and "Skipped: reason"."""
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) and len(where) == 3 else report.longreprtext
    return text_of(reason).removeprefix("Skipped: ")


def is_assertion(report: pytest.TestReport) -> bool:
    """Return whether a report tells of an assertion."""
    return crash_line(report).startswith(("AssertionError", "assert "))


def crash_line(report: pytest.TestReport) -> str:
    """Return the first line of what pytest says of the exception; empty where pytest says it in another form."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return text_of(getattr(crash, "message", "")).partition("\n")[0]


def exception_line(traceback: str) -> str:
    """Return the line of a printed traceback that names the exception."""
    lines = [line.removeprefix("E").strip() for line in traceback.splitlines() if line.startswith("E ")]
    return lines[-1] if lines else (traceback.strip().splitlines() or [""])[-1]
