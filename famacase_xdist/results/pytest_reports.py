"""Facts from pytest's reports. A test whose worker died has left nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .text import text_of

if TYPE_CHECKING:
    import pytest


def subtest_name(report: pytest.TestReport) -> str | None:
    """Return the name of a subtest, its message and arguments, from its report; None for any other report.

    The class of such a report is pytest's own since version 9; before that it was the plugin pytest-subtests'.
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
    """Return the phase that a test was in after these reports of it."""
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
    """Return whether a report is about an assertion that failed."""
    return crash_line(report).startswith(("AssertionError", "assert "))


def crash_line(report: pytest.TestReport) -> str:
    """Return the first line of the exception's text; empty if the report has no such text."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return text_of(getattr(crash, "message", "")).partition("\n")[0]


def exception_line(traceback: str) -> str:
    """Return the line of a printed traceback that names the exception."""
    lines = [line.removeprefix("E").strip() for line in traceback.splitlines() if line.startswith("E ")]
    return lines[-1] if lines else (traceback.strip().splitlines() or [""])[-1]
