"""A project as destination: its books are right whatever happens, and the reasons that it gives are the true ones."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.destinations import DEADLINE, PID, Session
from harness.outboxes import failing, take_all
from harness.results import begun, described, result
from harness.senders import FOREVER, refusing, told
from harness.server import COMPLETE, RESULTS, RUNS, Backend, answer, hang

from famacase_xdist.delivery import sender as sender_module
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.runs.record import Ending
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.outbox import Outbox

Open = Callable[..., Session]


@pytest.fixture
def opened(backend: Backend, tmp_path: Path) -> Iterator[Open]:
    """A function that begins a session, whose courier has tried to open the run."""
    sessions: list[Session] = []

    def open(**settings: Any) -> Session:
        sessions.append(Session(backend.url, tmp_path / "state", **settings))
        sessions[-1].destination.start(print)
        return sessions[-1]

    yield open
    backend.released.set()
    for session in sessions:
        session.destination._sender.abandon()
        session.destination.join(DEADLINE)
        session.outbox.close()
        session.journal.close()


def check_books(session: Session, outcome: Outcome) -> None:
    """Check that nothing that was accepted is told twice or not at all."""
    assert outcome.delivered.total() + outcome.undelivered == session.accepted.total()
    assert outcome.causes.total() == outcome.undelivered


def damage(session: Session, word: bytes) -> None:
    """Change a word in the journal."""
    (segment,) = session.journal.files.path.glob("*.journal")
    content = segment.read_bytes()
    assert content.count(word) == 1
    segment.write_bytes(content.replace(word, word.swapcase()))


# Books


def test_what_is_delivered_is_counted_by_status_and_the_outbox_is_gone(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(result("test_a"), result("test_b", status="failed"))

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 1, "failed": 1}, 0)
    assert (outcome.outboxes, session.journal.files.path.exists()) == ((), False)
    assert [run.status for run in backend.store.runs()] == ["completed"]


def test_a_refused_result_is_told_with_its_test_and_the_servers_words(opened: Open, backend: Backend) -> None:
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)
    session = opened()
    session.keep(result("test_a"), result("test_b", message="BAD"))

    outcome = session.finish()

    check_books(session, outcome)
    assert dict(outcome.causes) == {"HTTP 422: it says BAD [t.py::test_b]": 1}
    assert outcome.outboxes == (session.journal.files.path,)


def test_a_record_that_cannot_be_read_is_counted_its_file_is_kept_and_the_run_stays_open(
    opened: Open, backend: Backend
) -> None:
    session = opened()
    frames = [result("test_a"), result("test_DAMAGED"), result("test_c")]
    session.journal.append(frames)
    session.accepted.update(passed=3)
    damage(session, b'::test_DAMAGED"')

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered, dict(outcome.causes)) == ({"passed": 2}, {"damaged record": 1})
    assert outcome.outboxes == (session.journal.files.path,)
    assert list(session.journal.files.path.glob("*.journal"))
    assert backend.requests(COMPLETE) == []
    assert any("1 results are undelivered" in line for line in outcome.where)


def test_a_record_that_changes_after_it_was_found_is_counted_once(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(result("test_a"), result("test_DAMAGED"))
    damage(session, b'::test_DAMAGED"')

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered, dict(outcome.causes)) == ({"passed": 1}, {"changed record": 1})


def test_a_disk_that_cannot_be_read_is_the_reason(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(result())

    with failing("pread", errno.EIO):
        outcome = session.finish()

    check_books(session, outcome)
    assert (dict(outcome.causes), backend.results()) == ({"Input/output error": 1}, [])
    assert outcome.outboxes == (session.journal.files.path,)
    with contextlib.closing(Outbox(session.journal.files)) as outbox:
        assert len(take_all(outbox)) == 1


def test_what_was_delivered_from_memory_is_counted_and_the_reason_is_told(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(result("test_a"))
    session.keep_in_memory(result("test_b"))

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered, outcome.problems) == ({"passed": 2}, ("results were kept in memory only: no disk",))
    assert not session.journal.files.path.exists()


def test_an_answer_at_the_very_end_is_counted_once(opened: Open, backend: Backend) -> None:
    session = opened()
    arrived = threading.Event()
    backend.inject(RESULTS, told(arrived))
    session.keep(*[result(f"test_{number}") for number in range(50)])
    session.destination.request_stop({"DEMO": session.accepted}, is_finished=True)
    assert arrived.wait(DEADLINE)

    check_books(session, session.destination.close())


# Another courier


def replaced(session: Session, backend: Backend) -> None:
    """Deliver what was kept, and replace the courier."""
    arrived = threading.Event()
    backend.inject(RESULTS, told(arrived))
    session.deliver()
    assert arrived.wait(DEADLINE)
    while session.destination.left():
        session.destination.join(0.01)
    session.replace_courier()


def test_another_courier_goes_on_with_the_run_and_counts_what_the_first_one_delivered(
    opened: Open, backend: Backend
) -> None:
    session = opened()
    session.keep(result("test_a"), result("test_b", status="failed"))
    replaced(session, backend)
    session.keep(result("test_c"))

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered, outcome.undelivered) == ({"passed": 2, "failed": 1}, 0)
    assert [run.status for run in backend.store.runs()] == ["completed"]
    assert len(backend.requests(RUNS)) == 1
    assert backend.titles() == ["test_a", "test_b", "test_c"]


def test_what_only_the_first_couriers_memory_had_is_lost_and_told_as_that(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(result("test_a"), result("test_b", status="failed"))
    replaced(session, backend)
    session.accepted.update(passed=1)  # it was in the memory of the courier that died

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered.total(), outcome.undelivered) == (2, 1)
    assert dict(outcome.causes) == {"it was not found in the outbox": 1}
    assert backend.requests(COMPLETE) == []


def test_another_couriers_books_are_right_where_a_record_is_damaged(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(result("test_a"), result("test_b"))
    replaced(session, backend)
    session.journal.append([result("test_DAMAGED"), result("test_d")])
    session.accepted.update(passed=2)
    damage(session, b'::test_DAMAGED"')

    outcome = session.finish()

    check_books(session, outcome)
    assert (outcome.delivered.total(), dict(outcome.causes)) == (3, {"damaged record": 1})


def test_a_run_that_the_first_courier_could_not_open_is_opened_with_its_request(opened: Open, backend: Backend) -> None:
    backend.inject(RUNS, answer(503), FOREVER)
    session = opened()
    keys = {seen.headers["idempotency-key"] for seen in backend.requests(RUNS)}
    backend.faults.clear()

    session.replace_courier()

    assert session.destination.run is not None
    assert keys == {seen.headers["idempotency-key"] for seen in backend.requests(RUNS)}


def test_another_courier_of_a_shared_run_is_the_same_member(opened: Open, backend: Backend, tmp_path: Path) -> None:
    session = opened(testops_run_id="nightly")
    session.keep(result("test_a"))
    session.replace_courier()

    outcome = session.finish()

    (key,) = StateDirectory(tmp_path / "state").all_run_keys()
    record = json.loads(key.record.read_bytes())
    assert [(each["id"], each["pid"], each["state"]) for each in record["members"]] == [
        (session.journal.files.session, PID, Ending.FINISHED)
    ]
    assert (outcome.undelivered, [run.status for run in backend.store.runs()]) == (0, ["completed"])


# A session that died


def test_the_tests_that_ran_when_the_session_died_are_invalid(opened: Open, backend: Backend) -> None:
    session = opened()
    session.keep(begun("t.py::test_a"), result("test_a"), described("t.py::test_b", title="Described"))

    session.die()

    statuses = {each["title"]: each["execution"]["status"] for each in backend.results()}
    assert statuses == {"test_a": "passed", "Described": "invalid"}
    assert not session.journal.files.path.exists()


def test_what_could_not_be_delivered_of_a_session_that_died_is_left_for_a_resend(
    opened: Open, backend: Backend
) -> None:
    session = opened()
    session.keep(begun("t.py::test_a"))
    backend.inject(RESULTS, answer(503), FOREVER)

    session.die()

    with contextlib.closing(Outbox(session.journal.files)) as outbox:
        assert [frame.head.status for frame in take_all(outbox)] == ["invalid"]
        assert outbox.running() == []


@pytest.mark.parametrize(("is_finished", "ending"), [(None, "died"), (True, "left"), (False, "interrupted")])
def test_the_record_of_a_run_key_says_how_the_session_ended(
    is_finished: bool | None, ending: str, opened: Open, tmp_path: Path
) -> None:
    session = opened(testops_run_id="nightly")
    if is_finished is not None:
        session.outbox.remember(is_finished=is_finished)

    session.die()

    (key,) = StateDirectory(tmp_path / "state").all_run_keys()
    assert [each["state"] for each in json.loads(key.record.read_bytes())["members"]] == [ending]


def test_a_session_that_died_beside_a_silent_server_is_told_as_that_in_the_record(
    opened: Open, backend: Backend, tmp_path: Path
) -> None:
    session = opened(testops_run_id="nightly")
    session.keep(begun("t.py::test_a"))
    backend.inject(RESULTS, hang(backend))

    session.die(timeout=0.2)

    (key,) = StateDirectory(tmp_path / "state").all_run_keys()
    (member,) = json.loads(key.record.read_bytes())["members"]
    assert (member["state"], member["undelivered"]) == ("died", 1)


# Reasons


def test_a_server_that_hangs_is_named_with_its_host_and_the_seconds(
    opened: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "SILENCE", 0.1)
    session = opened()
    backend.inject(RESULTS, hang(backend))
    session.keep(result())

    outcome = session.finish(timeout=0.6)

    assert dict(outcome.causes) == {f"{backend.url} has not answered for 1 s": 1}
    check_books(session, outcome)


def test_a_server_that_hangs_while_the_run_is_completed_is_named(
    opened: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "SILENCE", 0.1)
    session = opened()
    backend.inject(COMPLETE, hang(backend))
    session.keep(result())

    outcome = session.finish(timeout=0.8)

    assert outcome.problems == (f"the run could not be completed: {backend.url} has not answered for 1 s",)


def test_a_server_that_answers_and_has_much_to_take_is_not_blamed(opened: Open, backend: Backend) -> None:
    session = opened()
    backend.inject(RESULTS, hang(backend))
    session.keep(result())

    outcome = session.finish(timeout=0.1)

    assert dict(outcome.causes) == {"there was no time left": 1}


def test_a_server_that_refuses_each_try_is_quoted_and_not_called_silent(
    opened: Open, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "SILENCE", 0.1)
    session = opened(retry_attempts=9)
    backend.inject(RESULTS, answer(503, b'{"detail": "later"}', retry_after="60"), FOREVER)
    session.keep(result())

    outcome = session.finish(timeout=0.5)

    assert dict(outcome.causes) == {"HTTP 503: later": 1}


def test_a_run_key_whose_lock_another_process_has_is_the_reason(opened: Open, backend: Backend, tmp_path: Path) -> None:
    first = opened(testops_run_id="nightly")
    shared = first.destination._run.shared
    assert shared is not None
    with shared._held(DEADLINE, lambda: False):
        second = Session(backend.url, tmp_path / "state", testops_run_id="nightly")
        second.destination.begin()
        while not second.destination._run.waits_for:
            second.destination.join(0.01)
        second.keep(result())
        outcome = second.finish(timeout=0.1)

    (cause,) = outcome.causes
    assert cause.startswith("run key 'nightly': waited ")
    assert f"pid {PID}" in cause


# An outbox that this process cannot read


def test_an_outbox_that_cannot_be_read_is_named_and_its_run_stays_open(opened: Open, backend: Backend) -> None:
    session = opened()
    session.destination._sender.abandon()
    session.destination.join(DEADLINE)
    session.outbox.close()
    session.outbox = Outbox(None)
    session.outbox.accept([], "outbox: No space left on device")
    session.destination = session._destination()
    session.destination.start(print)
    session.keep(result())

    header, outcome = session.destination.header(), session.finish()

    check_books(session, outcome)
    assert dict(outcome.causes) == {"outbox: No space left on device": 1}
    assert outcome.problems == ("the outbox could not be read: outbox: No space left on device",)
    assert outcome.outboxes == (session.journal.files.path,)
    assert "is lost" not in header[0]
    assert backend.requests(COMPLETE) == []


def test_the_facts_that_a_resend_needs_are_noted_at_the_start(opened: Open, backend: Backend) -> None:
    session = opened()

    facts = session.outbox.session()

    run = backend.store.runs()[0]
    assert facts["request"] == {**dataclasses.asdict(session.destination._run.request), "tags": []}
    assert (facts["host"], facts["project"], facts["database"], facts["pid"], facts["run_id"]) == (
        backend.url,
        "DEMO",
        None,
        PID,
        run.id,
    )
    assert "is_finished" not in facts


def test_no_file_is_left_open(opened: Open) -> None:
    before = len(os.listdir("/proc/self/fd"))
    session = opened()
    session.keep(result())

    session.finish()

    assert len(os.listdir("/proc/self/fd")) <= before
