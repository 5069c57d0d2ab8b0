"""What goes into the store and what comes out of it: plain values, which need only the standard library.

The contract, here and in the other modules of the server, is `docs/reporter-api.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from famacase_xdist.results.status import FAILED, INVALID, PASSED, SKIPPED, STATUSES, UNTESTED

PROJECT_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""The form of a project code; use `fullmatch`."""
NO_PROJECT_CODE = "{code!r} is no project code (letters, digits, - and _, 32 at most)"

_SYNONYMS = {
    "pass": PASSED,
    "success": PASSED,
    "fail": FAILED,
    "failure": FAILED,
    "broken": INVALID,
    "error": INVALID,
    "skip": SKIPPED,
    "pending": UNTESTED,
}


class AttachmentPayload(TypedDict):
    """An attachment of a result or a step."""

    id: str | int
    file_name: str


class StepExecutionPayload(TypedDict):
    """The execution of a step."""

    status: str
    attachments: NotRequired[list[AttachmentPayload]]


class StepPayload(TypedDict):
    """A STEP of the contract, as it was sent. These are the keys that the pages read by name."""

    step_type: str
    data: dict[str, object]
    execution: StepExecutionPayload
    attachments: NotRequired[list[AttachmentPayload]]


class ExecutionPayload(TypedDict):
    """The execution of a test."""

    status: str
    stacktrace: NotRequired[str | None]


class SuiteTitlePayload(TypedDict):
    """One level of a suite."""

    title: str


class SuitePayload(TypedDict, total=False):
    """The suites of a test, the outermost first."""

    data: list[SuiteTitlePayload]


class RelationsPayload(TypedDict, total=False):
    """What a result belongs to."""

    suite: SuitePayload


class ResultPayload(TypedDict):
    """A RESULT of the contract, as it was sent. These are the keys that the server reads by name.

    `payloads.Result` has all keys.
    """

    id: str
    title: str
    execution: ExecutionPayload
    relations: NotRequired[RelationsPayload | None]


def canonical_status(status: str) -> str | None:
    """Return which of `STATUSES` a status means, or None if it means none of them."""
    lowered = status.lower()
    return lowered if lowered in STATUSES else _SYNONYMS.get(lowered)


@dataclass(frozen=True)
class Limits:
    """What one request may hold; a larger one is answered with 413. Sizes are in bytes."""

    results: int = 200
    files: int = 20
    file_bytes: int = 32 * 1024 * 1024
    request_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True)
class Project:
    """A project, to which runs, environments, test plans and attachments belong."""

    id: int
    code: str
    title: str


@dataclass(frozen=True)
class Environment:
    """An environment of a project, found by its slug."""

    id: int
    slug: str
    title: str


@dataclass(frozen=True)
class NewRun:
    """A run to be created. `key` is its Idempotency-Key, or None."""

    title: str
    description: str | None = None
    is_autotest: bool = True
    plan_id: int | None = None
    environment_id: int | None = None
    tags: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True)
class StoredRun:
    """A run as it is in the store. Times are seconds since the epoch; `counts` has each of `STATUSES`."""

    id: int
    project: str
    title: str
    description: str | None
    is_autotest: bool
    plan_id: int | None
    environment_id: int | None
    tags: tuple[str, ...]
    is_public: bool
    created_at: float
    completed_at: float | None
    complete_requests: int
    counts: Mapping[str, int]

    @property
    def status(self) -> str:
        """The status of the run: ``active`` until the first complete call, ``completed`` after it."""
        return "active" if self.completed_at is None else "completed"


@dataclass(frozen=True)
class StoredResult:
    """A result as it is in the store.

    Attributes:
        position: Grows in the order in which results arrived for the first time.
        received_at: When the result arrived for the first time, in seconds since the epoch.
        payload: The result as it was sent the last time.
    """

    position: int
    id: str
    title: str
    status: str
    received_at: float
    times_received: int
    payload: ResultPayload


@dataclass(frozen=True)
class Upload:
    """A file to be kept."""

    file_name: str
    mime_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Attachment:
    """What is known of a kept file. `file_size` is in bytes; files of the same `sha256` share their content."""

    id: str
    file_name: str
    mime_type: str
    file_size: int
    sha256: str


@dataclass(frozen=True)
class AttachmentFile(Attachment):
    """A kept file with its content."""

    content: bytes = field(repr=False)
