"""Attachments on their way: side by side, in pieces, once, and no refusal costs more than its own file."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from harness.outboxes import failing, files_at
from harness.results import content
from harness.senders import refusing
from harness.server import ATTACHMENTS, TOKEN, Action, App, Backend, Send, answer

from famacase_xdist.client.api import MOST_FILES, Api
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.delivery import uploads as module
from famacase_xdist.delivery.uploads import Uploads
from famacase_xdist.errors import FamacaseError, NoAnswer, Refused
from famacase_xdist.results.frames import PIECE_BYTES, AnyFrame, ContentHead, Frame, PieceHead, digest_of
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

DEADLINE = 10.0
FOREVER = float("inf")


@pytest.fixture(params=["disk", "memory"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    """An outbox whose contents are files, and one in memory; `keep` puts frames into either."""
    journal = Journal(files_at(tmp_path / "outbox" / "a")) if request.param == "disk" else None
    opened = Outbox(journal.files if journal else None, beside_writer=True)
    _journals[opened] = journal
    yield opened
    del _journals[opened]
    opened.close()
    if journal:
        journal.close()


#: The writing end of each outbox; None for one in memory.
_journals: dict[Outbox, Journal | None] = {}


def keep(outbox: Outbox, *frames: AnyFrame) -> None:
    """Put frames into an outbox."""
    journal = _journals[outbox]
    if journal is None:
        outbox.accept(frames, "no disk")
    else:
        journal.append(frames)
        outbox.follow()


def put(outbox: Outbox, body: bytes, name: str = "a.txt", piece: int = PIECE_BYTES) -> str:
    """Put an attachment into an outbox, and give its digest."""
    digest = digest_of(body, "text/plain")
    keep(outbox, *content(digest, [body[start : start + piece] for start in range(0, len(body), piece)], name=name))
    return digest


Connect = Callable[..., Uploads]


@pytest.fixture
def connect(backend: Backend, outbox: Outbox) -> Iterator[Connect]:
    """Make uploads that try once."""
    transport = HttpTransport(TOKEN, "reporter=test")
    made: list[Uploads] = []

    def connect(workers: int = 4) -> Uploads:
        api = Api(transport, backend.url, "DEMO", timeout=DEADLINE)
        made.append(Uploads(api, outbox.contents, lambda call: call(), workers=workers))
        return made[-1]

    yield connect
    for uploads in made:
        uploads.close()
    transport.close()


def kept(backend: Backend, remote_id: Any) -> bytes:
    """Return the content that the server has under an id."""
    found = backend.store.attachment(remote_id)
    assert found is not None
    return bytes(found.content)


class Together:
    """Holds requests until so many are there at once, or patience ends; counts the most that were."""

    def __init__(self, count: int, patience: float = 5.0, then: Action | None = None) -> None:
        self._count = count
        self._patience = patience
        self._then = then
        self._now = 0
        self.most = 0
        self.threads: set[threading.Thread] = set()

    async def __call__(self, app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        self.threads.update(each for each in threading.enumerate() if each.name.startswith("famacase-upload"))
        end = time.monotonic() + self._patience
        while self.most < self._count and time.monotonic() < end:
            await asyncio.sleep(0.01)
        self._now -= 1
        if self._then is None:
            await app(scope, receive, send)
        else:
            await self._then(app, scope, receive, send)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put each attachment into a request of its own."""
    monkeypatch.setattr(module, "GROUP_BYTES", 1)


# What arrives


