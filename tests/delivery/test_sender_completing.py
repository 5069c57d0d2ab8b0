"""A run is completed after its last result, if it has all of them."""

from __future__ import annotations

import time

import pytest
from harness.results import result
from harness.senders import FOREVER, Connect, refusing
from harness.server import COMPLETE, RESULTS, RUNS, Action, Backend, answer, cut_off, hang, lost


def statuses(backend: Backend) -> list[tuple[str, int]]:
    """Return the status of each run, and how often it was completed."""
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
    assert not line.shutdown(0.3)

    assert time.monotonic() - began < 2
    assert not line.run.completed
