"""The form of upstream's file report, made of our form: one file for each result, and one for the run.

Upstream dumps its model, so the names of its attributes are the format. Steps of every type become text.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import TypedDict

from famacase_xdist.results.body import AttachmentEntry, Body, ExecutionBody, StepBody


class ReportedAttachment(TypedDict):
    """An attachment; `file_path` says where its content is."""

    id: str
    file_name: str
    mime_type: str
    file_path: str
    content: None
    temporary: bool


class ReportedStepData(TypedDict):
    """What a step does, as text."""

    action: str
    expected_result: str | None
    input_data: str | None


class ReportedStepExecution(TypedDict):
    """How a step went; units as in `results.body`."""

    status: str
    start_time: float | None
    end_time: float | None
    duration: int
    attachments: list[ReportedAttachment]


class ReportedStep(TypedDict):
    """A step."""

    id: str
    parent_id: str | None
    step_type: str
    data: ReportedStepData
    execution: ReportedStepExecution
    steps: list[ReportedStep]


class ReportedSuite(TypedDict):
    """One suite."""

    public_id: None
    title: str


class ReportedSuitePath(TypedDict):
    """The suites that a test is in, outermost first."""

    data: list[ReportedSuite]


class ReportedRelations(TypedDict):
    """What a result belongs to."""

    suite: ReportedSuitePath


class ReportedResult(TypedDict):
    """The file of a result; units as in `results.body`."""

    id: str
    title: str
    signature: str | None
    testops_ids: list[int] | None
    testops_project_mapping: dict[str, Sequence[int]] | None
    execution: ExecutionBody
    fields: dict[str, str]
    tags: list[str]
    params: dict[str, str]
    param_groups: list[list[str]]
    attachments: list[ReportedAttachment]
    steps: list[ReportedStep]
    relations: ReportedRelations
    muted: bool
    message: str | None


class ReportedRunExecution(TypedDict):
    """Start and end of the run in seconds since the epoch, durations in ms."""

    start_time: float
    end_time: float
    duration: int
    cumulative_duration: int


class ReportedRunResult(TypedDict):
    """The line of the run's file that a result has."""

    id: str
    title: str
    status: str
    duration: int
    thread: str


class ReportedRun(TypedDict):
    """The file of the run."""

    title: str
    environment: str | None
    execution: ReportedRunExecution
    stats: dict[str, int]
    results: list[ReportedRunResult]
    threads: list[str]
    suites: list[str]
    host_data: dict[str, str]


#: Takes an attachment in our form, and returns it in the report's; None if there is no content.
Attach = Callable[[AttachmentEntry], ReportedAttachment | None]

_COUNTED = ("passed", "failed", "skipped", "blocked", "invalid")


def result_form(result: Body, attach: Attach, projects: Mapping[str, Sequence[int]]) -> ReportedResult:
    """Return the report's form of a result.

    Args:
        result: The result in the form of `docs/reporter-api.md`.
        attach: Called for each attachment of the result and its steps.
        projects: Test case ids by project.
    """
    suites = result["relations"]["suite"]["data"] if "relations" in result else []
    return {
        "id": result["id"],
        "title": result["title"],
        "signature": result["signature"],
        "testops_ids": result["testops_ids"],
        "testops_project_mapping": dict(projects) or None,
        "execution": result["execution"],
        "fields": result["fields"],
        "tags": result["tags"],
        "params": result["params"],
        "param_groups": result["param_groups"],
        "attachments": _attached(result["attachments"], attach),
        "steps": [_step_form(step, None, attach) for step in result["steps"]],
        "relations": {"suite": {"data": [{"public_id": None, "title": suite["title"]} for suite in suites]}},
        "muted": result["muted"],
        "message": result["message"],
    }


def attachment_form(attachment_id: str, file_name: str, mime: str, file_path: str) -> ReportedAttachment:
    """Return the report's form of an attachment."""
    return {
        "id": attachment_id,
        "file_name": file_name,
        "mime_type": mime,
        "file_path": file_path,
        "content": None,
        "temporary": False,
    }


def _attached(entries: Iterable[AttachmentEntry], attach: Attach) -> list[ReportedAttachment]:
    return [form for entry in entries if (form := attach(entry)) is not None]


