"""Attachments in an outbox: kept once, until the server has them, and in memory only where a disk failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.outboxes import ONE, Ends, content_of, take_all
from harness.results import content, numbered

from famacase_xdist.results.frames import ContentHead
from famacase_xdist.state.outbox import Outbox

HEAD = ContentHead(ONE, "a.txt", "text/plain", 4)


def test_content_of_which_the_end_has_not_come_is_none_to_upload(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"cd"])[:-1])

    assert ends.outbox.contents.waiting(ONE) is None


def test_content_that_is_uploaded_leaves_its_id_and_no_bytes(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"cd"]))

    ends.outbox.contents.acknowledge(ONE, "remote")

    for outbox in (ends.outbox, ends.end()):
        assert outbox.contents.remote_ids([ONE, "2" * 64]) == {ONE: "remote"}
        assert (outbox.contents.waiting(ONE), content_of(outbox, ONE)) == (None, b"")
        outbox.close()
    assert list(ends.files.contents.iterdir()) == []


@pytest.mark.parametrize("remote_id", [7, "seven", None, ["a"]], ids=lambda value: type(value).__name__)
def test_the_servers_id_of_a_content_keeps_its_type(remote_id: object, ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"cd"]))

    ends.outbox.contents.acknowledge(ONE, remote_id)

    again = ends.end()
    assert again.contents.remote_ids([ONE]) == {ONE: remote_id}
    again.close()


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("what", ["waiting", "refused", "uploaded"])
def test_a_content_outlives_the_segment_that_tells_of_it(what: str, ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"cd"]), numbered(1, contents=[ONE]))
    if what == "uploaded":
        ends.outbox.contents.acknowledge(ONE, 7)
    elif what == "refused":
        ends.outbox.contents.refuse(ONE, "no")
    ends.outbox.acknowledge(take_all(ends.outbox))

    ends.put(numbered(2, contents=[ONE]))

    assert ends.files.segments() == [2]
    again = ends.end()
    assert again.contents.waiting(ONE) == (HEAD if what == "waiting" else None)
    assert again.contents.remote_ids([ONE]) == ({ONE: 7} if what == "uploaded" else {})
    assert content_of(again, ONE) == (b"" if what == "uploaded" else b"abcd")
    again.forgive()
    assert again.contents.waiting(ONE) == (None if what == "uploaded" else HEAD)
    again.close()


def test_a_file_that_was_cut_off_is_not_whole(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"cd"]))
    Path(ends.files.content(ONE)).write_bytes(b"abc")

    assert not ends.outbox.contents.is_whole(HEAD)


# In memory


def test_content_in_memory_is_kept_once_in_the_order_of_its_pieces() -> None:
    outbox = Outbox(None)
    frames = content(ONE, [b"ab", b"cd"])
    for frame in (frames[1], frames[0], frames[0], frames[1], frames[2], frames[2], frames[0]):
        outbox.accept([frame], "")

    assert outbox.contents.is_whole(HEAD)
    assert content_of(outbox, ONE) == b"abcd"
    outbox.contents.acknowledge(ONE, 7)
    outbox.accept(frames, "")
    assert (outbox.contents.waiting(ONE), outbox.contents.remote_ids([ONE])) == (None, {ONE: 7})


@pytest.mark.parametrize("missing", [0, 1])
def test_content_in_memory_of_which_a_part_is_missing_is_not_whole(missing: int, ends: Ends) -> None:
    frames = content(ONE, [b"ab", b"cd"])
    del frames[missing]

    for outbox in (Outbox(None), ends.outbox):
        outbox.accept(frames, "full")
        assert outbox.contents.waiting(ONE) == HEAD
        assert not outbox.contents.is_whole(HEAD)


def test_content_in_memory_that_is_refused_is_forgiven() -> None:
    outbox = Outbox(None)
    outbox.accept(content(ONE, [b"ab", b"cd"]), "")
    outbox.contents.refuse(ONE, "no")
    assert (outbox.contents.waiting(ONE), outbox.contents.refusals([ONE])) == (None, ["a.txt: no"])

    outbox.forgive()

    assert outbox.contents.waiting(ONE) == HEAD


def test_content_without_bytes_is_whole_in_memory_too() -> None:
    outbox = Outbox(None)
    head = ContentHead(ONE, "a", "b", 0)
    outbox.accept([*content(ONE, [], name="a", mime="b")], "")

    assert outbox.contents.waiting(ONE) == head
    assert outbox.contents.is_whole(head)
    assert content_of(outbox, ONE) == b""
