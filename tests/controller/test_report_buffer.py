"""pytest's reports are gathered until a test's last one, or until no more can come."""

from __future__ import annotations

import pytest

from famacase_xdist import clock
from famacase_xdist.controller.events import Event, Reported
from famacase_xdist.controller.report_buffer import ReportBuffer

A, B = "t.py::test_a", "t.py::test_b"


def report(nodeid: str, when: str) -> pytest.TestReport:
    return pytest.TestReport(nodeid, ("t.py", 0, "test"), {}, "passed", None, when)  # type: ignore[arg-type]


class Told:
    """ReportBuffer, and what they handed on: worker, test, and which phases."""

    def __init__(self) -> None:
        self.events: list[Reported] = []
        self.phases = ReportBuffer(self._take)

    def _take(self, event: Event) -> None:
        assert isinstance(event, Reported)
        self.events.append(event)

    def add(self, worker: str, nodeid: str, *phases: str) -> None:
        for when in phases:
            self.phases.add(worker, report(nodeid, when))

    @property
    def summary(self) -> list[tuple[str, str, list[str | None]]]:
        return [(each.worker, each.nodeid, [report.when for report in each.reports]) for each in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_phases_of_a_test_are_told_at_once(told: Told) -> None:
    told.add("gw0", A, "setup", "call")
    assert told.summary == []

    told.add("gw0", A, "teardown")

    assert told.summary == [("gw0", A, ["setup", "call", "teardown"])]


def test_workers_do_not_mix(told: Told) -> None:
    told.add("gw0", A, "setup")
    told.add("gw1", A, "setup", "teardown")
    told.add("gw0", A, "call", "teardown")

    assert told.summary == [("gw1", A, ["setup", "teardown"]), ("gw0", A, ["setup", "call", "teardown"])]


def test_attempts_that_were_not_torn_down_stay_in_order(told: Told) -> None:
    told.add("gw0", A, "setup", "call", "setup", "call", "teardown")

    assert told.summary == [("gw0", A, ["setup", "call", "setup", "call", "teardown"])]


def test_the_next_test_ends_one_that_had_no_teardown(told: Told) -> None:
    told.add("gw0", A, "setup")
    told.add("gw0", B, "setup")

    assert told.summary == [("gw0", A, ["setup"])]


def test_what_a_worker_left_is_told_once(told: Told) -> None:
    told.add("gw0", A, "setup")
    told.add("gw1", B, "setup")

    told.phases.tell("gw0")
    told.phases.tell("gw0")
    assert told.summary == [("gw0", A, ["setup"])]

    told.phases.tell_all()
    assert told.summary == [("gw0", A, ["setup"]), ("gw1", B, ["setup"])]


def test_a_test_is_as_old_as_its_first_report(told: Told) -> None:
    told.add("gw0", A, "setup")
    first = clock.monotonic()
    told.add("gw0", A, "call", "teardown")

    (event,) = told.events
    assert event.since <= first
