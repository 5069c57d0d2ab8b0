"""The body of a result: references to attachments become the server's ids, and all other parts stay as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.texts import ANY_DATA, without_lone_surrogates
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.results.body import reference, with_attachment_ids
from famacase_xdist.results.frames import Frame, ResultHead
from famacase_xdist.results.text import to_json

ID = "11111111-2222-3333-4444-555555555555"
OTHER_ID = "99999999-2222-3333-4444-555555555555"
ONE, TWO = "1" * 64, "2" * 64


def _result(*digests: str, **more: object) -> dict[str, Any]:
    return {"id": ID, "attachments": [_entry(digest) for digest in digests], **more}


def _entry(digest: str, name: str = "a.txt") -> dict[str, str]:
    return {"id": reference(ID, digest), "file_name": name}


def _head(*digests: str) -> ResultHead:
    return ResultHead(ID, "test_a.py::test_a", "passed", contents=digests)


def _resolved(result: dict[str, Any], ids: dict[str, object], *digests: str) -> dict[str, Any]:
    return json.loads(with_attachment_ids(Frame(_head(*digests), to_json(result)), ids).body)


@pytest.mark.parametrize("given_id", ["a-uuid", 'with "quotes"', 7, "", None])
def test_a_reference_becomes_the_servers_id(given_id: object) -> None:
    assert _resolved(_result(ONE), {ONE: given_id}, ONE)["attachments"] == [{"id": given_id, "file_name": "a.txt"}]


def test_each_reference_becomes_its_own_id() -> None:
    resolved = _resolved(_result(ONE, TWO), {TWO: "two", ONE: "one"}, ONE, TWO)

    assert [each["id"] for each in resolved["attachments"]] == ["one", "two"]


def test_one_content_attached_twice_gets_its_id_twice() -> None:
    resolved = _resolved(_result(ONE, ONE), {ONE: "one"}, ONE)

    assert [each["id"] for each in resolved["attachments"]] == ["one", "one"]


def test_a_reference_of_another_result_is_left_alone() -> None:
    foreign = reference(OTHER_ID, ONE)

    assert _resolved(_result(message=foreign), {ONE: "one"}, ONE)["message"] == foreign


def test_a_reference_to_a_content_that_the_head_does_not_name_is_left_alone() -> None:
    assert _resolved(_result(message=reference(ID, TWO)), {ONE: "one", TWO: "two"}, ONE)["message"] == (
        reference(ID, TWO)
    )


def test_a_body_without_attachments_is_passed_on_byte_for_byte() -> None:
    body = b'{ "spaces" :   "stay", "n": 1.0e0 }'

    assert with_attachment_ids(Frame(_head(), body), {}).body == body


EDGES = st.sampled_from(["", '"', "\\", '\\"', "x", '"}', ' ,{"id":"', "\n", "\ud800"])


@given(before=EDGES, after=EDGES, ids=st.sampled_from([{}, {ONE: "one"}]))
def test_a_longer_text_with_a_reference_in_it_is_left_alone(before: str, after: str, ids: dict[str, object]) -> None:
    text = f"{before}{reference(ID, ONE)}{after}" if before or after else "attachment:"

    resolved = _resolved(_result(ONE, message=text), ids, ONE)

    assert resolved["message"] == without_lone_surrogates(text)


def test_an_attachment_without_an_id_is_left_out_of_the_test() -> None:
    resolved = _resolved(_result(ONE, TWO), {TWO: "two"}, ONE, TWO)

    assert resolved["attachments"] == [{"id": "two", "file_name": "a.txt"}]


def test_an_attachment_without_an_id_is_left_out_of_a_step() -> None:
    step = {
        "id": "s1",
        "attachments": [_entry(ONE), _entry(TWO)],
        "execution": {"attachments": [_entry(ONE), _entry(TWO)]},
        "steps": [{"id": "s2", "attachments": [_entry(ONE)], "execution": {"attachments": [_entry(ONE)]}}],
    }
    (outer,) = _resolved(_result(steps=[step]), {TWO: "two"}, ONE, TWO)["steps"]

    kept = [{"id": "two", "file_name": "a.txt"}]
    assert (outer["attachments"], outer["execution"]["attachments"]) == (kept, kept)
    (inner,) = outer["steps"]
    assert (inner["attachments"], inner["execution"]["attachments"]) == ([], [])


@given(data=ANY_DATA)
def test_all_else_is_kept_where_an_attachment_is_left_out(data: object) -> None:
    resolved = _resolved(_result(ONE, data=data), {}, ONE)

    assert resolved == {"id": ID, "attachments": [], "data": without_lone_surrogates(data)}
