"""Frames and texts: what a worker sends is what the server gets, whatever a test puts into it."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import execnet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.results.body import reference, with_attachment_ids
from famacase_xdist.results.frames import (
    BegunHead,
    ContentHead,
    Frame,
    Head,
    IgnoredHead,
    NoteHead,
    PieceHead,
    ResultHead,
    content_frames,
    decode,
    encode,
)
from famacase_xdist.results.text import text_of, to_json

ID = "11111111-2222-3333-4444-555555555555"
OTHER_ID = "99999999-2222-3333-4444-555555555555"
ONE, TWO = "1" * 64, "2" * 64

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
HEADS = st.builds(
    ResultHead,
    id=st.uuids().map(str),
    nodeid=st.text(),
    status=st.sampled_from(["passed", "failed"]),
    attempt=st.integers(1),
    contents=st.lists(st.text("0123456789abcdef", min_size=64, max_size=64)).map(tuple),
)


def _without_lone_surrogates(value: Any) -> Any:
    """Say by other means than the module what has to become of a value."""
    if isinstance(value, str):
        pair_or_lone = "[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]"
        return re.sub(pair_or_lone, lambda found: _joined(found[0]), value)
    if isinstance(value, list):
        return [_without_lone_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {key: _without_lone_surrogates(each) for key, each in value.items()}
    return value


def _joined(found: str) -> str:
    if len(found) == 1:
        return "\N{REPLACEMENT CHARACTER}"
    high, low = map(ord, found)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _result(*digests: str, **more: object) -> dict[str, Any]:
    return {"id": ID, "attachments": [_entry(digest) for digest in digests], **more}


def _entry(digest: str, name: str = "a.txt") -> dict[str, str]:
    return {"id": reference(ID, digest), "file_name": name}


def _head(*digests: str) -> ResultHead:
    return ResultHead(ID, "test_a.py::test_a", "passed", contents=digests)


def _message(head: ResultHead, result: dict[str, Any]) -> bytes:
    return Frame(head, to_json(result)).encoded


def _resolved(result: dict[str, Any], ids: dict[str, object], *digests: str) -> dict[str, Any]:
    return json.loads(with_attachment_ids(Frame(_head(*digests), to_json(result)), ids).body)


@given(head=HEADS, data=ANY_DATA)
def test_a_result_comes_back_as_it_was_sent(head: ResultHead, data: object) -> None:
    frame = decode(_message(head, {"data": data}))

    assert frame.head == head
    assert json.loads(frame.body) == {"data": _without_lone_surrogates(data)}


@given(name=st.text(), mime=st.text(), content=st.binary(), piece=st.integers(1, 20))
def test_a_content_comes_back_as_it_was_sent(name: str, mime: str, content: bytes, piece: int) -> None:
    head = ContentHead(ONE, name, mime, len(content))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("famacase_xdist.results.frames.PIECE_BYTES", piece)
        *pieces, end = (decode(frame.encoded) for frame in content_frames(head, content))

    assert b"".join(each.body for each in pieces) == content
    assert [each.head for each in pieces] == [PieceHead(ONE, number) for number in range(len(pieces))]
    assert end == Frame(head)


@pytest.mark.parametrize("head", [BegunHead("t.py::test_a"), IgnoredHead("t.py::test_a"), NoteHead("é")])
def test_what_is_said_of_a_test_comes_back_as_it_was_sent(head: Head) -> None:
    assert decode(encode(head, b"body")) == Frame(head, b"body")


@given(nodeid=ANY_TEXT)
def test_a_node_id_with_lone_surrogates_does_not_break_its_frame(nodeid: str) -> None:
    head = decode(_message(ResultHead(ID, nodeid, "passed"), {})).head

    assert isinstance(head, ResultHead)
    assert head.nodeid == _without_lone_surrogates(nodeid)


@given(head=HEADS, data=ANY_DATA)
def test_execnet_carries_a_frame(head: ResultHead, data: object) -> None:
    frame = _message(head, {"data": data})

    assert execnet.loads(execnet.dumps(frame)) == frame


@pytest.mark.parametrize("value", [2**64, -(2**200), 10**4000], ids=["2**64", "-2**200", "10**4000"])
def test_a_huge_int_keeps_every_digit(value: int) -> None:
    assert json.loads(to_json(value)) == value


@pytest.mark.parametrize("text", ["\ud800", "\ud800x", "x\udc00", '\ud800"', "\udc00\ud800"], ids=ascii)
def test_a_lone_surrogate_becomes_a_replacement_character(text: str) -> None:
    assert json.loads(to_json(text)) == re.sub("[\ud800-\udfff]", "\ufffd", text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"value": value})


def test_text_travels_as_utf_8_and_not_as_escapes() -> None:
    assert to_json("\N{SNOWMAN}") == '"\N{SNOWMAN}"'.encode()


HEAD_JSON = to_json({"id": ID, "nodeid": "n", "status": "passed", "attempt": 1, "contents": []})


def _raw(kind: bytes, head: bytes, length: int | None = None) -> bytes:
    return struct.pack(">cI", kind, len(head) if length is None else length) + head


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"R",
        b"R\0\0\0",
        b"R\0\0\0\0",
        _raw(b"X", HEAD_JSON),
        _raw(b"R", b"not json"),
        _raw(b"R", b"\xff\xfe"),
        _raw(b"R", b"[]"),
        _raw(b"R", b"null"),
        _raw(b"R", b"{}"),
        _raw(b"R", b'{"contents": []}'),
        _raw(b"R", b'{"contents": null}'),
        _raw(b"R", HEAD_JSON.replace(b'"nodeid"', b'"unknown"')),
        _raw(b"R", HEAD_JSON, length=len(HEAD_JSON) - 1),
        _raw(b"C", HEAD_JSON),
        _raw(b"C", b"{}"),
        _raw(b"C", b"3"),
    ],
)
def test_what_is_no_frame_raises_a_value_error(frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(frame)


@given(frame=st.binary())
def test_garbage_is_never_a_frame(frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(frame)


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

    assert resolved["message"] == _without_lone_surrogates(text)


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

    assert resolved == {"id": ID, "attachments": [], "data": _without_lone_surrogates(data)}


class _Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __len__(self) -> int:
        raise RuntimeError("no length")


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _NoString:
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class _PrintsAsSubclass:
    def __str__(self) -> str:
        return _Text("printed")


class _LiesAboutItsClass:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("no class")

    def __str__(self) -> str:
        return "printed"


class _SaysItIsStr:
    """As `Mock(spec=str)` does."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return str

    def __str__(self) -> str:
        return "printed"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (_Text("inner"), "inner"),
        (None, "None"),
        (1.5, "1.5"),
        (b"\xff", r"b'\xff'"),
        (_Unprintable(), "<_Unprintable that cannot be printed>"),
        (_NoString(), "<_NoString that cannot be printed>"),
        (_PrintsAsSubclass(), "printed"),
        (_LiesAboutItsClass(), "printed"),
        (_SaysItIsStr(), "printed"),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_any_value_has_a_text_that_is_exactly_a_str(value: object, text: str) -> None:
    given_text = text_of(value)

    assert type(given_text) is str
    assert given_text == text


def test_a_text_that_is_too_long_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("famacase_xdist.results.text.MAX_TEXT", 10)

    assert text_of("0123456789abc") == "0123456789\n[cut: 3 more characters]"


def test_a_text_of_just_the_allowed_length_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("famacase_xdist.results.text.MAX_TEXT", 10)

    assert text_of("0123456789") == "0123456789"


def test_a_frame_keeps_the_message_that_it_was_read_from() -> None:
    message = encode(BegunHead("t.py::test_a"), b"body")

    assert decode(message).encoded is message
