"""Frames: the server gets exactly what a worker sends, whatever a test puts into it."""

from __future__ import annotations

import json
import struct
from typing import Any

import execnet
import pytest
from harness.texts import ANY_DATA, ANY_TEXT, without_lone_surrogates
from hypothesis import given
from hypothesis import strategies as st

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
from famacase_xdist.results.text import to_json

ID = "11111111-2222-3333-4444-555555555555"


ONE, TWO = "1" * 64, "2" * 64


HEADS = st.builds(
    ResultHead,
    id=st.uuids().map(str),
    nodeid=st.text(),
    status=st.sampled_from(["passed", "failed"]),
    attempt=st.integers(1),
    contents=st.lists(st.text("0123456789abcdef", min_size=64, max_size=64)).map(tuple),
)


def _message(head: ResultHead, result: dict[str, Any]) -> bytes:
    return Frame(head, to_json(result)).encoded


@given(head=HEADS, data=ANY_DATA)
def test_a_result_comes_back_as_it_was_sent(head: ResultHead, data: object) -> None:
    frame = decode(_message(head, {"data": data}))

    assert frame.head == head
    assert json.loads(frame.body) == {"data": without_lone_surrogates(data)}


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
    assert head.nodeid == without_lone_surrogates(nodeid)


@given(head=HEADS, data=ANY_DATA)
def test_execnet_carries_a_frame(head: ResultHead, data: object) -> None:
    frame = _message(head, {"data": data})

    assert execnet.loads(execnet.dumps(frame)) == frame


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


def test_a_frame_keeps_the_message_that_it_was_read_from() -> None:
    message = encode(BegunHead("t.py::test_a"), b"body")

    assert decode(message).encoded is message
