"""Delivery: whatever the server does, each result is there once or is kept with the reason, in bounded time."""

from __future__ import annotations

import asyncio
import email.utils
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import files_at
from harness.server import (
    ATTACHMENTS,
    COMPLETE,
    RESULTS,
    RUNS,
    TOKEN,
    Action,
    App,
    Backend,
    Send,
    answer,
    cut_off,
    delay,
    hang,
    lost,
    running,
)

from famacase_xdist.client.api import Api
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.delivery import sender as module
from famacase_xdist.delivery.sender import Sender
from famacase_xdist.results import synthetic
from famacase_xdist.results.body import reference
from famacase_xdist.results.frames import (
    AnyFrame,
    ContentHead,
    Frame,
    ResultFrame,
    ResultHead,
    content_frames,
    digest_of,
)
from famacase_xdist.results.text import to_json
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

DEADLINE = 10.0
PROJECT = r"GET .*/projects/DEMO"
FOREVER = float("inf")


def result(name: str = "test_a", *digests: str, status: str = "passed", **more: object) -> AnyFrame:
    """Make the frame of a result that a strict server takes, unless `more` says otherwise."""
    made = synthetic.result(f"t.py::{name}", status, "")
    head, body = made.head, made.body
    links = [{"id": reference(head.id, digest), "file_name": "a.txt"} for digest in digests]
    content = {**json.loads(body), "attachments": links, **more}
    return Frame(ResultHead(head.id, head.nodeid, status, contents=digests), to_json(content))


def content(body: bytes) -> tuple[str, list[AnyFrame]]:
    """Make an attachment: its digest and its frames."""
    digest = digest_of(body, "text/plain")
    head = ContentHead(digest, "a.txt", "text/plain", len(body))
    return digest, list(content_frames(head, body))


class Line:
    """A sender with all that it needs, and the frames put into it."""

    def __init__(self, url: str, path: Path | None, **settings: Any) -> None:
        self.settings = Settings(mode="testops", testops_project="DEMO", **settings)
        self.transport = HttpTransport(TOKEN, "reporter=test")
        self.api = Api(self.transport, url, "DEMO", timeout=self.settings.timeout)
        self.outbox = Outbox(files_at(path))
        self.run = Run.from_settings(self.settings)
        # What is sent is what most tests here are about; those that complete the run say so.
        self.run.stays_open = "it is not asked for"
        self.sender = Sender(self.api, self.outbox, self.run, self.settings)

    def start(self) -> Line:
        """Start the sender, and wait until it has tried to open the run."""
        self.sender.start()
        assert self.run.settled.wait(DEADLINE)
        return self

    def put(self, *frames: AnyFrame) -> None:
        """Put frames into the outbox, and say so."""
        self.outbox.put(frames)
        self.sender.notify(sum(isinstance(frame.head, ResultHead) for frame in frames))

    def deliver(self, *frames: AnyFrame, complete: bool = False) -> bool:
        """Put frames, and flush."""
        self.put(*frames)
        self.run.stays_open = "" if complete else "it is not asked for"
        return self.sender.flush(DEADLINE)


Connect = Callable[..., Line]


@pytest.fixture
def connect(tmp_path: Path, backend: Backend) -> Iterator[Connect]:
    """Make lines to the backend, or to another address."""
    lines: list[Line] = []

    def connect(url: str = backend.url, **settings: Any) -> Line:
        lines.append(Line(url, tmp_path / "outbox" / f"{len(lines)}.sqlite3", **settings))
        return lines[-1]

    yield connect
    backend.released.set()
    for line in lines:
        if line.sender._thread.ident is not None:
            line.sender.flush(DEADLINE)
        line.outbox.close()
        line.transport.close()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait between two tries; keep how long it would have been."""
    waits: list[float] = []
    monkeypatch.setattr(module, "sleep_using_event", lambda event: waits.append)
    return waits


def told(event: threading.Event) -> Action:
    """Let the application answer, and then set an event."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await app(scope, receive, send)
        event.set()

    return act


