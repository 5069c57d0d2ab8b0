"""Attachments in an outbox: kept once, in pieces, until the server has them."""

from __future__ import annotations

import pytest
from harness.outboxes import ONE, content_of
from harness.results import content

from famacase_xdist.state.outbox import Outbox


def test_content_of_which_the_end_has_not_come_is_none_to_upload(outbox: Outbox) -> None:
    outbox.put(content(ONE, [b"ab", b"cd"])[:-1])

    assert outbox.contents.waiting(ONE) is None


def test_equal_content_of_a_second_worker_is_kept_once(outbox: Outbox) -> None:
    frames = content(ONE, [b"ab", b"cd"])
    for frame in (frame for pair in zip(frames, frames, strict=True) for frame in pair):
        outbox.put([frame])

    assert content_of(outbox, ONE) == b"abcd"


def test_content_that_is_uploaded_leaves_its_id_and_no_bytes(outbox: Outbox) -> None:
    outbox.put(content(ONE, [b"ab", b"cd"]))

    outbox.contents.acknowledge(ONE, "remote")

    assert outbox.contents.remote_ids([ONE, "2" * 64]) == {ONE: "remote"}
    assert (outbox.contents.waiting(ONE), content_of(outbox, ONE)) == (None, b"")


def test_content_that_comes_again_after_its_upload_takes_no_room(outbox: Outbox) -> None:
    outbox.put(content(ONE, [b"ab", b"cd"]))
    outbox.contents.acknowledge(ONE, "remote")

    outbox.put(content(ONE, [b"ab", b"cd"]))

    assert content_of(outbox, ONE) == b""


@pytest.mark.parametrize("remote_id", [7, "seven", None], ids=type)
def test_the_servers_id_of_a_content_keeps_its_type(remote_id: object, outbox: Outbox) -> None:
    outbox.put(content(ONE, [b"ab", b"cd"]))

    outbox.contents.acknowledge(ONE, remote_id)

    assert outbox.contents.remote_ids([ONE]) == {ONE: remote_id}
