"""The sender's threads: named, gone after the flush, and side by side only where order allows."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from harness.results import attachment, result
from harness.senders import DEADLINE, Connect, received, told
from harness.server import ATTACHMENTS, RESULTS, App, Backend, Send, delay


def test_all_threads_are_named_do_not_hold_up_the_exit_and_are_gone_after_the_flush(
    backend: Backend, connect: Connect
) -> None:
    digest, frames = attachment(b"x")
    before = set(threading.enumerate())
    working: set[threading.Thread] = set()

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        working.update(set(threading.enumerate()) - before)
        await app(scope, receive, send)

    backend.inject(ATTACHMENTS, act)
    line = connect().start()
    line.deliver(*frames, result("test_a", attached={"a.txt": digest}))

    ours = {thread for thread in working if thread.name.startswith("famacase-")}
    assert {thread.name for thread in ours} == {"famacase-sender", "famacase-upload-0"}
    assert all(thread.daemon for thread in ours)
    for thread in ours:
        thread.join(DEADLINE)
    assert not any(thread.is_alive() for thread in ours)


def test_flushing_twice_is_harmless(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    line.deliver(result())

    assert line.shutdown(DEADLINE)
    assert received(backend) == [("test_a", 1)]


def test_an_outbox_that_is_closed_before_its_time_is_no_standstill(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    line.put(result())
    line.outbox.close()

    assert line.shutdown(DEADLINE)


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
