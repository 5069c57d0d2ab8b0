"""Upstream's own models become results that the strict reading of the contract takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qase.commons.models.attachment import Attachment
from qase.commons.models.relation import Relation, SuiteData
from qase.commons.models.result import Field, Result
from qase.commons.models.step import (
    Step,
    StepAssertData,
    StepDbQueryData,
    StepGherkinData,
    StepRequestData,
    StepSleepData,
    StepTextData,
    StepType,
)

from famacase_xdist.recording.payload import result_payload
from famacase_xdist.results.text import to_json
from famacase_xdist.server import payloads
from famacase_xdist.settings.settings import Settings


class Uploads:
    """A double of the sender of attachments, which keeps its arguments."""

    def __init__(self, *refused: str) -> None:
        self.taken: list[Any] = []
        self._refused = refused

    def __call__(self, attachment: Any) -> dict[str, Any] | None:
        self.taken.append(attachment)
        if attachment.file_name in self._refused:
            return None
        return {"id": str(len(self.taken)), "file_name": attachment.file_name}


def finished(status: str = "passed", **attributes: Any) -> Result:
    """Return a result as the recorder completes it, with attributes set."""
    result = Result(title="test_a", signature="test_a.py::test_a")
    result.execution.start_time, result.execution.end_time, result.execution.duration = 1.5, 2.0, 500
    result.execution.status = status
    result.execution.thread = "gw0"
    result.execution.attempt_index = 1
    for name, value in attributes.items():
        setattr(result, name, value)
    return result


def step_of(step_type: StepType, data: Any, *, status: str = "passed", id: str = "s") -> Step:
    """Return a step that ended."""
    step = Step(step_type, id, data)
    step.execution.start_time, step.execution.end_time, step.execution.duration = 1.5, 2.0, 500
    step.execution.status = status
    return step


def sent(
    result: Result, settings: Settings | None = None, attach: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """Return the fields that the server reads from a result, by the server's own model."""
    payload = result_payload(result, settings or Settings(), attach or Uploads())
    accepted = payloads.Result.model_validate_json(to_json(payload))
    return accepted.model_dump(exclude_unset=True)