def test_each_attachment_gets_its_own_id(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    bodies = [b"%d" % number for number in range(30)]
    digests = [put(outbox, body) for body in bodies]

    ids = connect().upload(digests)

    assert [kept(backend, ids[digest]) for digest in digests] == bodies


def test_name_and_media_type_arrive(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    digest = put(outbox, b"x", name="\N{SNOWMAN} a.txt")

    found = backend.store.attachment(connect().upload([digest])[digest])

    assert found is not None
    assert (found.file_name, found.mime_type, found.file_size) == ("\N{SNOWMAN} a.txt", "text/plain", 1)


def test_content_of_many_pieces_arrives_whole(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    body = bytes(range(256)) * 1000
    digest = put(outbox, body, piece=1000)

    assert kept(backend, connect().upload([digest])[digest]) == body


@pytest.mark.parametrize("digests", [[], ["0" * 64]], ids=["none", "unknown"])
def test_where_there_is_nothing_to_upload_nothing_is_sent(
    digests: list[str], backend: Backend, connect: Connect
) -> None:
    assert connect().upload(digests) == {}
    assert backend.seen == []


# Requests


def test_equal_content_is_uploaded_once(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    digest = put(outbox, b"x")
    uploads = connect()

    first = uploads.upload([digest, digest])
    second = uploads.upload([digest])

    assert first == second
    assert len(backend.seen) == 1


def test_small_attachments_share_a_request(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    connect().upload([put(outbox, b"%d" % number) for number in range(MOST_FILES)])

    assert len(backend.seen) == 1


def test_no_request_has_more_files_than_allowed(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    connect().upload([put(outbox, b"%d" % number) for number in range(MOST_FILES * 2 + 1)])

    assert len(backend.seen) == 3


def test_no_request_has_more_bytes_than_set(
    backend: Backend, outbox: Outbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", 1000)
    sizes = [600, 400, 1, 5000, 999]

    connect(1).upload([put(outbox, b"x" * size) for size in sizes])

    # Of 1,000; of 1; a single larger one goes alone; of 999.
    assert len(backend.seen) == 4


def test_requests_go_side_by_side(backend: Backend, outbox: Outbox, connect: Connect, alone: None) -> None:
    together = Together(4)
    backend.inject(ATTACHMENTS, together, FOREVER)

    connect(4).upload([put(outbox, b"%d" % number) for number in range(4)])

    assert together.most == 4


def test_no_more_requests_go_side_by_side_than_set(
    backend: Backend, outbox: Outbox, connect: Connect, alone: None
) -> None:
    together = Together(3, patience=0.1)
    backend.inject(ATTACHMENTS, together, FOREVER)

    connect(2).upload([put(outbox, b"%d" % number) for number in range(4)])

    assert together.most == 2


# Memory


class _Noting(BufferedReader):
    """Notes how much is read at once, and is no `FileIO`, which could be sent by the system alone."""

    sizes: list[int] = []  # noqa: RUF012

    def read(self, size: int | None = -1) -> bytes:
        """Read."""
        given = super().read(size)
        self.sizes.append(len(given))
        return given


@pytest.mark.parametrize("outbox", ["disk"], indirect=True)
def test_a_large_attachment_is_never_in_memory_as_a_whole(
    backend: Backend, outbox: Outbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = outbox.contents.open
    sizes: list[int] = []
    monkeypatch.setattr(_Noting, "sizes", sizes)
    monkeypatch.setattr(outbox.contents, "open", lambda content: _Noting(opened(content).detach()))  # type: ignore[attr-defined]
    size = PIECE_BYTES * 5 // 2
    digest = put(outbox, bytes(size))

    connect().upload([digest])

    assert sum(sizes) >= size
    assert max(sizes) <= PIECE_BYTES


def test_an_empty_piece_is_not_the_end(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    digest = digest_of(b"ab", "text/plain")
    keep(outbox, *content(digest, [b"a", b"", b"b"]))

    assert kept(backend, connect().upload([digest])[digest]) == b"ab"


@pytest.mark.parametrize("outbox", ["disk"], indirect=True)
def test_content_that_cannot_be_read_is_left_out_and_the_others_arrive(
    backend: Backend, outbox: Outbox, connect: Connect
) -> None:
    good, bad = put(outbox, b"good"), put(outbox, b"BAD", "bad.txt")
    opened = System.open

    def fail(path: str, *args: Any) -> int:
        if path.endswith(bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *args)

    with mock.patch.object(System, "open", staticmethod(fail)):
        ids = connect().upload([bad, good])

    assert set(ids) == {good}
    assert outbox.contents.refusals([bad]) == ["bad.txt: its content cannot be read: Input/output error"]


@pytest.mark.parametrize("outbox", ["disk"], indirect=True)
def test_where_no_file_can_be_opened_at_present_nothing_is_refused(
    backend: Backend, outbox: Outbox, connect: Connect
) -> None:
    digest = put(outbox, b"x")
    uploads = connect()

    with failing("open", errno.EMFILE), pytest.raises(OSError, match="Too many open files"):
        uploads.upload([digest])

    assert kept(backend, uploads.upload([digest])[digest]) == b"x"


# Refusals and faults


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
@pytest.mark.parametrize("bad", [0, 4, 9])
def test_one_bad_attachment_is_named_and_the_others_arrive(
    status: int, bad: int, backend: Backend, outbox: Outbox, connect: Connect
) -> None:
    backend.inject(ATTACHMENTS, refusing(b"BAD", status), FOREVER)
    digests = [put(outbox, b"BAD" if number == bad else b"good %d" % number, f"{number}.txt") for number in range(10)]

    ids = connect().upload(digests)

    assert set(ids) == set(digests) - {digests[bad]}
    assert outbox.contents.refusals(digests) == [f"{bad}.txt: HTTP {status}: it says BAD"]


def test_a_refused_attachment_is_not_sent_again(backend: Backend, outbox: Outbox, connect: Connect) -> None:
    backend.inject(ATTACHMENTS, answer(415), FOREVER)
    uploads, digest = connect(), put(outbox, b"x")
    uploads.upload([digest])

    uploads.upload([digest])

    assert len(backend.seen) == 1


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_a_fault_that_is_not_about_the_attachment_is_raised_and_the_attachment_kept(
    status: int, backend: Backend, outbox: Outbox, connect: Connect
) -> None:
    backend.inject(ATTACHMENTS, answer(status))
    uploads, digest = connect(), put(outbox, b"x")

    with pytest.raises(Refused):
        uploads.upload([digest])

    assert kept(backend, uploads.upload([digest])[digest]) == b"x"


def test_a_fault_of_one_request_does_not_waste_those_on_their_way(
    backend: Backend, outbox: Outbox, connect: Connect, alone: None
) -> None:
    together = Together(4, then=refusing(b"BAD", 503))
    backend.inject(ATTACHMENTS, together, FOREVER)
    digests = [put(outbox, body) for body in (b"one", b"BAD", b"two", b"three")]

    with pytest.raises(Refused):
        connect(4).upload(digests)

    assert set(outbox.contents.remote_ids(digests)) == {digests[0], digests[2], digests[3]}


@pytest.mark.parametrize("status", [401, 503])
def test_a_server_that_takes_nothing_is_not_asked_for_each_file(
    status: int, backend: Backend, outbox: Outbox, connect: Connect, alone: None
) -> None:
    backend.inject(ATTACHMENTS, answer(status), FOREVER)

    with pytest.raises(Refused):
        connect(1).upload([put(outbox, b"%d" % number) for number in range(50)])

    assert len(backend.seen) == 1


def test_content_of_which_a_part_is_missing_is_left_out_and_the_others_arrive(
    backend: Backend, outbox: Outbox, connect: Connect
) -> None:
    good, bad = put(outbox, b"good"), "0" * 64
    keep(outbox, Frame(PieceHead(bad, 0), b"ab"), Frame(PieceHead(bad, 2), b"ef"))
    keep(outbox, Frame(ContentHead(bad, "bad.txt", "text/plain", 6)))

    ids = connect().upload([bad, good])

    assert set(ids) == {good}
    assert outbox.contents.refusals([bad]) == ["bad.txt: a part of its content is missing"]


ODD_ANSWERS = [
    b"[]",
    b"null",
    b"{}",
    b'{"attachments": null}',
    b'{"attachments": 5}',
    b'{"attachments": []}',
    b'{"attachments": [{}]}',
    b'{"attachments": ["a"]}',
    b'{"attachments": [{"id": 1}, {"id": 2}]}',
    b"<html>",
]


@pytest.mark.parametrize("body", ODD_ANSWERS)
def test_an_answer_of_an_unknown_form_is_an_error_and_no_standstill(
    body: bytes, backend: Backend, outbox: Outbox, connect: Connect
) -> None:
    backend.inject(ATTACHMENTS, answer(200, body))
    raised: list[BaseException] = []

    def upload() -> None:
        try:
            connect().upload([put(outbox, b"x")])
        except FamacaseError as error:
            raised.append(error)

    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    thread.join(2)

    assert [type(error) for error in raised] == [NoAnswer]


# Threads


def test_threads_are_named_and_do_not_hold_up_the_exit(
    backend: Backend, outbox: Outbox, connect: Connect, alone: None
) -> None:
    together = Together(2)
    backend.inject(ATTACHMENTS, together, FOREVER)

    connect(2).upload([put(outbox, b"%d" % number) for number in range(2)])

    assert sorted(thread.name for thread in together.threads) == ["famacase-upload-0", "famacase-upload-1"]
    assert all(thread.daemon for thread in together.threads)


def test_no_thread_is_started_for_nothing(outbox: Outbox, connect: Connect) -> None:
    uploads = connect(8)

    uploads.upload([])
    assert uploads._pool._threads == []
    uploads.upload([put(outbox, b"x")])
    assert len(uploads._pool._threads) == 1


def test_after_close_all_threads_are_gone(outbox: Outbox, connect: Connect, alone: None) -> None:
    uploads = connect(3)
    uploads.upload([put(outbox, b"%d" % number) for number in range(3)])

    uploads.close()

    for thread in uploads._pool._threads:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in uploads._pool._threads)


def test_a_file_is_read_again_for_a_second_try(backend: Backend, outbox: Outbox) -> None:
    transport = HttpTransport(TOKEN, "reporter=test")
    backend.inject(ATTACHMENTS, answer(503))
    digest = put(outbox, b"whole")

    def twice(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Refused:
            return call()

    uploads = Uploads(Api(transport, backend.url, "DEMO", timeout=DEADLINE), outbox.contents, twice, workers=1)
    ids = uploads.upload([digest])
    uploads.close()
    transport.close()

    assert kept(backend, ids[digest]) == b"whole"
