"""Attachments are uploaded ahead of their results, and hold none of them up."""

from __future__ import annotations

import json

import pytest
from harness.results import attachment, result
from harness.senders import FOREVER, Connect, refusing
from harness.server import ATTACHMENTS, Backend, answer


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
def test_a_result_whose_attachment_is_refused_arrives_and_says_so(
    status: int, backend: Backend, connect: Connect
) -> None:
    digest, frames = attachment(b"x")
    backend.inject(ATTACHMENTS, answer(status, b'{"detail": "no text here"}'), FOREVER)

    connect().start().deliver(*frames, result("test_a", attached={"a.txt": digest}, message="it broke"))

    (arrived,) = backend.results()
    assert arrived["attachments"] == []
    assert arrived["message"] == f"it broke\nAttachment left out: a.txt: HTTP {status}: no text here"


def test_the_other_attachments_of_a_result_arrive(backend: Backend, connect: Connect) -> None:
    (good, good_frames), (bad, bad_frames) = attachment(b"good"), attachment(b"BAD")
    backend.inject(ATTACHMENTS, refusing(b"BAD", 415), FOREVER)

    connect().start().deliver(*good_frames, *bad_frames, result(attached={"good.txt": good, "bad.txt": bad}))

    (arrived,) = backend.results()
    kept = [backend.store.attachment(link["id"]) for link in arrived["attachments"]]
    assert [each and each.content for each in kept] == [b"good"]


def test_a_result_without_attachments_goes_byte_for_byte(backend: Backend, connect: Connect) -> None:
    frame = result()

    connect().start().deliver(frame)

    assert backend.results() == [json.loads(frame.body)]


def test_equal_content_of_two_batches_is_uploaded_once(backend: Backend, connect: Connect) -> None:
    digest, frames = attachment(b"x")
    line = connect(testops_batch_size=1).start()

    first, second = (result(name, attached={"a.txt": digest}) for name in ("test_a", "test_b"))
    line.deliver(*frames, first, *frames, second)

    assert len(backend.requests(ATTACHMENTS)) == 1
    ids = [link["id"] for each in backend.results() for link in each["attachments"]]
    assert ids == [ids[0]] * 2


def test_a_damaged_attachment_does_not_hold_up_the_results(backend: Backend, connect: Connect) -> None:
    digest, (_, end) = attachment(b"x")

    connect().start().deliver(end, result("test_a", attached={"a.txt": digest}), result("test_b"))

    assert backend.titles() == ["test_a", "test_b"]
