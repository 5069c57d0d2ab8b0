"""Faults that pass: no result is lost, none is there twice, and the waits are bounded."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness.results import attachment, result
from harness.senders import DEADLINE, FOREVER, PROJECT, Connect, received, told
from harness.server import ATTACHMENTS, RESULTS, RUNS, Action, Backend, answer, cut_off, lost

from famacase_xdist.delivery import sender as module

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
    digest, frames = attachment(b"attached")
    backend.inject(ATTACHMENTS, fault(), 2)

    connect().start().deliver(*frames, result("test_a", attached={"a.txt": digest}))

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
    line.sender.request_stop()

    line.start().sender.join(DEADLINE)

    assert len(backend.requests(PROJECT)) == attempts


def test_an_error_that_nobody_knows_rests_and_is_tried_again(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread of the tests' process a test may take away what the library needs, and give it back."""
    monkeypatch.setattr(module, "REST", 0.01)
    monkeypatch.setattr(module, "MAX_AGE", 0.0)
    line = connect()
    send = line.api.send_results
    failed, arrived = threading.Event(), threading.Event()

    def fail_once(*args: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise KeyError("PYTEST_CURRENT_TEST")
        send(*args)

    monkeypatch.setattr(line.api, "send_results", fail_once)
    backend.inject(RESULTS, told(arrived))

    line.start().put(result())

    assert failed.wait(DEADLINE)
    assert arrived.wait(DEADLINE)
    assert line.shutdown(DEADLINE)
    assert (backend.titles(), line.sender.trouble, line.sender.halted) == (["test_a"], "", False)


def test_an_error_that_nobody_knows_is_told_if_there_is_no_other_time(
    backend: Backend, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = connect().start()
    monkeypatch.setattr(line.api, "send_results", lambda *args: {}["gone"])

    assert line.deliver(result(), complete=True)

    assert (line.sender.trouble, line.sender.reason) == ("internal error: KeyError('gone')",) * 2
    assert (line.outbox.undelivered(), line.run.completed) == (1, False)
