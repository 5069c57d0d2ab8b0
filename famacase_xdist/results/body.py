"""The JSON of a RESULT, as `docs/reporter-api.md` describes it. Only this module changes one, head and body together.

A body goes from the test to the server unchanged, except by the few functions here. It refers to attachments by
references (`reference`) until the server has given them ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NotRequired, TypeAlias, TypedDict

from .frames import BegunHead, Frame, ResultFrame, ResultHead
from .ids import id_in
from .text import from_json, text_of, to_json


class AttachmentEntry(TypedDict):
    """An attachment of a result or a step; `id` is the server's id, or a reference (`reference`)."""

    id: object
    file_name: str


class StepExecutionBody(TypedDict):
    """The outcome of a step; times in seconds since the epoch, None for a step that never ran, `duration` in ms."""

    status: str
    start_time: float | None
    end_time: float | None
    duration: int
    attachments: list[AttachmentEntry]


class StepBody(TypedDict):
    """A STEP of `docs/reporter-api.md`."""

    id: str
    step_type: str
    data: dict[str, str]
    execution: StepExecutionBody
    steps: list[StepBody]
    attachments: list[AttachmentEntry]


class ExecutionBody(TypedDict):
    """The outcome of an attempt; times in seconds since the epoch, `duration` in ms, `attempt_index` from 1."""

    status: str
    start_time: float
    end_time: float
    duration: int
    stacktrace: str | None
    thread: str
    attempt_index: int
    is_rerun: bool


class SuiteEntry(TypedDict):
    """One suite."""

    title: str
    description: str | None


class SuitePath(TypedDict):
    """The suites that a test is in, outermost first."""

    data: list[SuiteEntry]


class RelationsBody(TypedDict):
    """The groups that a result belongs to."""

    suite: SuitePath


class Description(TypedDict):
    """The part of a RESULT that is known before its test has run."""

    id: str
    title: str
    signature: str | None
    testops_ids: list[int] | None
    fields: dict[str, str]
    tags: list[str]
    params: dict[str, str]
    param_groups: list[list[str]]
    attachments: list[AttachmentEntry]
    steps: list[StepBody]
    muted: bool
    ignore: bool
    relations: NotRequired[RelationsBody]
    #: Test case ids by project. Only a description has them; the frame of a result has them in its head.
    testops_project_mapping: NotRequired[dict[str, list[int]]]


class Body(Description):
    """A RESULT of `docs/reporter-api.md`."""

    message: str | None
    execution: ExecutionBody


Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def framed(
    content: Body, nodeid: str, *, contents: Iterable[str] = (), projects: Mapping[str, Sequence[int]] | None = None
) -> ResultFrame:
    """Return the frame of a result.

    Args:
        content: The RESULT.
        nodeid: pytest's name of the test.
        contents: Digests of the attachments that the RESULT refers to.
        projects: Test case ids by project, if the test names its projects.
    """
    execution = content["execution"]
    head = ResultHead(
        content["id"],
        nodeid,
        execution["status"],
        execution["attempt_index"],
        tuple(dict.fromkeys(contents)),
        projects or {},
    )
    return Frame(head, to_json(content))


def begun(nodeid: str, content: Description, projects: Mapping[str, Sequence[int]] | None = None) -> Frame[BegunHead]:
    """Return the frame that describes a test that starts; the arguments are those of `framed`."""
    mapping = {"testops_project_mapping": projects} if projects else {}
    return Frame(BegunHead(nodeid), to_json({**content, **mapping}))


def description_of(described: bytes) -> tuple[Description, dict[str, list[int]]]:
    """Return the description in the body of a begun frame, and the test case ids by project that it came with."""
    content: Description = from_json(described)
    return content, content.pop("testops_project_mapping", None) or {}


def content_of(frame: ResultFrame) -> Body:
    """Return the RESULT of a frame, decoded."""
    content: Body = from_json(frame.body)
    return content


def suite_entry(title: object, description: object = None) -> SuiteEntry:
    """Return one suite's entry in the relations."""
    return {"title": text_of(title), "description": None if description is None else text_of(description)}