def sent_step(step: Step, attach: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return the fields that the server reads from a step."""
    (payload,) = sent(finished(steps=[step]), attach=attach)["steps"]
    return payload


def test_a_bare_result_is_complete() -> None:
    result = finished()

    assert sent(result) == {
        "id": result.id,
        "title": "test_a",
        "signature": "test_a.py::test_a",
        "testops_ids": None,
        "execution": {
            "status": "passed",
            "start_time": 1.5,
            "end_time": 2.0,
            "duration": 500,
            "stacktrace": None,
            "thread": "gw0",
            "attempt_index": 1,
            "is_rerun": False,
        },
        "fields": {},
        "tags": [],
        "params": {},
        "param_groups": [],
        "attachments": [],
        "steps": [],
        "message": None,
        "muted": False,
        "ignore": False,
    }


@pytest.mark.parametrize(
    ("attribute", "value", "key", "read"),
    [
        ("title", "Buys a book", "title", "Buys a book"),
        ("signature", "", "signature", None),
        ("testops_ids", [7, 8], "testops_ids", [7, 8]),
        ("testops_ids", [], "testops_ids", None),
        ("testops_ids", [2**40], "testops_ids", [2**40]),
        ("tags", ["smoke", "cart"], "tags", ["smoke", "cart"]),
        ("params", {"b": "2", "a": "1"}, "params", {"b": "2", "a": "1"}),
        ("params", {"a": ""}, "params", {"a": "empty"}),
        ("params", {"a": None}, "params", {"a": "None"}),
        ("params", {"a": 0}, "params", {"a": "0"}),
        ("params", None, "params", {}),
        ("param_groups", [["a", "b"]], "param_groups", [["a", "b"]]),
        ("param_groups", None, "param_groups", []),
        ("message", "AssertionError", "message", "AssertionError"),
        ("message", "", "message", ""),
        ("muted", True, "muted", True),
        ("ignore", True, "ignore", True),
    ],
)
def test_what_the_model_holds_arrives(attribute: str, value: object, key: str, read: object) -> None:
    assert sent(finished(**{attribute: value}))[key] == read


def test_params_keep_their_order() -> None:
    assert list(sent(finished(params={"z": "1", "a": "2", "m": "3"}))["params"]) == ["z", "a", "m"]


def test_fields_arrive_by_name() -> None:
    result = finished()
    result.add_field(Field("severity", "critical"))
    result.add_field(Field("weight", 5))
    result.add_tags(["smoke"])

    assert sent(result)["fields"] == {"severity": "critical", "weight": "5", "tags": "smoke"}


@pytest.mark.parametrize("status", payloads.STATUSES)
def test_every_status_arrives(status: str) -> None:
    assert sent(finished(status))["execution"]["status"] == status


def test_a_second_attempt_is_a_rerun() -> None:
    result = finished()
    result.execution.attempt_index = 2

    execution = sent(result)["execution"]

    assert (execution["attempt_index"], execution["is_rerun"]) == (2, True)


def test_a_clock_that_went_back_makes_no_negative_duration() -> None:
    result = finished()
    result.execution.duration = -3

    assert sent(result)["execution"]["duration"] == 0


def test_excluded_params_are_left_out() -> None:
    settings = Settings(exclude_params=("token", "not there"))

    assert sent(finished(params={"token": "x", "user": "ada"}), settings)["params"] == {"user": "ada"}


def test_a_group_with_an_excluded_param_is_none() -> None:
    result = finished(params={"a": "1", "b": "2", "c": "3"}, param_groups=[["a", "b"], ["c", "d"]])

    assert sent(result, Settings(exclude_params=("b",)))["param_groups"] == [["c", "d"]]


def _in_suites(*titles: str) -> Relation:
    relation = Relation()
    for title in titles:
        relation.add_suite(SuiteData(title))
    return relation


def _suite_titles(payload: dict[str, Any]) -> list[str]:
    return [suite["title"] for suite in payload["relations"]["suite"]["data"]]


def test_suites_arrive_outermost_first() -> None:
    assert _suite_titles(sent(finished(relations=_in_suites("Shop", "Cart")))) == ["Shop", "Cart"]


def test_the_root_suite_stands_in_front() -> None:
    payload = sent(finished(relations=_in_suites("Shop")), Settings(root_suite="Root"))

    assert _suite_titles(payload) == ["Root", "Shop"]


@pytest.mark.parametrize("relations", [None, _in_suites()], ids=["none", "empty"])
def test_without_a_suite_there_are_no_relations_as_with_upstreams_client(relations: Relation | None) -> None:
    assert "relations" not in sent(finished(relations=relations), Settings(root_suite="Root"))


ACTIONS: list[tuple[StepType, Any, str]] = [
    (StepType.TEXT, StepTextData("opens the shop"), "opens the shop"),
    (StepType.TEXT, StepTextData(None), ""),
    (StepType.ASSERT, StepAssertData("1", "2", "differs"), ""),
    (StepType.GHERKIN, StepGherkinData("Given", "a cart", 3), "Given a cart"),
    (StepType.GHERKIN, StepGherkinData("Given", "Given", 3), "Given"),
    (StepType.REQUEST, StepRequestData(None, None, "GET", "https://x.test/a"), "GET https://x.test/a"),
    (StepType.DB_QUERY, StepDbQueryData("SELECT 1", database_type="sqlite"), "[sqlite] SELECT 1"),
    (StepType.DB_QUERY, StepDbQueryData("SELECT 1"), "SELECT 1"),
    (StepType.SLEEP, StepSleepData(2), "Sleep for 2 seconds"),
]


@pytest.mark.parametrize(
    ("step_type", "data", "action"), ACTIONS, ids=[f"{row[0].value}-{row[2] or 'nothing'}" for row in ACTIONS]
)
def test_each_type_of_step_has_its_action(step_type: StepType, data: Any, action: str) -> None:
    step = sent_step(step_of(step_type, data))

    assert (step["step_type"], step["data"]["action"]) == (step_type.value, action)


@pytest.mark.parametrize("step_type", StepType, ids=lambda each: each.value)
def test_a_step_without_data_is_a_step(step_type: StepType) -> None:
    assert sent_step(step_of(step_type, None))["step_type"] == step_type.value


@pytest.mark.parametrize(
    ("step_type", "data", "kept"),
    [
        (StepType.TEXT, StepTextData("a", "b"), {"expected_result": "b"}),
        (StepType.TEXT, StepTextData("a"), {}),
        (StepType.ASSERT, StepAssertData("1", "2", "m"), {"expected": "1", "actual": "2", "message": "m"}),
        (
            StepType.GHERKIN,
            StepGherkinData("When", "n", 3, "|t|"),
            {"keyword": "When", "name": "n", "line": "3", "data": "|t|"},
        ),
        (
            StepType.DB_QUERY,
            StepDbQueryData("q", "e", "sqlite", 0.5, 0, "file"),
            {
                "query": "q",
                "expected_result": "e",
                "database_type": "sqlite",
                "execution_time": "0.5",
                "rows_affected": "0",
                "connection_info": "file",
            },
        ),
        (StepType.SLEEP, StepSleepData(2), {"duration": "2"}),
    ],
)
def test_the_data_of_a_step_arrives_as_texts(step_type: StepType, data: Any, kept: dict[str, str]) -> None:
    read = sent_step(step_of(step_type, data))["data"]

    assert {name: text for name, text in read.items() if name != "action"} == kept


def test_bodies_and_headers_of_a_request_go_as_attachments() -> None:
    data = StepRequestData("body", {"Accept": "*/*"}, "POST", "https://x.test")
    data.add_response(500, "broken", {"Server": "x"})
    uploads = Uploads()

    step = sent_step(step_of(StepType.REQUEST, data), uploads)

    assert [(each.file_name, each.mime_type) for each in uploads.taken] == [
        ("request_body.txt", "text/plain"),
        ("request_headers.txt", "text/plain"),
        ("response_body.txt", "text/plain"),
        ("response_headers.txt", "text/plain"),
    ]
    assert [each.content for each in uploads.taken][::2] == ["body", "broken"]
    assert set(step["data"]) == {"action", "request_method", "request_url", "status_code"}
    assert [each["file_name"] for each in step["attachments"]] == [each.file_name for each in uploads.taken]


@pytest.mark.parametrize("nothing", ["", None, {}])
def test_an_empty_body_is_no_attachment(nothing: object) -> None:
    data: Any = StepRequestData("", {}, "GET", "https://x.test")
    data.add_response(200, nothing, nothing)

    assert sent_step(step_of(StepType.REQUEST, data))["attachments"] == []


def test_a_request_loses_nothing_of_its_model_where_it_is_sent_again() -> None:
    step = step_of(StepType.REQUEST, StepRequestData("body", None, "POST", "https://x.test"))

    assert sent_step(step) == sent_step(step)


def test_a_step_that_never_ended_is_skipped_without_times() -> None:
    execution = sent_step(step_of(StepType.TEXT, StepTextData("a"), status="untested"))["execution"]

    assert execution == {"status": "skipped", "start_time": None, "end_time": None, "duration": 0, "attachments": []}


@pytest.mark.parametrize("status", ["passed", "failed", "skipped", "blocked", "invalid"])
def test_a_step_that_ended_has_its_status_and_times(status: str) -> None:
    execution = sent_step(step_of(StepType.TEXT, StepTextData("a"), status=status))["execution"]

    assert execution == {"status": status, "start_time": 1.5, "end_time": 2.0, "duration": 500, "attachments": []}


def test_steps_nest_as_they_ran() -> None:
    outer, inner, innermost = (step_of(StepType.TEXT, StepTextData(name), id=name) for name in "abc")
    outer.add_step(inner)
    inner.add_step(innermost)
    after = step_of(StepType.TEXT, StepTextData("d"), id="d")

    first, second = sent(finished(steps=[outer, after]))["steps"]

    assert (first["id"], first["steps"][0]["id"], first["steps"][0]["steps"][0]["id"]) == ("a", "b", "c")
    assert second["id"] == "d"


def test_attachments_of_a_test_are_linked_in_order() -> None:
    result = finished(attachments=[Attachment("a.txt", "text/plain", "a"), Attachment("b.txt", "text/plain", "b")])

    assert sent(result)["attachments"] == [{"id": "1", "file_name": "a.txt"}, {"id": "2", "file_name": "b.txt"}]


def test_attachments_of_a_step_stand_in_both_places_and_are_sent_once() -> None:
    step = step_of(StepType.TEXT, StepTextData("a"))
    step.add_attachment(Attachment("a.txt", "text/plain", "a"))
    uploads = Uploads()

    read = sent_step(step, uploads)

    assert read["attachments"] == read["execution"]["attachments"] == [{"id": "1", "file_name": "a.txt"}]
    assert len(uploads.taken) == 1


def test_an_attachment_that_cannot_be_sent_is_left_out() -> None:
    result = finished(attachments=[Attachment("bad", "text/plain", "a"), Attachment("good", "text/plain", "b")])

    assert [each["file_name"] for each in sent(result, attach=Uploads("bad"))["attachments"]] == ["good"]


class Unprintable:
    """Raises when it is printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OwnText(str):
    """A text of a class of the test's own."""

    __slots__ = ()


HOSTILE = [
    pytest.param(Unprintable(), "<Unprintable that cannot be printed>", id="unprintable"),
    pytest.param("\ud800", "\N{REPLACEMENT CHARACTER}", id="lone-surrogate"),
    pytest.param(OwnText("own"), "own", id="str-subclass"),
    pytest.param(b"\xff", r"b'\xff'", id="bytes"),
    pytest.param(float("nan"), "nan", id="nan"),
    pytest.param(10**400, str(10**400), id="huge-int"),
    pytest.param({"a": [1]}, "{'a': [1]}", id="dict"),
    pytest.param("\x00\x1b[0m", "\x00\x1b[0m", id="control-characters"),
]


@pytest.mark.parametrize(("value", "text"), HOSTILE)
def test_any_value_of_a_param_arrives_as_text(value: object, text: str) -> None:
    assert sent(finished(params={"a": value}))["params"] == {"a": text}


@pytest.mark.parametrize(("value", "text"), HOSTILE)
def test_any_value_of_a_field_arrives_as_text(value: object, text: str) -> None:
    assert sent(finished(fields={"a": value}))["fields"] == {"a": text}


@pytest.mark.parametrize(("value", "text"), HOSTILE)
def test_any_title_of_a_step_arrives_as_text(value: Any, text: str) -> None:
    assert sent_step(step_of(StepType.TEXT, StepTextData(value)))["data"] == {"action": text}


@pytest.mark.parametrize(("value", "text"), HOSTILE)
def test_any_title_message_and_tag_arrive_as_text(value: object, text: str) -> None:
    payload = sent(finished(title=value, message=value, tags=[value]))

    assert (payload["title"], payload["message"], payload["tags"]) == (text, text, [text])


def test_a_field_without_a_value_is_left_out() -> None:
    assert sent(finished(fields={"layer": None, "severity": "", "weight": 0}))["fields"] == {
        "severity": "",
        "weight": "0",
    }


def test_names_that_are_no_texts_arrive_as_texts() -> None:
    payload = sent(finished(params={1: "a"}, fields={None: "b"}, param_groups=[[1, None]]))

    assert (payload["params"], payload["fields"]) == ({"1": "a"}, {"None": "b"})
    assert payload["param_groups"] == [["1", "None"]]


ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANYTHING = st.one_of(ANY_TEXT, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.builds(object))


@given(
    title=ANY_TEXT.filter(bool),
    values=st.dictionaries(ANY_TEXT, ANYTHING, max_size=3),
    message=st.none() | ANY_TEXT,
    action=ANYTHING,
    suites=st.lists(ANY_TEXT, max_size=3),
)
def test_the_server_takes_whatever_a_test_says(
    title: str, values: dict[str, Any], message: str | None, action: Any, suites: list[str]
) -> None:
    steps = [
        step_of(StepType.TEXT, StepTextData(action, action)),
        step_of(StepType.GHERKIN, StepGherkinData(action, action, action, action)),
        step_of(StepType.DB_QUERY, StepDbQueryData(action, action, action, action, action, action)),
        step_of(StepType.ASSERT, StepAssertData(action, action, action)),
        step_of(StepType.SLEEP, StepSleepData(action)),
        step_of(StepType.REQUEST, StepRequestData(action, action, action, action)),
    ]
    result = finished(
        title=title,
        signature=title,
        params=values,
        fields=values,
        message=message,
        tags=[title],
        param_groups=[list(values)],
        relations=_in_suites(*suites),
        steps=steps,
    )
    result.execution.stacktrace = message

    assert len(sent(result)["steps"]) == len(steps)
