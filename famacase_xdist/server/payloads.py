"""The payloads of the Reporter Ingestion API, as strict as the contract can be read.

Types are not coerced and unknown keys are refused, so that a client's mistake is seen here first. What a
payload says is kept as it was sent, see `Result.as_sent`.
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
# JSON can say "\\ud800", which no page and no file can hold.
Str = Annotated[str, AfterValidator(_unicode)]
Text = Annotated[Str, Field(min_length=1)]
StepType = Annotated[str, Field(pattern="^(text|assert|gherkin|request|db_query|sleep)$")]
StepData = Annotated[dict[str, JsonValue], AfterValidator(_unicode_data)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class AttachmentLink(_Strict):
    """An attachment of a result or a step: the id and name that the attachments call gave."""

    id: Str | int
    file_name: Str


class StepExecution(_Strict):
    """How a step went. Times are epoch seconds, `duration` is milliseconds."""

    status: Status
    start_time: float | None = None
    end_time: float | None = None
    duration: Annotated[int, Field(ge=0)] | None = None
    attachments: list[AttachmentLink] = []


class Step(_Strict):
    """A STEP of the contract; the keys of `data` go by `step_type`."""

    id: Text
    step_type: StepType
    data: StepData
    execution: StepExecution
    steps: list[Step] = []
    attachments: list[AttachmentLink] = []


class Execution(_Strict):
    """How a test went. Times are epoch seconds, `duration` is milliseconds."""

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
    """The path of suites, outermost first."""

    data: list[SuiteTitle]


class Relations(_Strict):
    """What a result belongs to."""

    suite: Suite


class Result(_Strict):
    """A RESULT of the contract; `id` makes it one however often it is sent."""

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