def refusing(word: bytes, status: int) -> Action:
    """Refuse what has a word in its body; let the application answer all else."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        refusal = answer(status, b'{"detail": "it says %s"}' % word)
        await (refusal if word in body else app)(*([app] if word in body else []), scope, again, send)

    return act


def received(backend: Backend) -> list[tuple[str, int]]:
    """Give what the server has: each title, and how often it came."""
    runs = backend.store.runs()
    return sorted((each.title, each.times_received) for run in runs for each in backend.store.stored_results(run.id))


# Batches


class _FoundEmpty(Outbox):
    """An outbox that says when a lease found nothing: something else may happen just then."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.then: Callable[[], None] | None = None

    def lease(self, most: int, most_bytes: int) -> list[ResultFrame]:
        batch = super().lease(most, most_bytes)
        if not batch and self.then is not None:
            then, self.then = self.then, None
            then()
        return batch


def test_a_full_batch_goes_at_once(backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGE", 3600.0)
    arrived = threading.Event()
    backend.inject(RESULTS, told(arrived))

    connect(testops_batch_size=3).start().put(*[result(f"test_{number}") for number in range(3)])

    assert arrived.wait(DEADLINE)
    assert backend.titles() == ["test_0", "test_1", "test_2"]


def test_a_result_goes_alone_when_it_is_old_enough(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_AGE", 0.05)
    arrived = threading.Event()
    backend.inject(RESULTS, told(arrived))

    connect().start().put(result())

    assert arrived.wait(DEADLINE)
    assert backend.titles() == ["test_a"]


def test_young_results_wait_for_each_other(backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGE", 3600.0)
    monkeypatch.setitem(Line.__init__.__globals__, "Outbox", _FoundEmpty)
    line = connect()
    assert isinstance(line.outbox, _FoundEmpty)
    is_empty = threading.Event()
    line.outbox.then = is_empty.set
    line.start()
    assert is_empty.wait(DEADLINE)

    for number in range(5):
        line.put(result(f"test_{number}"))
    line.sender.flush(DEADLINE)

    assert len(backend.requests(RESULTS)) == 1
    assert len(backend.results()) == 5


@pytest.mark.parametrize(("size", "requests"), [(1, 7), (3, 3), (7, 1), (200, 1)])
def test_no_batch_is_larger_than_set(size: int, requests: int, backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=size)
    line.put(*[result(f"test_{number}") for number in range(7)])

    line.start().sender.flush(DEADLINE)

    assert len(backend.requests(RESULTS)) == requests
    assert len(backend.results()) == 7


def test_a_batch_is_not_larger_than_a_request_may_be(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 2_500)
    line = connect()
    line.put(*[result(f"test_{number}", message="x" * 1000) for number in range(4)])

    line.start().sender.flush(DEADLINE)

    assert max(int(seen.headers["content-length"]) for seen in backend.requests(RESULTS)) < 3_500
    assert len(backend.results()) == 4


def test_results_that_were_there_before_the_start_are_sent(backend: Backend, connect: Connect) -> None:
    line = connect()
    line.put(result())

    line.start().sender.flush(DEADLINE)

    assert backend.titles() == ["test_a"]


def test_what_is_put_while_the_last_batch_is_on_its_way_is_delivered(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        line.put(result("test_late"))
        await app(scope, receive, send)

    backend.inject(RESULTS, act)
    line.deliver(result())

    assert backend.titles() == ["test_a", "test_late"]


def test_what_is_put_just_after_the_outbox_was_found_empty_is_delivered(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Line.__init__.__globals__, "Outbox", _FoundEmpty)
    line = connect()
    assert isinstance(line.outbox, _FoundEmpty)

    def last() -> None:
        line.put(result())
        line.sender.close()

    line.outbox.then = last
    line.start()
    line.sender.flush(DEADLINE)

    assert backend.titles() == ["test_a"]


def test_what_the_server_took_is_counted_by_status_and_gone_from_the_outbox(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    assert line.deliver(result("test_a"), result("test_b", status="failed"), result("test_c"))

    assert line.sender.delivered == {"passed": 2, "failed": 1}
    assert (line.outbox.undelivered(), line.sender.trouble) == (0, "")


def test_a_session_without_results_has_a_run_and_ends_at_once(backend: Backend, connect: Connect) -> None:
    assert connect().start().sender.flush(DEADLINE)

    assert (len(backend.store.runs()), backend.requests(RESULTS)) == (1, [])


def test_what_resend_needs_to_know_of_the_run_is_in_the_outbox(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    line.sender.flush(DEADLINE)

    assert line.outbox.session()["run_id"] == backend.store.runs()[0].id


# Faults that pass


FAULTS: dict[str, Callable[[], Action]] = {
    "408": lambda: answer(408),
    "429": lambda: answer(429),
    "429-seconds": lambda: answer(429, retry_after="7"),
    "429-date": lambda: answer(429, retry_after=email.utils.formatdate(time.time() + 30, usegmt=True)),
    "429-nonsense": lambda: answer(429, retry_after="soon"),
    "500": lambda: answer(500),
    "502": lambda: answer(502, b"<html>Bad Gateway</html>", content_type="text/html"),
    "503": lambda: answer(503, retry_after="1"),
    "504": lambda: answer(504, b""),
    "cut-off": cut_off,
    "html": lambda: answer(200, b"<html>Please sign in</html>", content_type="text/html"),
    "lost": lost,
    "lost-to-a-500": lambda: lost(answer(500)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_loses_no_result_and_doubles_none(
    fault: Callable[[], Action], backend: Backend, connect: Connect
) -> None:
    line = connect().start()
    backend.inject(RESULTS, fault(), 2)

    assert line.deliver(*[result(f"test_{number}") for number in range(3)])

    assert backend.titles() == ["test_0", "test_1", "test_2"]
    assert (line.outbox.undelivered(), line.sender.trouble) == (0, "")


def test_an_answer_that_is_lost_has_the_same_results_sent_again(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, lost())

    line.deliver(result())

    assert received(backend) == [("test_a", 2)]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_while_the_run_is_made_makes_one_run(
    fault: Callable[[], Action], backend: Backend, connect: Connect
) -> None:
    backend.inject(RUNS, fault(), 2)

    connect().start().deliver(result())

    assert [run.counts["passed"] for run in backend.store.runs()] == [1]
    assert len({seen.headers["idempotency-key"] for seen in backend.requests(RUNS)}) == 1


def test_a_run_whose_answer_was_lost_until_the_server_came_back_is_made_once(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0.01)
    backend.inject(RUNS, lost(), 5)
    arrived = threading.Event()
    backend.inject(RESULTS, told(arrived))
    monkeypatch.setattr(module, "MAX_AGE", 0.0)

    connect().start().put(result())

    assert arrived.wait(DEADLINE)
    assert len(backend.store.runs()) == 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_while_the_project_is_looked_up_costs_nothing(
    fault: Callable[[], Action], backend: Backend, connect: Connect
) -> None:
    backend.inject(PROJECT, fault(), 2)

    connect().start().deliver(result())

    assert backend.titles() == ["test_a"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_an_upload_loses_no_attachment(
    fault: Callable[[], Action], backend: Backend, connect: Connect
) -> None:
    digest, frames = content(b"attached")
    backend.inject(ATTACHMENTS, fault(), 2)

    connect().start().deliver(*frames, result("test_a", digest))

    ((link,),) = [each["attachments"] for each in backend.results()]
    kept = backend.store.attachment(link["id"])
    assert kept is not None
    assert kept.content == b"attached"


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0.5),
        ("100000", 60, 60),
        ("in 30 s", 28, 30),
        ("a minute ago", 0, 0.5),
        ("", 0, 0.5),
        ("soon", 0, 0.5),
    ],
)
def test_the_server_is_given_the_time_that_it_asks_for_and_no_more_than_a_minute(
    header: str, least: float, most: float, backend: Backend, connect: Connect, waits: list[float]
) -> None:
    dates = {"in 30 s": 30, "a minute ago": -60}
    if header in dates:
        header = email.utils.formatdate(time.time() + dates[header], usegmt=True)
    line = connect().start()
    backend.inject(RESULTS, answer(429, retry_after=header))

    line.deliver(result())

    (waited,) = waits
    assert least <= waited <= most


def test_without_a_word_of_the_server_the_waits_grow_and_are_bounded(
    backend: Backend, connect: Connect, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    line = connect(retry_attempts=9).start()
    backend.inject(RESULTS, answer(503), 8)

    line.deliver(result())

    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.5, module.MAX_WAIT)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_request_is_tried_as_often_as_set(attempts: int, backend: Backend, connect: Connect) -> None:
    line = connect(retry_attempts=attempts)
    backend.inject(PROJECT, answer(503), FOREVER)
    line.sender.close()

    line.start().sender.join(DEADLINE)

    assert len(backend.requests(PROJECT)) == attempts


# Servers that are not there


def unused_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_not_there_loses_nothing_and_is_named_as_the_reason(connect: Connect) -> None:
    line = connect(f"http://127.0.0.1:{unused_port()}").start()

    assert line.deliver(result())

    assert line.outbox.undelivered() == 1
    assert line.sender.trouble == "no connection (Connection refused)"


def test_a_server_that_comes_later_gets_all(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0.05)
    monkeypatch.setattr(module, "MAX_AGE", 0.0)
    port = unused_port()
    line = connect(f"http://127.0.0.1:{port}").start()
    line.put(result())
    assert line.run.trouble

    with running(tmp_path / "later.sqlite3", port=port) as later:
        arrived = threading.Event()
        later.inject(RESULTS, told(arrived))
        assert arrived.wait(DEADLINE)
        assert later.titles() == ["test_a"]
        line.sender.flush(DEADLINE)


@pytest.mark.parametrize("is_open", [True, False], ids=["run-open", "no-run"])
def test_a_dead_server_is_not_asked_again_for_each_result(is_open: bool, backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=10)
    if is_open:
        line.start()
    backend.inject(".*", answer(503), FOREVER)
    before = len(backend.seen)
    if not is_open:
        line.start()

    for number in range(2_000):
        line.put(result(f"test_{number}"))
    line.sender.flush(DEADLINE)

    assert len(backend.seen) - before <= 2 * line.settings.retry_attempts
    assert line.outbox.undelivered() == 2_000


def test_a_server_that_hangs_is_left_when_the_time_is_up(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, hang(backend))
    line.put(result())
    began = time.monotonic()

    assert not line.sender.flush(0.2)

    assert time.monotonic() - began < 2
    assert line.outbox.undelivered() == 1


def test_a_server_that_hangs_is_not_asked_again_when_the_time_is_up(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, hang(backend))
    line.put(result())
    line.sender.flush(0.2)

    backend.released.set()
    line.sender.join(DEADLINE)

    assert line.sender.is_idle
    assert len(backend.requests(RESULTS)) == 1


def test_a_wait_between_two_tries_ends_when_the_time_is_up(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenacity import sleep_using_event

    monkeypatch.setattr(module, "sleep_using_event", sleep_using_event)
    line = connect().start()
    backend.inject(RESULTS, answer(503, retry_after="60"), FOREVER)
    line.put(result())
    began = time.monotonic()

    line.sender.flush(0.2)
    line.sender.join(DEADLINE)

    assert time.monotonic() - began < 2
    assert line.sender.is_idle


def late(backend: Backend) -> Action:
    """Let the application answer when the test says so."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await asyncio.to_thread(backend.released.wait)
        await app(scope, receive, send)

    return act


def test_an_answer_that_comes_after_the_time_is_up_and_the_outbox_is_closed_harms_nobody(
    backend: Backend, connect: Connect
) -> None:
    line = connect().start()
    backend.inject(RESULTS, late(backend))
    line.put(result())
    line.sender.flush(0.1)
    line.outbox.close()

    backend.released.set()
    line.sender.join(DEADLINE)

    assert line.sender.is_idle


def test_after_the_time_is_up_a_run_is_not_completed_behind_the_summarys_back(
    backend: Backend, connect: Connect
) -> None:
    line = connect().start()
    backend.inject(RESULTS, late(backend))
    line.put(result())
    line.run.stays_open = ""
    line.sender.flush(0.1)

    backend.released.set()
    line.sender.join(DEADLINE)

    assert line.sender.is_idle
    assert backend.requests(COMPLETE) == []


# Refusals that are about the session


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_said_at_once_and_nothing_is_sent_again(
    status: int, backend: Backend, connect: Connect, waits: list[float]
) -> None:
    backend.inject(".*", answer(status, b'{"detail": "bad token"}'), FOREVER)

    line = connect().start()
    assert line.deliver(*[result(f"test_{number}") for number in range(500)])

    assert len(backend.seen) == 1
    assert (line.sender.trouble, waits) == (f"the token was refused: HTTP {status}: bad token", [])
    assert (line.sender.halted, line.outbox.undelivered()) == (True, 500)


@pytest.mark.parametrize(
    ("pattern", "status"),
    [(RESULTS, 401), (RESULTS, 403), (RESULTS, 404), (RESULTS, 307), (ATTACHMENTS, 401), (ATTACHMENTS, 403)],
)
def test_a_refusal_of_the_session_ends_all_sending_and_keeps_all(
    pattern: str, status: int, backend: Backend, connect: Connect
) -> None:
    digest, frames = content(b"x")
    line = connect(testops_batch_size=1).start()
    before = len(backend.seen)
    backend.inject(pattern, answer(status, location="http://elsewhere.invalid/"), FOREVER)

    line.deliver(*frames, *[result(f"test_{number}", digest) for number in range(5)])

    uploads = backend.requests(ATTACHMENTS) if pattern == RESULTS else []
    assert len(backend.seen) - before - len(uploads) == 1
    assert (line.sender.halted, line.outbox.undelivered()) == (True, 5)
    assert line.outbox.refusals() == {}


def test_nothing_is_sent_after_the_token_was_refused(backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=1).start()
    backend.inject(RESULTS, answer(401))
    line.put(result())
    line.sender.join(DEADLINE)
    before = len(backend.seen)

    line.deliver(*[result(f"test_{number}") for number in range(5)])

    assert len(backend.seen) == before
    assert line.outbox.undelivered() == 6


def test_a_project_that_is_not_there_is_named(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path / "other.sqlite3", projects=["OTHER"]) as other:
        line = connect(other.url).start()
        line.deliver(result())

        assert line.sender.trouble == f"there is no project DEMO at {other.url}"
        assert len(other.seen) == 1
    assert line.outbox.undelivered() == 1


def test_a_run_that_is_not_there_is_named(backend: Backend, connect: Connect) -> None:
    line = connect(testops_run_id="99").start()
    line.deliver(result())

    assert line.sender.trouble == "there is no run 99 in project DEMO (FAMACASE_TESTOPS_RUN_ID)"
    assert backend.store.runs() == []


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_run_that_the_server_will_not_make_is_not_asked_for_again(
    status: int, backend: Backend, connect: Connect
) -> None:
    backend.inject(RUNS, answer(status, b'{"detail": "no such plan"}'), FOREVER)

    line = connect().start()
    line.deliver(result())

    assert len(backend.requests(RUNS)) == 1
    assert line.sender.trouble == f"HTTP {status}: no such plan"
    assert line.outbox.undelivered() == 1


# Refusals that are about a result


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [0, 3, 7])
def test_one_bad_result_is_kept_with_the_servers_words_and_the_others_arrive(
    status: int, bad: int, backend: Backend, connect: Connect
) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", status), FOREVER)

    line.deliver(*[result(f"test_{number}", message="BAD" if number == bad else None) for number in range(8)])

    assert backend.titles() == [f"test_{number}" for number in range(8) if number != bad]
    assert line.outbox.refusals() == {f"HTTP {status}: it says BAD": 1}
    assert line.sender.delivered == {"passed": 7}


def test_a_batch_that_is_halved_sends_no_result_twice(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)

    line.deliver(*[result(f"test_{number}", message="BAD" if number == 5 else None) for number in range(16)])

    assert {times for _, times in received(backend)} == {1}


def test_a_result_that_the_real_server_refuses_is_kept_with_its_words(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    line.deliver(result("test_a"), result("test_b", unknown=1), result("test_c"))

    assert backend.titles() == ["test_a", "test_c"]
    ((words, count),) = line.outbox.refusals().items()
    assert count == 1
    assert "results[0].unknown" in words


def test_a_refused_result_is_not_sent_again_with_the_next_batch(backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=2).start()
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)

    line.deliver(result("test_bad", message="BAD"), *[result(f"test_{number}") for number in range(5)])

    assert len(backend.results()) == 5
    assert len(backend.requests(RESULTS)) == 5


def test_many_bad_results_are_counted_by_the_servers_words(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)

    line.deliver(*[result(f"test_{number}", message="BAD" if number % 2 else None) for number in range(10)])

    assert line.outbox.refusals() == {"HTTP 422: it says BAD": 5}
    assert len(backend.results()) == 5


def test_a_refused_result_is_no_trouble_of_the_session(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, answer(422), FOREVER)

    line.deliver(result())

    assert (line.sender.trouble, line.sender.halted) == ("", False)


# Attachments


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
def test_a_result_whose_attachment_is_refused_arrives_and_says_so(
    status: int, backend: Backend, connect: Connect
) -> None:
    digest, frames = content(b"x")
    backend.inject(ATTACHMENTS, answer(status, b'{"detail": "no text here"}'), FOREVER)

    connect().start().deliver(*frames, result("test_a", digest, message="it broke"))

    (arrived,) = backend.results()
    assert arrived["attachments"] == []
    assert arrived["message"] == f"it broke\nAttachment left out: a.txt: HTTP {status}: no text here"


def test_the_other_attachments_of_a_result_arrive(backend: Backend, connect: Connect) -> None:
    (good, good_frames), (bad, bad_frames) = content(b"good"), content(b"BAD")
    backend.inject(ATTACHMENTS, refusing(b"BAD", 415), FOREVER)

    connect().start().deliver(*good_frames, *bad_frames, result("test_a", good, bad))

    (arrived,) = backend.results()
    kept = [backend.store.attachment(link["id"]) for link in arrived["attachments"]]
    assert [each and each.content for each in kept] == [b"good"]


def test_a_result_without_attachments_goes_byte_for_byte(backend: Backend, connect: Connect) -> None:
    frame = result()

    connect().start().deliver(frame)

    assert backend.results() == [json.loads(frame.body)]


def test_equal_content_of_two_batches_is_uploaded_once(backend: Backend, connect: Connect) -> None:
    digest, frames = content(b"x")
    line = connect(testops_batch_size=1).start()

    line.deliver(*frames, result("test_a", digest), *frames, result("test_b", digest))

    assert len(backend.requests(ATTACHMENTS)) == 1
    ids = [link["id"] for each in backend.results() for link in each["attachments"]]
    assert ids == [ids[0]] * 2


def test_a_damaged_attachment_does_not_hold_up_the_results(backend: Backend, connect: Connect) -> None:
    digest, (_, end) = content(b"x")

    connect().start().deliver(end, result("test_a", digest), result("test_b"))

    assert backend.titles() == ["test_a", "test_b"]


# Completing the run


def statuses(backend: Backend) -> list[tuple[str, int]]:
    """Give how each run stands, and how often it was completed."""
    return [(run.status, run.complete_requests) for run in backend.store.runs()]


def test_a_run_of_which_all_is_delivered_is_completed_where_asked_for(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    assert line.deliver(result(), complete=True)

    assert (statuses(backend), line.run.completed) == ([("completed", 1)], True)


def test_a_run_is_completed_after_its_last_result(backend: Backend, connect: Connect) -> None:
    connect(testops_batch_size=1).start().deliver(*[result(f"test_{number}") for number in range(3)], complete=True)

    assert [seen.line.rpartition("/")[2] for seen in backend.seen[-4:]] == ["results", "results", "results", "complete"]


def test_a_run_stays_open_where_not_asked_otherwise(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    line.deliver(result())

    assert (backend.requests(COMPLETE), line.run.completed) == ([], False)


@pytest.mark.parametrize("status", [422, 503, 401])
def test_a_run_of_which_a_result_is_missing_stays_open(status: int, backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", status), FOREVER)

    line.deliver(result("test_a"), result("test_b", message="BAD"), complete=True)

    assert (backend.requests(COMPLETE), line.run.completed) == ([], False)


def test_a_run_that_was_never_opened_is_not_completed(backend: Backend, connect: Connect) -> None:
    backend.inject(RUNS, answer(503), FOREVER)

    connect().start().deliver(complete=True)

    assert backend.requests(COMPLETE) == []


@pytest.mark.parametrize("fault", [answer(503), cut_off(), lost()], ids=["503", "cut-off", "lost"])
def test_a_fault_while_the_run_is_completed_costs_nothing(fault: Action, backend: Backend, connect: Connect) -> None:
    backend.inject(COMPLETE, fault, 2)
    line = connect().start()

    line.deliver(result(), complete=True)

    assert (backend.store.runs()[0].status, line.run.completed, line.sender.trouble) == ("completed", True, "")


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_run_that_could_not_be_completed_is_said(status: int, backend: Backend, connect: Connect) -> None:
    backend.inject(COMPLETE, answer(status, b'{"detail": "no"}'), FOREVER)
    line = connect().start()

    line.deliver(result(), complete=True)

    assert line.sender.trouble.startswith("the run could not be completed: ")
    assert line.sender.trouble.endswith(f"HTTP {status}: no")
    assert (line.outbox.undelivered(), line.run.completed) == (0, False)


def test_a_server_that_hangs_while_the_run_is_completed_is_left_when_the_time_is_up(
    backend: Backend, connect: Connect
) -> None:
    backend.inject(COMPLETE, hang(backend))
    line = connect().start()
    line.put(result())
    began = time.monotonic()

    line.run.stays_open = ""
    assert not line.sender.flush(0.3)

    assert time.monotonic() - began < 2
    assert not line.run.completed


# Threads


def test_all_threads_are_named_do_not_hold_up_the_exit_and_are_gone_after_the_flush(
    backend: Backend, connect: Connect
) -> None:
    digest, frames = content(b"x")
    before = set(threading.enumerate())
    working: set[threading.Thread] = set()

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        working.update(set(threading.enumerate()) - before)
        await app(scope, receive, send)

    backend.inject(ATTACHMENTS, act)
    line = connect().start()
    line.deliver(*frames, result("test_a", digest))

    ours = {thread for thread in working if thread.name.startswith("famacase-")}
    assert {thread.name for thread in ours} == {"famacase-sender", "famacase-upload-0"}
    assert all(thread.daemon for thread in ours)
    for thread in ours:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in ours)


def test_flushing_twice_is_harmless(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    line.deliver(result())

    assert line.sender.flush(DEADLINE)
    assert received(backend) == [("test_a", 1)]


def test_an_outbox_that_fails_is_named_and_ends_the_sending(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    line.outbox.close()

    line.sender.notify(1)
    line.sender.flush(DEADLINE)

    assert (line.sender.halted, line.sender.is_idle) == (True, True)
    assert "outbox" in line.sender.trouble


def test_what_is_left_at_the_end_goes_side_by_side(backend: Backend, connect: Connect) -> None:
    """Of three batches that wait none is answered before all are there."""
    together = asyncio.Event()
    waiting = 0

    async def meet(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            together.set()
        await asyncio.wait_for(together.wait(), DEADLINE)
        await app(scope, receive, send)

    line = connect(testops_batch_size=2)
    line.start()
    begun = threading.Event()
    backend.inject(RESULTS, told(begun))
    line.put(*[result(f"test_{number}") for number in range(2)])
    assert begun.wait(DEADLINE)
    backend.inject(RESULTS, meet, times=3)

    assert line.deliver(*[result(f"test_{number}") for number in range(2, 8)])

    assert len(backend.results()) == 8
    assert len(backend.requests(RESULTS)) == 4
    assert len({seen.port for seen in backend.requests(RESULTS)}) == 4  # a connection for each thread, and the first


def test_before_the_end_what_is_no_full_batch_waits_for_company(backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=2).start()
    first, both = threading.Event(), threading.Barrier(3, timeout=DEADLINE)

    async def answered(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await app(scope, receive, send)
        await asyncio.to_thread(both.wait)

    backend.inject(RESULTS, told(first))
    line.put(*[result(f"test_{number}") for number in range(2)])
    assert first.wait(DEADLINE)
    backend.inject(RESULTS, answered, times=2)
    line.put(*[result(f"test_{number}") for number in range(2, 7)])
    both.wait()

    assert line.deliver(result("test_7"))

    assert len(backend.results()) == 8
    assert len(backend.requests(RESULTS)) == 4


def test_a_second_attempt_never_overtakes_the_first(backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=2).start()
    first = threading.Event()
    backend.inject(RESULTS, told(first))
    line.put(*[result(f"test_{number}") for number in range(2)])
    assert first.wait(DEADLINE)
    backend.inject(RESULTS, delay(0.3))

    assert line.deliver(*[result(name) for name in ("test_2", "test_flaky", "test_flaky", "test_3")])

    titles = [each["title"] for each in backend.results()]
    assert titles[2:] == ["test_2", "test_flaky", "test_flaky", "test_3"]
