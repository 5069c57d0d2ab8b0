"""The payloads of the Reporter Ingestion API, as strict as `docs/reporter-api.md` allows.

Types are not coerced and unknown keys are refused, so that a mistake of a client is found here first. A payload is kept
as it was sent (`Result.as_sent`).
"""

from __future__ import annotations

import json
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from famacase_xdist.results.status import STATUSES

from .records import ResultPayload, canonical_status

_UUID = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"


def _known_status(status: str) -> str:
    if canonical_status(status) is None:
        raise ValueError(f"{status[:40]!r} is no status; allowed: {', '.join(STATUSES)}")
    return status


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("no valid Unicode: lone surrogate") from None
    return text


def _unicode_data(data: dict[str, JsonValue]) -> dict[str, JsonValue]:
    _unicode(json.dumps(data, ensure_ascii=False))
    return data


Status = Annotated[str, AfterValidator(_known_status)]
# JSON can hold the lone surrogate "\\ud800", which can be written to no page and no file.
Str = Annotated[str, AfterValidator(_unicode)]
Text = Annotated[Str, Field(min_length=1)]
StepType = Annotated[str, Field(pattern="^(text|assert|gherkin|request|db_query|sleep)$")]
StepData = Annotated[dict[str, JsonValue], AfterValidator(_unicode_data)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class AttachmentLink(_Strict):
    """An attachment of a result or a step: the id and the file name that the attachments call returned."""

    id: Str | int
    file_name: Str


class StepExecution(_Strict):
    """The execution of a step. Times are seconds since the epoch, `duration` is in milliseconds."""

    status: Status
    start_time: float | None = None
    end_time: float | None = None
    duration: Annotated[int, Field(ge=0)] | None = None
    attachments: list[AttachmentLink] = []


class Step(_Strict):
    """A STEP of the contract. `step_type` decides which keys `data` has."""

    id: Text
    step_type: StepType
    data: StepData
    execution: StepExecution
    steps: list[Step] = []
    attachments: list[AttachmentLink] = []


class Execution(_Strict):
    """The execution of a test. Times are seconds since the epoch, `duration` is in milliseconds."""

    status: Status
    start_time: float | None = None
    end_time: float | None = None
    duration: Annotated[int, Field(ge=0)] | None = None
    stacktrace: Str | None = None
    thread: Str | None = None
    attempt_index: Annotated[int, Field(ge=1)] = 1
    is_rerun: bool = False


class SuiteTitle(_Strict):
    """One level of a suite."""

    title: Str
    description: Str | None = None


class Suite(_Strict):
    """The suites of a test, the outermost first."""

    data: list[SuiteTitle]


class Relations(_Strict):
    """What a result belongs to."""

    suite: Suite


class Result(_Strict):
    """A RESULT of the contract. It is kept once, however often its `id` is sent."""

    id: Annotated[str, Field(pattern=_UUID)]
    title: Text
    signature: Str | None = None
    testops_ids: list[int] | None = None
    execution: Execution
    fields: dict[Str, Str] = {}
    tags: list[Str] = []
    params: dict[Str, Str] = {}
    param_groups: list[list[Str]] = []
    attachments: list[AttachmentLink] = []
    steps: list[Step] = []
    message: Str | None = None
    muted: bool = False
    ignore: bool = False
    relations: Relations | None = None

    def as_sent(self) -> ResultPayload:
        """Return the result with the keys that were sent, and no others."""
        return cast("ResultPayload", self.model_dump(exclude_unset=True))


class Results(_Strict):
    """The body of the results call."""

    results: list[Result]


class RunCreate(_Strict):
    """The body of the call that creates a run."""

    title: Text
    description: Str | None = None
    is_autotest: bool = True
    plan_id: int | None = None
    environment_id: int | None = None
    tags: list[Str] = []


class Public(_Strict):
    """The body of the public call."""

    status: bool
