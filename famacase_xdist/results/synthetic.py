"""Results that no recorder made: of tests that died with their process, and of modules that never became tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from famacase_xdist import clock

from .body import Description, description_of, framed, is_muted, suite_entry, with_status, with_suite
from .frames import AnyFrame, Frame, IgnoredHead, ResultFrame
from .ids import new_id
from .node_ids import path_of, signature_of
from .pytest_reports import (
    crash_line,
    exception_line,
    is_assertion,
    phase_after,
    skip_reason,
    without_subtests,
    xfail_reason,
)
from .status import BLOCKED, FAILED, INVALID, PASSED, SKIPPED, UNTESTED
from .text import text_of

if TYPE_CHECKING:
    import pytest


def result(
    nodeid: str,
    status: str,
    message: str,
    *,
    described: bytes = b"",
    thread: str = "main",
    attempt: int = 1,
    stacktrace: str | None = None,
    seconds: float = 0.0,
) -> ResultFrame:
    """Return the frame of a result that no recorder made.

    `described` is the body of the test's begun frame; without one, the node id describes the test. `seconds` is the
    duration of the attempt, which ends now. The other arguments are the fields of a RESULT.
    """
    content, projects = description_of(described) if described else (described_by(nodeid), {})
    now = clock.now()
    return framed(
        {
            **content,
            "message": text_of(message) or None,
            "execution": {
                "status": status,
                "start_time": now - seconds,
                "end_time": now,
                "duration": int(seconds * 1000),
                "stacktrace": None if stacktrace is None else text_of(stacktrace),
                "thread": thread,
                "attempt_index": attempt,
                "is_rerun": attempt > 1,
            },
        },
        nodeid,
        projects=projects,
    )


def described_by(nodeid: str) -> Description:
    """Return a description that is made of the node id alone: title, suites and signature."""
    suites, name = path_of(nodeid)
    return {
        "id": new_id(),
        "title": name,
        "signature": signature_of(nodeid),
        "testops_ids": None,
        "fields": {},
        "tags": [],
        "params": {},
        "param_groups": [],
        "attachments": [],
        "steps": [],
        "muted": False,
        "ignore": False,
        "relations": {"suite": {"data": [suite_entry(title) for title in suites]}},
    }


def crash_message(nodeid: str, worker: str, exit: str, phase: str) -> str:
    """Return the message for a test whose worker died; `exit` says how, if that is known."""
    return f"worker {worker} crashed{f' ({exit})' if exit else ''} while running {nodeid}, in its {phase}"


def from_reports(
    nodeid: str, reports: Sequence[pytest.TestReport], *, described: bytes, thread: str, attempt: int
) -> ResultFrame:
    """Return the result of a test that left only pytest's own reports."""
    failed = next((report for report in reports if report.failed), None)
    status, message = _failure(failed) if failed else _verdict(reports, thread)
    return result(
        nodeid,
        status,
        message,
        described=described,
        thread=thread,
        attempt=attempt,
        stacktrace=failed.longreprtext if failed else None,
        seconds=sum(report.duration for report in without_subtests(reports)),
    )


def _failure(report: pytest.TestReport) -> tuple[str, str]:
    """Return status and message of a test with this report of a failure."""
    status = FAILED if report.when == "call" and is_assertion(report) else INVALID
    return status, crash_line(report) or exception_line(report.longreprtext)


def _verdict(reports: Sequence[pytest.TestReport], thread: str) -> tuple[str, str]:
    """Return status and message of a test without a failure."""
    phases = without_subtests(reports)
    skipped = next((report for report in phases if report.skipped), None)
    if skipped is not None:
        return SKIPPED, xfail_reason(skipped) if hasattr(skipped, "wasxfail") else skip_reason(skipped)
    if any(report.when == "call" for report in phases):
        return PASSED, ""
    return INVALID, f"the session ended while this test was in its {phase_after(reports)} on {thread}"


def collection_error(report: pytest.CollectReport) -> ResultFrame:
    """Return the result of a module that could not be collected."""
    text = report.longreprtext
    message = f"collection error: {exception_line(text)}"
    return result(report.nodeid or "collection", INVALID, message, stacktrace=text)


def collection_skip(report: pytest.CollectReport) -> ResultFrame:
    """Return the result of a module that was skipped as a whole."""
    return result(report.nodeid or "collection", SKIPPED, skip_reason(report))


def cut_off(nodeid: str) -> ResultFrame:
    """Return the result of a test that began and left nothing else."""
    return result(nodeid, INVALID, "the session ended while this test was running")


def not_run(nodeid: str) -> ResultFrame:
    """Return the result of a test that was collected and never began."""
    return result(nodeid, UNTESTED, "the session ended before this test began")


def settled(frame: ResultFrame, mapping: Mapping[str, str], policy: str) -> ResultFrame:
    """Return a result with its final status, by the rules of a recorder.

    Args:
        frame: The result.
        mapping: The setting STATUS_MAPPING, which comes last.
        policy: The setting STATUS_POLICY; with ``famacase`` a muted test that ran and did not pass is blocked.
    """
    status = frame.head.status
    if policy == "famacase" and status not in (PASSED, UNTESTED) and is_muted(frame):
        status = BLOCKED
    return with_status(frame, mapping.get(status, status))


def rooted(frame: ResultFrame, root_suite: str | None) -> ResultFrame:
    """Return a result with the root suite, if there is one, in front of its suites, as a recorder does it."""
    return with_suite(frame, root_suite) if root_suite else frame


def filtered(frame: ResultFrame, statuses: Collection[str]) -> AnyFrame:
    """Return the frame to keep of a result; an ignored frame if the status filter names the status of the result."""
    return Frame(IgnoredHead(frame.head.nodeid)) if frame.head.status in statuses else frame