def _step_form(step: StepBody, parent_id: str | None, attach: Attach) -> ReportedStep:
    execution = step["execution"]
    # In the server's form, a step without times is one that never ran.
    has_run = execution["start_time"] is not None
    return {
        "id": step["id"],
        "parent_id": parent_id,
        "step_type": "text",
        "data": _text_data(step["step_type"], step["data"]),
        "execution": {
            "status": execution["status"] if has_run else "untested",
            "start_time": execution["start_time"],
            "end_time": execution["end_time"],
            "duration": execution["duration"],
            "attachments": _attached(execution["attachments"], attach),
        },
        "steps": [_step_form(child, step["id"], attach) for child in step["steps"]],
    }


def _text_data(step_type: str, data: Mapping[str, str]) -> ReportedStepData:
    """Return a step's data as text, in upstream's words. A request's body is an attachment, not text."""
    if step_type == "assert":
        return _text(f"Assert: {data.get('message')}", str(data.get("expected")), str(data.get("actual")))
    if step_type == "gherkin":
        return _text(f"{data.get('keyword')} {data.get('name')}", None, data.get("data"))
    if step_type == "request":
        status = data.get("status_code")
        return _text(data["action"], f"Status: {status}" if status else None, None)
    if step_type == "db_query":
        return _text(f"SQL: {data.get('query')}", data.get("expected_result"), data.get("connection_info"))
    return _text(data["action"], data.get("expected_result"), data.get("input_data"))


def _text(action: str, expected_result: str | None, input_data: str | None) -> ReportedStepData:
    return {"action": action, "expected_result": expected_result, "input_data": input_data}


class RunForm:
    """The report's form of a run, which grows with each result.

    Args:
        environment: The slug of the environment.
        start_time: When the session began, in seconds since the epoch.
    """

    def __init__(self, environment: str | None, start_time: float) -> None:
        self._environment = environment
        self._start_time = start_time
        self._results: dict[str, ReportedRunResult] = {}
        self._duration = 0
        self._stats = dict.fromkeys((*_COUNTED, "muted", "total"), 0)
        self._threads: dict[str, None] = {}
        self._suites: dict[str, None] = {}
        self._host_data = host_data()

    def __contains__(self, result_id: str) -> bool:
        return result_id in self._results

    def add(self, form: ReportedResult) -> None:
        """Add a result whose file is written."""
        execution = form["execution"]
        self._results[form["id"]] = {
            "id": form["id"],
            "title": form["title"],
            "status": execution["status"],
            "duration": execution["duration"],
            "thread": execution["thread"],
        }
        self._duration += execution["duration"]
        self._stats["total"] += 1
        self._stats["muted"] += form["muted"]
        if execution["status"] in _COUNTED:
            self._stats[execution["status"]] += 1
        self._threads[execution["thread"]] = None
        if path := "/".join(suite["title"] for suite in form["relations"]["suite"]["data"]):
            self._suites[path] = None

    def form(self, end_time: float) -> ReportedRun:
        """Return the run with the results until now.

        Args:
            end_time: The time of its end, in seconds since the epoch.
        """
        return {
            "title": "Test run",
            "environment": self._environment,
            "execution": {
                "start_time": self._start_time,
                "end_time": end_time,
                "duration": int((end_time - self._start_time) * 1000),
                "cumulative_duration": self._duration,
            },
            "stats": self._stats,
            "results": list(self._results.values()),
            "threads": list(self._threads),
            "suites": list(self._suites),
            "host_data": self._host_data,
        }


def host_data() -> dict[str, str]:
    """Return machine and versions of packages, without the ten pip processes that upstream starts for them."""
    return {
        "system": platform.system().lower(),
        "machineName": platform.node(),
        "release": platform.release(),
        "version": _system_name(),
        "arch": platform.machine(),
        "language": platform.python_version(),
        "packageManager": _version("pip"),
        "framework": _version("pytest"),
        "reporter": _version("famacase-xdist"),
        "commons": _version("qase-python-commons"),
        "apiClientV1": _version("qase-api-client"),
        "apiClientV2": _version("qase-api-v2-client"),
    }


def _system_name() -> str:
    if platform.system() == "Darwin":
        return platform.mac_ver()[0]
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.release()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
