"""A process of a session is killed at each system call that matters: what finished is delivered, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.traced_sessions import CALLS, KINDS, STATUSES, SUMMARY, Sessions, Told, noted, of_kind, ours, outboxes
from harness.tracing import Call, Trace, TracedSuite, calls_in, sampled, was_killed

#: Most points of one kind at which one process is killed.
MOST = 6
#: The kinds of system calls that each process makes.
PARENT = ("open", "write", "rename", "mkdir", "lock")
COURIER = ("open", "write", "send", "sync", "remove", "lock")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with Sessions.below(tmp_path_factory.mktemp("sessions")) as sessions:
        yield sessions


@pytest.fixture(scope="module")
def parents_calls(sessions: Sessions) -> list[Call]:
    """What the process that runs the tests does, to its end."""
    suite = sessions.new()
    ran = suite.trace_parent(Trace(CALLS), suite.path / "log")
    assert SUMMARY in ran.stdout, ran.text
    suite.await_couriers(60)
    return ours(suite.path / "log", suite.state)


@pytest.fixture(scope="module")
def couriers_calls(sessions: Sessions) -> list[Call]:
    """What the courier does, to its end."""
    suite = sessions.new()
    ran = suite.trace_couriers(Trace(CALLS), suite.path / "traced")
    assert SUMMARY in ran.stdout, ran.text
    suite.await_couriers(60)
    return ours(suite.path / "traced" / "courier-1" / "log", suite.state)


def kill_at(call: Call) -> Trace:
    return Trace(CALLS, [f"{call.name}:signal=KILL:when={call.number}"])


def assert_resent(suite: TracedSuite, sessions: Sessions) -> None:
    """Send what is left, and check that nothing is left of the session but its results and a run that is complete."""
    suite.await_couriers(60)
    sent = suite.resend()
    assert sent.status == 0, sent.text
    assert outboxes(suite) == [], sent.text
    runs = sessions.backend.store.runs()
    assert len(runs) <= 1, sent.text
    assert {run.status for run in runs} <= {"completed"}, sent.text


def assert_what_finished_is_there(suite: TracedSuite, sessions: Sessions) -> None:
    """Check that what finished is on the server, that what was running is there as invalid, and nothing else."""
    rows = sessions.rows()
    ended = noted(suite, "ended")
    assert {name: rows.get(name) for name in ended} == {name: STATUSES[name] for name in ended}
    for name in rows.keys() - set(ended):
        # It is the one that was running, or its result was accepted just before its end was noted.
        assert name == noted(suite, "begun")[-1]
        assert rows[name] in ("invalid", STATUSES[name])


def test_the_kinds_are_all(parents_calls: list[Call], couriers_calls: list[Call]) -> None:
    """What follows leaves out no kind of system call that one of the two processes makes."""
    parent = {kind for kind in KINDS if of_kind(parents_calls, kind)}
    courier = {kind for kind in KINDS if of_kind(couriers_calls, kind)}
    assert (parent, courier) == (set(PARENT), set(COURIER))


@pytest.mark.parametrize("kind", PARENT)
def test_the_parent_is_killed(kind: str, sessions: Sessions, parents_calls: list[Call]) -> None:
    for call in sampled(of_kind(parents_calls, kind), MOST):
        suite = sessions.new()
        ran = suite.trace_parent(kill_at(call), suite.path / "log")
        assert was_killed(suite.path / "log"), f"{call}: {ran.text}"
        try:
            assert_resent(suite, sessions)
            assert_what_finished_is_there(suite, sessions)
        except AssertionError as error:
            error.add_note(f"killed at {call.name} {call.number}: {calls_in(suite.path / 'log')[-1]}\n{ran.text}")
            raise


@pytest.mark.parametrize("most", [1, 9], ids=["the-first", "each"])
@pytest.mark.parametrize("kind", COURIER)
def test_the_courier_is_killed(kind: str, most: int, sessions: Sessions, couriers_calls: list[Call]) -> None:
    for call in sampled(of_kind(couriers_calls, kind), MOST if most == 1 else MOST // 2):
        suite = sessions.new()
        ran = suite.trace_couriers(kill_at(call), suite.path / "traced", most=most)
        log = suite.path / "traced" / "courier-1" / "log"
        suite.await_couriers(60)
        try:
            assert (ran.status, SUMMARY in ran.stdout) == (1, True)
            told = Told.by(ran)
            assert (told.collected, told.delivered + told.undelivered) == (len(STATUSES), len(STATUSES))
            # The server may have acknowledged what a courier did not live to note.
            assert told.delivered <= len(sessions.rows())
            assert_resent(suite, sessions)
            assert sessions.rows() == STATUSES
        except AssertionError as error:
            error.add_note(f"killed {was_killed(log)} at {call.name} {call.number}: {calls_in(log)[-1]}\n{ran.text}")
            raise
