"""The sender's batches: full ones go at once, others when they are old enough, none larger than set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from harness.results import result
from harness.senders import DEADLINE, Connect, Line, told
from harness.server import RESULTS, App, Backend, Send

from famacase_xdist.delivery import sender as module
from famacase_xdist.results.frames import ResultFrame
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.outbox import Outbox


class _FoundEmpty(Outbox):
    """An outbox that says when there was no batch to take: something else may happen just then."""

    def __init__(self, files: OutboxFiles, *, beside_writer: bool) -> None:
        super().__init__(files, beside_writer=beside_writer)
        self.then: Callable[[], None] | None = None

    def take(self, most: int, most_bytes: int) -> list[ResultFrame]:
        batch = super().take(most, most_bytes)
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
    line.shutdown(DEADLINE)

    assert len(backend.requests(RESULTS)) == 1
    assert len(backend.results()) == 5


@pytest.mark.parametrize(("size", "requests"), [(1, 7), (3, 3), (7, 1), (200, 1)])
def test_no_batch_is_larger_than_set(size: int, requests: int, backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=size)
    line.put(*[result(f"test_{number}") for number in range(7)])

    line.start().shutdown(DEADLINE)

    assert len(backend.requests(RESULTS)) == requests
    assert len(backend.results()) == 7


def test_a_batch_is_not_larger_than_a_request_may_be(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 2_500)
    line = connect()
    line.put(*[result(f"test_{number}", message="x" * 1000) for number in range(4)])

    line.start().shutdown(DEADLINE)

    assert max(int(seen.headers["content-length"]) for seen in backend.requests(RESULTS)) < 3_500
    assert len(backend.results()) == 4


def test_results_that_were_there_before_the_start_are_sent(backend: Backend, connect: Connect) -> None:
    line = connect()
    line.put(result())

    line.start().shutdown(DEADLINE)

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
        line.sender.request_stop()

    line.outbox.then = last
    line.start()
    line.shutdown(DEADLINE)

    assert backend.titles() == ["test_a"]


def test_what_the_server_took_is_counted_by_status_and_gone_from_the_outbox(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    assert line.deliver(result("test_a"), result("test_b", status="failed"), result("test_c"))

    assert line.sender.delivered == {"passed": 2, "failed": 1}
    assert (line.outbox.undelivered(), line.sender.trouble) == (0, "")


def test_a_session_without_results_has_a_run_and_ends_at_once(backend: Backend, connect: Connect) -> None:
    assert connect().start().shutdown(DEADLINE)

    assert (len(backend.store.runs()), backend.requests(RESULTS)) == (1, [])


def test_what_resend_needs_to_know_of_the_run_is_in_the_outbox(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    line.shutdown(DEADLINE)

    assert line.outbox.session()["run_id"] == backend.store.runs()[0].id
