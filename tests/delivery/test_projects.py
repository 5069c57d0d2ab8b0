"""Several projects as destination: each has its own run and its own books, and none holds up another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from harness.destinations import DEADLINE, Session
from harness.results import begun, result
from harness.senders import FOREVER
from harness.server import RUNS, Backend, answer

from famacase_xdist.delivery.projects import ProjectsDestination


class Sessions:
    """A session of two projects, ONE and TWO."""

    def __init__(self, url: str, state: Path) -> None:
        self.of = {code: Session(url, state, testops_project=code) for code in ("ONE", "TWO")}
        self.destination = ProjectsDestination({code: each.destination for code, each in self.of.items()})

    @property
    def accepted(self) -> Mapping[str, Counter[str]]:
        return {code: each.accepted for code, each in self.of.items()}

    def finish(self) -> Any:
        self.destination.request_stop(self.accepted, is_finished=True)
        return self.close()

    def close(self) -> Any:
        for each in self.of.values():
            each.destination.join(DEADLINE)
        outcome = self.destination.close()
        self.destination.release()
        for each in self.of.values():
            each.journal.close()
        return outcome


@pytest.fixture
def sessions(backend: Backend, tmp_path: Path) -> Iterator[Sessions]:
    made = Sessions(backend.url, tmp_path / "state")
    yield made
    for each in made.of.values():
        each.destination._sender.abandon()
        each.outbox.close()
        each.journal.close()


def titles(backend: Backend) -> dict[str, list[str]]:
    """Return the titles of the results of each project."""
    return {run.project: [each.title for each in backend.store.stored_results(run.id)] for run in backend.store.runs()}


def test_each_project_gets_the_results_of_its_own_outbox(sessions: Sessions, backend: Backend) -> None:
    sessions.destination.start(print)
    for code, session in sessions.of.items():
        session.journal.append([result(f"test_{code}")])
        session.accepted.update(passed=1)
    sessions.destination.follow()
    assert (sessions.destination.run, sessions.destination.left()) == (None, 2)

    outcome = sessions.finish()

    assert titles(backend) == {"ONE": ["test_ONE"], "TWO": ["test_TWO"]}
    assert (outcome.delivered, outcome.undelivered, outcome.outboxes) == ({"passed": 2}, 0, ())
    assert [line[:4] for line in outcome.where] == ["ONE:", "TWO:"]
    assert all(line.endswith("delivered 1, undelivered 0") for line in outcome.where)
    assert sessions.destination.is_idle


def test_the_header_names_each_project(sessions: Sessions) -> None:
    sessions.destination.start(print)

    first, second = sessions.destination.header()

    assert first.startswith("famacase: project ONE, run ")
    assert second.startswith("famacase: project TWO, run ")


def test_what_no_disk_took_goes_to_its_project(sessions: Sessions, backend: Backend) -> None:
    sessions.destination.start(print)
    sessions.destination.accept("TWO", [result("test_a")], "no disk")
    sessions.of["TWO"].accepted.update(passed=1)

    outcome = sessions.finish()

    assert titles(backend) == {"ONE": [], "TWO": ["test_a"]}
    assert outcome.problems == ("project TWO: results were kept in memory only: no disk",)


def test_a_project_that_is_refused_holds_up_no_other_one(sessions: Sessions, backend: Backend) -> None:
    backend.inject(RUNS.replace(".*", ".*/ONE"), answer(422, b'{"detail": "no such plan"}'), FOREVER)
    sessions.destination.start(print)
    for session in sessions.of.values():
        session.journal.append([result()])
        session.accepted.update(passed=1)
    sessions.destination.follow()

    outcome = sessions.finish()

    assert titles(backend) == {"TWO": ["test_a"]}
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 1}, 1)
    assert dict(outcome.causes) == {"HTTP 422: no such plan (ONE)": 1}
    assert outcome.outboxes == (sessions.of["ONE"].journal.files.path,)


def test_a_test_that_ran_when_the_session_died_is_invalid_in_its_project(sessions: Sessions, backend: Backend) -> None:
    sessions.destination.start(print)
    sessions.of["TWO"].journal.append([begun("t.py::test_a")])
    for session in sessions.of.values():
        session.journal.close()
    sessions.destination.follow()

    sessions.destination.bury()
    sessions.close()

    assert titles(backend) == {"ONE": [], "TWO": ["test_a"]}
    assert [each["execution"]["status"] for each in backend.results()] == ["invalid"]