def with_status(frame: ResultFrame, status: str) -> ResultFrame:
    """Return a result with another status."""
    if status == frame.head.status:
        return frame
    content = content_of(frame)
    content["execution"]["status"] = status
    return Frame(dataclasses.replace(frame.head, status=status), to_json(content))


def with_attempt(frame: ResultFrame, attempt: int) -> ResultFrame:
    """Return a result with another number of its attempt, counted from 1."""
    content = content_of(frame)
    content["execution"]["attempt_index"] = attempt
    content["execution"]["is_rerun"] = attempt > 1
    return Frame(dataclasses.replace(frame.head, attempt=attempt), to_json(content))


def with_ids(frame: ResultFrame, ids: Sequence[int]) -> ResultFrame:
    """Return a result with these ids of test cases."""
    content = content_of(frame)
    content["testops_ids"] = list(ids) or None
    return Frame(frame.head, to_json(content))


def with_suite(frame: ResultFrame, title: str) -> ResultFrame:
    """Return a result with one more suite around all others."""
    content = content_of(frame)
    suites = content.setdefault("relations", {"suite": {"data": []}})["suite"]["data"]
    suites.insert(0, suite_entry(title))
    return Frame(frame.head, to_json(content))


def with_notes(frame: ResultFrame, notes: Sequence[str]) -> ResultFrame:
    """Return a result whose message names the attachments that were left out."""
    content = content_of(frame)
    content["message"] = noted(content.get("message"), notes)
    return Frame(frame.head, to_json(content))


def noted(message: str | None, notes: Sequence[str]) -> str | None:
    """Return a message with a line for each attachment that was left out."""
    lines = [message or "", *(f"Attachment left out: {note}" for note in notes)]
    return "\n".join(filter(None, lines)) or None


def is_muted(frame: ResultFrame) -> bool:
    """Return whether failures of the test do not count."""
    return content_of(frame)["muted"]


def in_project(frame: ResultFrame, project: str, ids: Sequence[int]) -> ResultFrame:
    """Return a project's own copy of a result, with an id of its own and that project's ids of test cases."""
    head = frame.head
    own = dataclasses.replace(head, id=id_in(project, head.id), projects={})
    referring = frame.body.replace(reference(head.id, "").encode(), reference(own.id, "").encode())
    content: Body = from_json(referring)
    content["id"] = own.id
    content["testops_ids"] = list(ids) or None
    return Frame(own, to_json(content))


def description_in(content: Description, project: str, ids: Sequence[int]) -> Description:
    """Return a project's own copy of a description; the result that follows has the same id (`in_project`)."""
    own = content.copy()
    own["id"] = id_in(project, content["id"])
    own["testops_ids"] = list(ids) or None
    return own


def reference(result_id: str, digest: str) -> str:
    """Return the text that stands for an attachment's id until the server has given one.

    It contains the result's own uuid, so that no text of a test can be mistaken for a reference.
    """
    return f"attachment:{result_id}:{digest}"


def with_attachment_ids(frame: ResultFrame, ids: Mapping[str, object]) -> ResultFrame:
    """Return a result with the server's ids in the place of references.

    Args:
        frame: The result.
        ids: The server's ids by digest. An attachment without one is left out of the result.
    """
    head, body = frame.head, frame.body
    dropped = set()
    for digest in head.contents:
        placeholder = reference(head.id, digest)
        if digest in ids:
            # A text of the test is never changed here, because JSON escapes the quotes around "id" in it.
            body = body.replace(b'"id":' + to_json(placeholder), b'"id":' + to_json(ids[digest]))
        else:
            dropped.add(placeholder)
    return Frame(head, to_json(_without(from_json(body), dropped)) if dropped else body)


def _without(value: Json, dropped: set[str]) -> Json:
    """Return a copy of decoded JSON without the attachments in `dropped`."""
    if isinstance(value, list):
        return [_without(each, dropped) for each in value if not (isinstance(each, dict) and each.get("id") in dropped)]
    if isinstance(value, dict):
        return {key: _without(each, dropped) for key, each in value.items()}
    return value
