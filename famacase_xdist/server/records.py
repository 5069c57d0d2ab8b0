"""What goes into the store and what comes out of it: plain values, the standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from famacase_xdist.results.status import FAILED, INVALID, PASSED, SKIPPED, STATUSES, UNTESTED

PROJECT_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""What a project code looks like, the whole of it."""
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
    """How a step went."""

    status: str
    attachments: NotRequired[list[AttachmentPayload]]


class StepPayload(TypedDict):
    """A STEP of the contract, as it was sent: the keys that the pages read by name."""

    step_type: str
    data: dict[str, object]
    execution: StepExecutionPayload
    attachments: NotRequired[list[AttachmentPayload]]


class ExecutionPayload(TypedDict):
    """How a test went."""

    status: str
    stacktrace: NotRequired[str | None]


class SuiteTitlePayload(TypedDict):
    """One level of a suite."""

    title: str


class SuitePayload(TypedDict, total=False):
    """The path of suites, outermost first."""

    data: list[SuiteTitlePayload]


class RelationsPayload(TypedDict, total=False):
    """What a result belongs to."""

    suite: SuitePayload


class ResultPayload(TypedDict):
    """A RESULT of the contract, as it was sent: the keys that the server reads by name. `payloads` has all of them."""

    id: str
    title: str
    execution: ExecutionPayload
    relations: NotRequired[RelationsPayload | None]


def canonical_status(status: str) -> str | None:
    """Return the one of `STATUSES` that `status` means, or None when it means none of them."""
    lowered = status.lower()
    return lowered if lowered in STATUSES else _SYNONYMS.get(lowered)


@dataclass(frozen=True)
class Limits:
    """What one request may hold; more is answered with 413. Sizes are bytes."""

    results: int = 200
    files: int = 20
    file_bytes: int = 32 * 1024 * 1024
    request_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True)
class Project:
    """A project; runs, environments, plans and attachments belong to one."""

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
    """A run to be created. `key` is its Idempotency-Key, None for none."""

    title: str
    description: str | None = None
    is_autotest: bool = True
    plan_id: int | None = None
    environment_id: int | None = None
    tags: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True)
class StoredRun:
    """A run as it stands. Times are epoch seconds; `counts` has every one of `STATUSES`."""

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
        """``active`` until the first complete call, ``completed`` from then on."""
        return "active" if self.completed_at is None else "completed"


@dataclass(frozen=True)
class StoredResult:
    """One row of the results. `received_at` (epoch seconds) is of the first time, `payload` of the last."""

    position: int
    id: str
    title: str
    status: str
    received_at: float
    times_received: int
    payload: ResultPayload


@dataclass(frozen=True)
class Upload:
    """One file to be kept."""

    file_name: str
    mime_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Attachment:
    """What is known of a kept file. `file_size` is bytes; `sha256` names its content, which is kept once."""

    id: str
    file_name: str
    mime_type: str
    file_size: int
    sha256: str


@dataclass(frozen=True)
class AttachmentFile(Attachment):
    """A kept file with its content."""

    content: bytes = field(repr=False)
