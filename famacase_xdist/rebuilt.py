"""Results that no recorder made: of tests that died with their process, and of what never became a test."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from . import clock, metadata, wire
from .payload import suite_entry
from .verdict import (
    BLOCKED,
    FAILED,
    INVALID,
    PASSED,
    SKIPPED,
    crash_line,
    is_assertion,
    skip_reason,
    subtest_name,
    xfail_reason,
)

UNTESTED = "untested"
_BLANK: dict[str, Any] = {
    "testops_ids": None,
    "fields": {},
    "tags": [],
    "params": {},
    "param_groups": [],
    "attachments": [],
    "steps": [],
    "muted": False,
    "ignore": False,
}


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
) -> wire.Frame[wire.ResultHead]:
    """Make a result's frame from what a recorder said when the test began, else from the node id alone."""
    content: dict[str, Any] = json.loads(described) if described else described_by(nodeid)
    now = clock.now()
    content.setdefault("id", str(uuid.uuid4()))
    content["message"] = wire.text_of(message) or None
    content["execution"] = {
        "status": status,
        "start_time": now - seconds,
        "end_time": now,
        "duration": int(seconds * 1000),
        "stacktrace": None if stacktrace is None else wire.text_of(stacktrace),
        "thread": thread,
        "attempt_index": attempt,
        "is_rerun": attempt > 1,
    }
    projects = content.pop(wire.PROJECTS, None) or {}
    head = wire.ResultHead(content["id"], nodeid, status, attempt, projects=projects)
    return wire.Frame(head, wire.to_json(content))


def described_by(nodeid: str) -> dict[str, Any]:
    """Give what a node id says of a test: its title, its suites and its signature."""
    suites, name = metadata.path_of(nodeid)
    return {
        **_BLANK,
        "title": name,
        "signature": "::".join(part.lower().replace(" ", "_") for part in nodeid.split("/")),
        "relations": {"suite": {"data": [suite_entry(title) for title in suites]}},
    }


def crash_message(nodeid: str, worker: str, exit: str, phase: str) -> str:
    """Say which worker died how, in which test and phase."""
    return f"worker {worker} crashed{f' ({exit})' if exit else ''} while running {nodeid}, in its {phase}"


def phase_after(reports: Sequence[pytest.TestReport]) -> str:
    """Give the phase that a test was in when these reports of it had come."""
    reports = [report for report in reports if subtest_name(report) is None]
    if not reports:
        return "set-up"
    return "call" if reports[-1].when == "setup" and reports[-1].passed else "tear-down"


def from_reports(
    nodeid: str, reports: Sequence[pytest.TestReport], *, described: bytes, thread: str, attempt: int
) -> wire.Frame[wire.ResultHead]:
    """Make the result of a test of which pytest's own reports are all that came."""
    failed = next((report for report in reports if report.failed), None)
    phases = [report for report in reports if subtest_name(report) is None]
    skipped = next((report for report in phases if report.skipped), None)
    if failed is not None:
        status = FAILED if failed.when == "call" and is_assertion(failed) else INVALID
        message = crash_line(failed) or _last_line(failed.longreprtext)
    elif skipped is not None:
        status = SKIPPED
        message = xfail_reason(skipped) if hasattr(skipped, "wasxfail") else skip_reason(skipped)
    elif any(report.when == "call" for report in phases):
        status, message = PASSED, ""
    else:
        status, message = INVALID, f"the session ended while this test was in its {phase_after(reports)} on {thread}"
    return result(
        nodeid,
        status,
        message,
        described=described,
        thread=thread,
        attempt=attempt,
        stacktrace=failed.longreprtext if failed else None,
        seconds=sum(report.duration for report in phases),
    )


def collection_error(report: pytest.CollectReport) -> wire.Frame[wire.ResultHead]:
    """Make the result of a module that could not be collected."""
    text = report.longreprtext
    return result(report.nodeid or "collection", INVALID, f"collection error: {_last_line(text)}", stacktrace=text)


def collection_skip(report: pytest.CollectReport) -> wire.Frame[wire.ResultHead]:
    """Make the result of a module that was skipped as a whole."""
    return result(report.nodeid or "collection", SKIPPED, skip_reason(report))


def cut_off(nodeid: str) -> wire.Frame[wire.ResultHead]:
    """Make the result of a test of which nothing is known but that it began."""
    return result(nodeid, INVALID, "the session ended while this test was running")


def not_run(nodeid: str) -> wire.Frame[wire.ResultHead]:
    """Make the result of a test that was collected and never began."""
    return result(nodeid, UNTESTED, "the session ended before this test began")


def settled(frame: wire.Frame[wire.ResultHead], mapping: Mapping[str, str], policy: str) -> wire.Frame[wire.ResultHead]:
    """Give the status that a recorder would at the end: a muted test that did not pass is blocked; mapping last."""
    content = json.loads(frame.body)
    status = frame.head.status
    if policy == "famacase" and content["muted"] and status not in (PASSED, UNTESTED):
        status = BLOCKED
    status = mapping.get(status, status)
    if status == frame.head.status:
        return frame
    content["execution"]["status"] = status
    return wire.Frame(dataclasses.replace(frame.head, status=status), wire.to_json(content))


def rooted(frame: wire.Frame[wire.ResultHead], root_suite: str | None) -> wire.Frame[wire.ResultHead]:
    """Put the root suite, if there is one, in front of the suites, as a recorder does."""
    if not root_suite:
        return frame
    content = json.loads(frame.body)
    content["relations"]["suite"]["data"].insert(0, suite_entry(root_suite))
    return wire.Frame(frame.head, wire.to_json(content))


def filtered(frame: wire.Frame[wire.ResultHead], statuses: Collection[str]) -> wire.AnyFrame:
    """Give what is kept of a result: where the status filter names its status, only that the test is over."""
    return wire.Frame(wire.IgnoredHead(frame.head.nodeid)) if frame.head.status in statuses else frame


def _last_line(text: str) -> str:
    """Give the line of a traceback that names the exception."""
    lines = [line.removeprefix("E").strip() for line in text.splitlines() if line.startswith("E ")]
    return lines[-1] if lines else (text.strip().splitlines() or [""])[-1]
