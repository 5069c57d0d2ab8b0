"""Upstream's model of a result in the form of `docs/reporter-api.md`: plain values, every text a real `str`.

The rules are those of qase-pytest's own client: an empty param is "empty", a root suite stands in front of the
suites, an untested step is sent as skipped, and each type of step has its action text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from famacase_xdist.results.body import (
    AttachmentEntry,
    Body,
    ExecutionBody,
    StepBody,
    StepExecutionBody,
    SuiteEntry,
    suite_entry,
)
from famacase_xdist.results.status import SKIPPED, UNTESTED
from famacase_xdist.results.text import text_of
from famacase_xdist.settings.settings import Settings

from .attachments import AttachmentLike

if TYPE_CHECKING:
    from qase.commons.models.relation import Relation
    from qase.commons.models.result import Execution as UpstreamExecution
    from qase.commons.models.result import Result
    from qase.commons.models.step import Step as UpstreamStep
    from qase.commons.models.step import StepExecution as UpstreamStepExecution

_KeyT = TypeVar("_KeyT")

#: Takes an attachment and returns its entry in the payload; None if it cannot be sent.
Attach = Callable[[AttachmentLike], AttachmentEntry | None]

_REQUEST_ATTACHMENTS = ("request_body", "request_headers", "response_body", "response_headers")


def result_payload(result: Result, settings: Settings, attach: Attach) -> Body:
    """Return the RESULT of a finished attempt.

    Args:
        result: Upstream's model. Its `execution` also has `attempt_index`, from 1.
        settings: Has the root suite, and the params to leave out.
        attach: Called once for each attachment.
    """
    payload: Body = {
        "id": result.id,
        "title": text_of(result.title),
        "signature": text_of(result.signature) if result.signature else None,
        "testops_ids": [int(each) for each in result.testops_ids] if result.testops_ids else None,
        "execution": _execution(result.execution),
        "fields": _texts(_given(result.fields)),
        "tags": [text_of(tag) for tag in getattr(result, "tags", ())],
        "params": _params(result.params, settings.exclude_params),
        "param_groups": _groups(result.param_groups or (), settings.exclude_params),
        "attachments": _attached(result.attachments, attach),
        "steps": [step_payload(step, attach) for step in result.steps],
        "message": None if result.message is None else text_of(result.message),
        "muted": bool(result.muted),
        "ignore": bool(getattr(result, "ignore", False)),
    }
    suites = _suites(result.relations, settings.root_suite)
    if suites:
        payload["relations"] = {"suite": {"data": suites}}
    return payload


def step_payload(step: UpstreamStep, attach: Attach) -> StepBody:
    """Return the STEP of upstream's model of a step, with all steps below it."""
    step_type = text_of(getattr(step.step_type, "value", step.step_type))
    data: dict[str, object] = {}
    if step.data:
        data = {name: value for name, value in vars(step.data).items() if value is not None}
    attachments = _attached([*step.execution.attachments, *_request_parts(step_type, data)], attach)
    data["action"] = _action(step_type, data)
    return {
        "id": step.id,
        "step_type": step_type,
        "data": _texts(data),
        "execution": _step_execution(step.execution, attachments),
        "steps": [step_payload(child, attach) for child in step.steps],
        "attachments": attachments,
    }


class TextAttachment:
    """Text that becomes an attachment, with the attributes of upstream's `Attachment`."""

    file_path = None
    mime_type = "text/plain"

    def __init__(self, file_name: str, content: str) -> None:
        self.file_name = file_name
        self.content = content


def _execution(execution: UpstreamExecution) -> ExecutionBody:
    return {
        "status": execution.status,
        "start_time": execution.start_time,
        "end_time": execution.end_time,
        "duration": max(0, int(execution.duration)),
        "stacktrace": None if execution.stacktrace is None else text_of(execution.stacktrace),
        "thread": text_of(execution.thread),
        "attempt_index": execution.attempt_index,
        "is_rerun": execution.attempt_index > 1,
    }


def _step_execution(execution: UpstreamStepExecution, attachments: list[AttachmentEntry]) -> StepExecutionBody:
    if execution.status == UNTESTED:
        return {"status": SKIPPED, "start_time": None, "end_time": None, "duration": 0, "attachments": attachments}
    return {
        "status": execution.status,
        "start_time": execution.start_time,
        "end_time": execution.end_time,
        "duration": max(0, int(execution.duration)),
        "attachments": attachments,
    }


def _action(step_type: str, data: dict[str, object]) -> object:
    """Return the line that stands for the step, in the words of upstream's client."""
    if step_type == "request":
        return f"{data.get('request_method')} {data.get('request_url')}"
    if step_type == "gherkin":
        return " ".join(dict.fromkeys((text_of(data.get("keyword", "")), text_of(data.get("name", "")))))
    if step_type == "sleep":
        return f"Sleep for {data.get('duration')} seconds"
    if step_type == "db_query":
        kind = data.get("database_type")
        return f"[{kind}] {data.get('query')}" if kind else data.get("query", "")
    return data.get("action", "")


def _request_parts(step_type: str, data: dict[str, object]) -> list[TextAttachment]:
    """Remove bodies and headers from a request's data, and return them as attachments."""
    if step_type != "request":
        return []
    parts = [(name, data.pop(name, None)) for name in _REQUEST_ATTACHMENTS]
    return [TextAttachment(f"{name}.txt", text_of(content)) for name, content in parts if content]


def _attached(attachments: Iterable[AttachmentLike], attach: Attach) -> list[AttachmentEntry]:
    return [entry for attachment in attachments if (entry := attach(attachment)) is not None]


def _groups(groups: Iterable[Iterable[object]], excluded: Sequence[str]) -> list[list[str]]:
    """Return the param groups. A group with an excluded param is left out, like one with an ignored param."""
    named = [[text_of(name) for name in group] for group in groups]
    return [names for names in named if not set(names).intersection(excluded)]


def _params(params: Mapping[str, object] | None, excluded: Sequence[str]) -> dict[str, str]:
    return {name: value or "empty" for name, value in _texts(params).items() if name not in excluded}


def _given(fields: Mapping[_KeyT, object] | None) -> dict[_KeyT, object]:
    return {name: value for name, value in dict(fields).items() if value is not None} if fields else {}


def _suites(relations: Relation | None, root_suite: str | None) -> list[SuiteEntry]:
    data = relations.suite.data if relations is not None and relations.suite is not None else ()
    suites = [suite_entry(suite.title, getattr(suite, "description", None)) for suite in data]
    return [suite_entry(root_suite), *suites] if suites and root_suite else suites


def _texts(values: Mapping[_KeyT, object] | None) -> dict[str, str]:
    return {text_of(name): text_of(value) for name, value in dict(values).items()} if values else {}
