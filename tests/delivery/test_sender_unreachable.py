"""Servers that are not there, or hang: all is kept, and the end of the session is bounded."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness.results import result
from harness.senders import DEADLINE, FOREVER, Connect, told
from harness.server import COMPLETE, RESULTS, Action, App, Backend, Send, answer, hang, running

from famacase_xdist.delivery import sender as module


def unused_port() -> int:
    """Return a port on which no server listens."""
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
        line.shutdown(DEADLINE)


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
    line.shutdown(DEADLINE)

    assert len(backend.seen) - before <= 2 * line.settings.retry_attempts
    assert line.outbox.undelivered() == 2_000


def test_a_server_that_hangs_is_left_when_the_time_is_up(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, hang(backend))
    line.put(result())
    began = time.monotonic()

    assert not line.shutdown(0.2)

    assert time.monotonic() - began < 2
    assert line.outbox.undelivered() == 1


def test_a_server_that_hangs_is_not_asked_again_when_the_time_is_up(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, hang(backend))
    line.put(result())
    line.shutdown(0.2)

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

    line.shutdown(0.2)
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
    line.shutdown(0.1)
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
    line.shutdown(0.1)

    backend.released.set()
    line.sender.join(DEADLINE)

    assert line.sender.is_idle
    assert backend.requests(COMPLETE) == []
