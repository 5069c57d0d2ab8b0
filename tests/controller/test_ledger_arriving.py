"""Results that come: each test has one, in whatever order the news of it comes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from harness.ledgers import CALL, SETUP, TEARDOWN, TEST, Kept, crashed, described, ignored, recorded, reported
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.controller.events import Began, Event, Received, Recorded, Reported
from famacase_xdist.results.frames import ResultHead, decode


def test_a_result_that_comes_is_kept_byte_for_byte(kept: Kept) -> None:
    event = recorded()

    kept.enter(Began(TEST), event, SETUP, CALL, TEARDOWN).close()

    assert [frame for frame in kept.frames if isinstance(frame.head, ResultHead)] == [decode(event.message)]


ORDERS: dict[str, list[Event]] = {
    "all-before-the-result": [Began(TEST), described(), SETUP, CALL, TEARDOWN, recorded()],
    "all-after-the-result": [described(), recorded(), Began(TEST), SETUP, CALL, TEARDOWN],
    "the-last-after-the-result": [described(), Began(TEST), SETUP, CALL, recorded(), TEARDOWN],
    "all-but-the-start-after-the-result": [Began(TEST), recorded(), SETUP, CALL, TEARDOWN],
}


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS)
def test_frames_of_this_process_are_taken_as_those_of_a_worker_are(events: list[Event], kept: Kept) -> None:
    for event in events:
        is_message = isinstance(event, Received)
        kept.enter(Recorded(event.worker, decode(event.message)) if is_message else event)  # type: ignore[union-attr]

    assert kept.close().results == Kept().enter(*events).close().results
    assert kept.running == []


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS)
def test_pytests_own_reports_of_a_result_that_came_make_no_second_one(events: list[Event], kept: Kept) -> None:
    kept.enter(*events).close()

    assert kept.results == [(TEST, "passed", 1)]


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS)
def test_a_test_whose_result_came_is_not_running_any_more(events: list[Event], kept: Kept) -> None:
    kept.enter(*events).close()

    assert kept.running == []


@dataclass(frozen=True)
class Told:
    """One test as its worker tells of it: in which order events are sent, and what becomes of it."""

    is_described: bool
    is_ignored: bool

    def sent(self, nodeid: str) -> list[Event]:
        """Return the events in the order in which the worker sends them."""
        opening: list[Event] = [ignored(nodeid)] if self.is_ignored else []
        opening += [described(nodeid)] if self.is_described and not self.is_ignored else []
        closing: list[Event] = [] if self.is_ignored else [recorded(nodeid)]
        return [Began(nodeid), *opening, *reported("setup", "call", "teardown", nodeid=nodeid), *closing]


TOLD = st.lists(st.builds(Told, st.booleans(), st.booleans()), min_size=1, max_size=4)
LAG = st.lists(st.integers(0, 4), max_size=40)


def arriving(sent: Iterable[Event], lag: list[int]) -> list[Event]:
    """Order events as they arrive: frames at once, pytest's own news through xdist's queue, some time later."""
    arrived: list[Event] = []
    queue: list[Event] = []
    for event, count in zip(sent, itertools.chain(lag, itertools.repeat(0)), strict=False):
        (arrived if isinstance(event, Received) else queue).append(event)
        arrived += queue[:count]
        del queue[:count]
    return [*arrived, *queue]


@given(told=TOLD, lag=LAG)
def test_each_test_has_one_result_however_late_pytests_news_comes(told: list[Told], lag: list[int]) -> None:
    kept = Kept()
    sent = [event for number, each in enumerate(told) for event in each.sent(f"t.py::test_{number}")]

    kept.enter(*arriving(sent, lag)).close()

    expected = [f"t.py::test_{number}" for number, each in enumerate(told) if not each.is_ignored]
    assert [nodeid for nodeid, _, _ in kept.results] == expected
    assert kept.running == []


DEATHS = {"set-up": 0, "call": 1, "tear-down": 2}


@given(told=TOLD, lag=LAG, phase=st.sampled_from(sorted(DEATHS)))
def test_a_crash_has_one_result_however_late_pytests_news_comes(told: list[Told], lag: list[int], phase: str) -> None:
    kept = Kept()
    *before, last = [each.sent(f"t.py::test_{number}") for number, each in enumerate(told)]
    nodeid = f"t.py::test_{len(before)}"
    reports = [event for event in last if isinstance(event, Reported)]
    sent = [*(event for events in before for event in events), *last[: last.index(reports[0]) + DEATHS[phase]]]

    kept.enter(*arriving(sent, lag), crashed(nodeid)).close()

    died = [] if told[-1].is_ignored else [content for content in kept.contents if content["message"]]
    assert len(died) == 1 - told[-1].is_ignored
    assert all(content["message"].endswith(f"while running {nodeid}, in its {phase}") for content in died)
    assert len(kept.results) == sum(not each.is_ignored for each in told)
