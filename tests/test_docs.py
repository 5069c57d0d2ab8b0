"""The pages for contributors agree with the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from famacase_xdist.client import api
from famacase_xdist.client.transport import File
from famacase_xdist.errors import RETRYABLE_STATUSES
from famacase_xdist.results import body, status
from famacase_xdist.settings.run_reference import RunId

ROOT = Path(__file__).parents[1]
REPORTER_API = (ROOT / "docs/reporter-api.md").read_text(encoding="utf-8")

RUN = RunId("RUN")
#: How each public method of `Api` is called; what sends nothing is left out.
CALLS: dict[str, Callable[[api.Api], object]] = {
    "check_project": lambda each: each.check_project(),
    "environment_id": lambda each: each.environment_id("SLUG"),
    "plan_cases": lambda each: each.plan_cases(4711),
    "create_run": lambda each: each.create_run(api.RunRequest("title", "", "key")),
    "check_run": lambda each: each.check_run(RUN),
    "run": lambda each: each.run(RUN),
    "send_results": lambda each: each.send_results(RUN, [b"{}"]),
    "upload": lambda each: each.upload([File("file", "text/plain", b"")]),
    "complete_run": lambda each: each.complete_run(RUN),
    "publish_run": lambda each: each.publish_run(RUN),
}
SEND_NOTHING = {"close", "run_url"}


class Answering:
    """A transport that notes each call in the form of the page and has an answer for all of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def send(self, method: str, url: str, **_: Any) -> Any:
        path = url.partition("/api/v1/reporter/v1/")[2]
        for value, name in (("CODE", "{code}"), ("SLUG", "{slug}"), ("4711", "{plan}"), ("RUN", "{id}")):
            path = path.replace(value, name)
        self.calls.append(f"{method} {path}")
        if "environments" in path:
            return [{"id": 1}]
        return {"id": 1, "url": "https://f", "case_ids": [1], "attachments": [{"id": 1}]}

    def close(self) -> None:
        """Do nothing."""


def test_every_method_of_the_api_is_called_here() -> None:
    public = {name for name in vars(api.Api) if not name.startswith("_")}

    assert public - SEND_NOTHING == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_reporter_api_names_each_call(name: str) -> None:
    transport = Answering()
    CALLS[name](api.Api(transport, "https://famacase.example.com", "CODE", timeout=1.0))

    (call,) = transport.calls
    assert f"| `{call}` |" in REPORTER_API


def test_the_reporter_api_names_each_limit() -> None:
    section = REPORTER_API.partition("## Limits")[2].partition("\n## ")[0]
    mebibytes = (f"{size // 1024**2} MiB" for size in (api.MOST_FILE_BYTES, api.MOST_REQUEST_BYTES))
    values = [row.split("|")[2].strip() for row in section.splitlines() if row.startswith("| ")][2:]

    assert values == [str(api.MOST_RESULTS), str(api.MOST_FILES), *mebibytes]


def test_the_reporter_api_names_the_statuses_to_retry() -> None:
    section = REPORTER_API.partition("## Statuses to retry")[2].partition("\n## ")[0]

    assert {code for code in map(str, RETRYABLE_STATUSES) if code not in section} == set()


@pytest.mark.parametrize(
    "kind", [body.Body, body.Execution, body.Step, body.StepExecution], ids=lambda kind: kind.__name__
)
def test_the_reporter_api_names_each_field(kind: type) -> None:
    # Only the frame of a test that begins has it; no result is sent with it.
    fields = set(get_type_hints(kind)) - {"testops_project_mapping"}

    assert {name for name in fields if f"`{name}`" not in REPORTER_API} == set()


def test_the_reporter_api_names_the_statuses() -> None:
    assert ", ".join(f"`{each}`" for each in status.STATUSES) in REPORTER_API
