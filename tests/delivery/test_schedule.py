"""When a cycle of the sender's thread is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from harness.senders import DEADLINE

from famacase_xdist.delivery.schedule import Schedule

NEVER = 3600.0
#: Long enough for a thread that must not wake up to do so.
MOMENT = 0.2

Waiting = Callable[..., threading.Event]


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """Let threads wait for a schedule; each sets an event when a cycle is due."""
    started: list[tuple[Schedule, threading.Thread]] = []

    def wait(schedule: Schedule, *, is_run_open: bool = True) -> threading.Event:
        is_due = threading.Event()

        def work() -> None:
            schedule.wait(is_run_open=is_run_open)
            is_due.set()

        thread = threading.Thread(target=work)
        thread.start()
        started.append((schedule, thread))
        return is_due

    yield wait
    for schedule, thread in started:
        schedule.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_a_full_batch_is_due_at_once(waiting: Waiting) -> None:
    schedule = Schedule(2, NEVER)
    is_due = waiting(schedule)

    schedule.announce(1)
    assert not is_due.wait(MOMENT)
    schedule.announce(1)

    assert is_due.wait(DEADLINE)
    assert schedule.waiting == 2


def test_a_single_result_is_due_when_it_is_old_enough(waiting: Waiting) -> None:
    schedule = Schedule(200, 0.01)
    is_due = waiting(schedule)
    assert not is_due.wait(MOMENT)

    schedule.announce(1)

    assert is_due.wait(DEADLINE)


def test_no_results_wake_nothing(waiting: Waiting) -> None:
    schedule = Schedule(1, 0.0)
    is_due = waiting(schedule)

    schedule.announce(0)

    assert not is_due.wait(MOMENT)


def test_a_run_that_is_not_open_is_due_without_results(waiting: Waiting) -> None:
    assert waiting(Schedule(200, NEVER), is_run_open=False).wait(DEADLINE)


def test_a_rest_holds_up_a_full_batch_and_ends(waiting: Waiting) -> None:
    schedule = Schedule(1, NEVER)
    schedule.rest(2 * MOMENT)
    schedule.announce(1)

    is_due = waiting(schedule)

    assert not is_due.wait(MOMENT)
    assert is_due.wait(DEADLINE)


def test_a_stop_ends_every_wait(waiting: Waiting) -> None:
    schedule = Schedule(200, NEVER)
    schedule.rest(NEVER)
    is_due = waiting(schedule)
    assert not is_due.wait(MOMENT)

    schedule.stop()

    assert is_due.wait(DEADLINE)
    assert schedule.is_stopping


def test_more_is_due_at_once_only_for_a_full_batch_or_at_the_end() -> None:
    schedule = Schedule(2, NEVER)
    schedule.announce(5)

    assert schedule.settle(2)
    assert not schedule.settle(2)
    assert schedule.waiting == 1
    assert not schedule.settle(7)
    assert schedule.waiting == 0
    schedule.stop()
    assert schedule.settle(0)
