"""The form of upstream's file report, made of ours: one file for each result, and one for the run.

Upstream dumps its model, so that the names of its attributes are the format; steps of every type become text.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

#: Takes an attachment's entry in our form; gives the report's, or None where there is no content.
Attach = Callable[[Mapping[str, Any]], dict[str, Any] | None]

_COUNTED = ("passed", "failed", "skipped", "blocked", "invalid")


def result_form(result: Mapping[str, Any], attach: Attach, projects: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Give the report's form of a result, which is in the form of reporter-api.md; `projects` has ids by project."""
    suites = result.get("relations", {}).get("suite", {}).get("data", ())
    return {
        **{name: value for name, value in result.items() if name != "ignore"},
        "testops_project_mapping": dict(projects) or None,
        "attachments": _attached(result["attachments"], attach),
        "steps": [_step_form(step, None, attach) for step in result["steps"]],
        "relations": {"suite": {"data": [{"public_id": None, "title": suite["title"]} for suite in suites]}},
    }


def attachment_form(attachment_id: str, file_name: str, mime: str, file_path: str) -> dict[str, Any]:
    """Give the report's form of an attachment."""
    return {
        "id": attachment_id,
        "file_name": file_name,
        "mime_type": mime,
        "file_path": file_path,
        "content": None,
        "temporary": False,
    }


def _attached(entries: Iterable[Mapping[str, Any]], attach: Attach) -> list[dict[str, Any]]:
    return [form for entry in entries if (form := attach(entry)) is not None]


def _step_form(step: Mapping[str, Any], parent_id: str | None, attach: Attach) -> dict[str, Any]:
    execution = step["execution"]
    # The server's form has no step without times but one that never ran.
    has_run = execution["start_time"] is not None
    return {
        "id": step["id"],
        "parent_id": parent_id,
        "step_type": "text",
        "data": _text_data(step["step_type"], step["data"]),
        "execution": {
            **execution,
            "status": execution["status"] if has_run else "untested",
            "attachments": _attached(execution["attachments"], attach),
        },
        "steps": [_step_form(child, step["id"], attach) for child in step["steps"]],
    }


def _text_data(step_type: str, data: Mapping[str, str]) -> dict[str, str | None]:
    """Give a step's data as text, in upstream's words. A request's body is an attachment."""
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


def _text(action: str, expected_result: str | None, input_data: str | None) -> dict[str, str | None]:
    return {"action": action, "expected_result": expected_result, "input_data": input_data}


class RunForm:
    """The report's form of a run, which grows with each result."""

    def __init__(self, environment: str | None, start_time: float) -> None:
        self._environment = environment
        self._start_time = start_time
        self._results: dict[str, dict[str, Any]] = {}
        self._duration = 0
        self._stats = dict.fromkeys((*_COUNTED, "muted", "total"), 0)
        self._threads: dict[str, None] = {}
        self._suites: dict[str, None] = {}
        self._host_data = host_data()

    def __contains__(self, result_id: str) -> bool:
        return result_id in self._results

    def add(self, form: Mapping[str, Any]) -> None:
        """Take in a result that is written."""
        execution = form["execution"]
        line = {name: execution[name] for name in ("status", "duration", "thread")}
        self._results[form["id"]] = {"id": form["id"], "title": form["title"], **line}
        self._duration += execution["duration"]
        self._stats["total"] += 1
        self._stats["muted"] += form["muted"]
        if execution["status"] in _COUNTED:
            self._stats[execution["status"]] += 1
        self._threads[execution["thread"]] = None
        if path := "/".join(suite["title"] for suite in form["relations"]["suite"]["data"]):
            self._suites[path] = None

    def form(self, end_time: float) -> dict[str, Any]:
        """Give the run as it stands."""
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
    """Describe machine and packages, without the ten pip processes that it takes upstream."""
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
