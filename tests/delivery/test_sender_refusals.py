"""Refusals: those of the session end all sending, those of a result keep it with the server's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.results import attachment, result
from harness.senders import DEADLINE, FOREVER, Connect, received, refusing
from harness.server import ATTACHMENTS, RESULTS, RUNS, Backend, answer, running

# Refusals that are about the session


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_said_at_once_and_nothing_is_sent_again(
    status: int, backend: Backend, connect: Connect, waits: list[float]
) -> None:
    backend.inject(".*", answer(status, b'{"detail": "bad token"}'), FOREVER)

    line = connect().start()
    assert line.deliver(*[result(f"test_{number}") for number in range(500)])

    assert len(backend.seen) == 1
    assert (line.sender.trouble, waits) == (f"the token was refused: HTTP {status}: bad token", [])
    assert (line.sender.halted, line.outbox.undelivered()) == (True, 500)


@pytest.mark.parametrize(
    ("pattern", "status"),
    [(RESULTS, 401), (RESULTS, 403), (RESULTS, 404), (RESULTS, 307), (ATTACHMENTS, 401), (ATTACHMENTS, 403)],
)
def test_a_refusal_of_the_session_ends_all_sending_and_keeps_all(
    pattern: str, status: int, backend: Backend, connect: Connect
) -> None:
    digest, frames = attachment(b"x")
    line = connect(testops_batch_size=1).start()
    before = len(backend.seen)
    backend.inject(pattern, answer(status, location="http://elsewhere.invalid/"), FOREVER)

    line.deliver(*frames, *[result(f"test_{number}", attached={"a.txt": digest}) for number in range(5)])

    uploads = backend.requests(ATTACHMENTS) if pattern == RESULTS else []
    assert len(backend.seen) - before - len(uploads) == 1
    assert (line.sender.halted, line.outbox.undelivered()) == (True, 5)
    assert line.outbox.refusals() == {}


def test_nothing_is_sent_after_the_token_was_refused(backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=1).start()
    backend.inject(RESULTS, answer(401))
    line.put(result())
    line.sender.join(DEADLINE)
    before = len(backend.seen)

    line.deliver(*[result(f"test_{number}") for number in range(5)])

    assert len(backend.seen) == before
    assert line.outbox.undelivered() == 6


def test_a_project_that_is_not_there_is_named(tmp_path: Path, connect: Connect) -> None:
    with running(tmp_path / "other.sqlite3", projects=["OTHER"]) as other:
        line = connect(other.url).start()
        line.deliver(result())

        assert line.sender.trouble == f"there is no project DEMO at {other.url}"
        assert len(other.seen) == 1
    assert line.outbox.undelivered() == 1


def test_a_run_that_is_not_there_is_named(backend: Backend, connect: Connect) -> None:
    line = connect(testops_run_id="99").start()
    line.deliver(result())

    assert line.sender.trouble == "there is no run 99 in project DEMO (FAMACASE_TESTOPS_RUN_ID)"
    assert backend.store.runs() == []


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_run_that_the_server_will_not_make_is_not_asked_for_again(
    status: int, backend: Backend, connect: Connect
) -> None:
    backend.inject(RUNS, answer(status, b'{"detail": "no such plan"}'), FOREVER)

    line = connect().start()
    line.deliver(result())

    assert len(backend.requests(RUNS)) == 1
    assert line.sender.trouble == f"HTTP {status}: no such plan"
    assert line.outbox.undelivered() == 1


# Refusals that are about a result


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [0, 3, 7])
def test_one_bad_result_is_kept_with_the_servers_words_and_the_others_arrive(
    status: int, bad: int, backend: Backend, connect: Connect
) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", status), FOREVER)

    line.deliver(*[result(f"test_{number}", message="BAD" if number == bad else None) for number in range(8)])

    assert backend.titles() == [f"test_{number}" for number in range(8) if number != bad]
    assert line.outbox.refusals() == {f"HTTP {status}: it says BAD": 1}
    assert line.sender.delivered == {"passed": 7}


def test_a_batch_that_is_halved_sends_no_result_twice(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)

    line.deliver(*[result(f"test_{number}", message="BAD" if number == 5 else None) for number in range(16)])

    assert {times for _, times in received(backend)} == {1}


def test_a_result_that_the_real_server_refuses_is_kept_with_its_words(backend: Backend, connect: Connect) -> None:
    line = connect().start()

    line.deliver(result("test_a"), result("test_b", unknown=1), result("test_c"))

    assert backend.titles() == ["test_a", "test_c"]
    ((words, count),) = line.outbox.refusals().items()
    assert count == 1
    assert "results[0].unknown" in words


def test_a_refused_result_is_not_sent_again_with_the_next_batch(backend: Backend, connect: Connect) -> None:
    line = connect(testops_batch_size=2).start()
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)

    line.deliver(result("test_bad", message="BAD"), *[result(f"test_{number}") for number in range(5)])

    assert len(backend.results()) == 5
    assert len(backend.requests(RESULTS)) == 5


def test_many_bad_results_are_counted_by_the_servers_words(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, refusing(b"BAD", 422), FOREVER)

    line.deliver(*[result(f"test_{number}", message="BAD" if number % 2 else None) for number in range(10)])

    assert line.outbox.refusals() == {"HTTP 422: it says BAD": 5}
    assert len(backend.results()) == 5


def test_a_refused_result_is_no_trouble_of_the_session(backend: Backend, connect: Connect) -> None:
    line = connect().start()
    backend.inject(RESULTS, answer(422), FOREVER)

    line.deliver(result())

    assert (line.sender.trouble, line.sender.halted) == ("", False)
