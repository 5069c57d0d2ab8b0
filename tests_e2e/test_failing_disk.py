"""A disk fails, a limit is reached, or another process looks in: tests run on, and each result arrives once."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness.server import answer
from harness.suites import Ran
from harness.traced_sessions import CALLS, KINDS, SESSION, STATUSES, SUMMARY, Sessions, Told
from harness.tracing import Call, Trace, TracedSuite, calls_in, sampled

#: Most points at which the disk fails for one call, and most at which it fails for good.
ONCE, FOR_GOOD = 8, 4
READS = ("read", "pread64", "readv", "preadv", "preadv2")
#: The kinds of calls that fail with an error; a file is opened to write.
KINDS_OF = {
    "ENOSPC": ("open", "write", "sync", "rename", "mkdir"),
    "EROFS": ("open", "write", "rename", "remove", "mkdir", "truncate"),
    "EIO": ("write", "sync", "rename", "remove", "mkdir", "truncate"),
}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with Sessions.below(tmp_path_factory.mktemp("sessions")) as sessions:
        yield sessions


@pytest.fixture(scope="module")
def parents_calls(sessions: Sessions) -> list[Call]:
    """What the process that runs the tests does to files of the state directory."""
    suite = sessions.new(is_pinned=True)
    ran = suite.trace_parent(Trace((*CALLS, *READS)), suite.path / "log")
    assert SUMMARY in ran.stdout, ran.text
    suite.await_couriers(60)
    return on_files(suite, suite.path / "log")


@pytest.fixture(scope="module")
def couriers_calls(sessions: Sessions) -> list[Call]:
    """What the courier does to files of the state directory."""
    suite = sessions.new(is_pinned=True)
    ran = suite.trace_couriers(Trace((*CALLS, *READS)), suite.path / "traced")
    assert SUMMARY in ran.stdout, ran.text
    suite.await_couriers(60)
    return on_files(suite, suite.path / "traced" / "courier-1" / "log")


def on_files(suite: TracedSuite, log: Path) -> list[Call]:
    """Return the calls about the state directory, numbered as strace does if it traces no others; paths relative."""
    counts: Counter[tuple[int, str]] = Counter()
    found = []
    for call in calls_in(log):
        if call.is_on(suite.state):
            counts[call.thread, call.name] += 1
            text = call.text.replace(str(suite.state), "STATE")
            found.append(replace(call, number=counts[call.thread, call.name], text=text))
    return found


def paths_of(calls: Sequence[Call], state: Path) -> list[Path]:
    """Return all paths that calls name, in another state directory, and those of the next segments."""
    names = {name for call in calls for name in re.findall(r"[<\"]STATE(?:/([^>\"]+))?[>\"]", call.text)}
    segments = {f"outbox/{SESSION}/{number:08}.journal" for number in range(1, 9)}
    return [state / name for name in sorted(names | segments)]


def can_fail(call: Call, error: str) -> bool:
    kinds = [kind for kind in KINDS_OF[error] if call.name in KINDS[kind]]
    return (kinds == ["open"] and ("O_CREAT" in call.text if error == "ENOSPC" else "O_RDONLY" not in call.text)) or (
        bool(kinds) and kinds != ["open"]
    )


def faults(calls: Sequence[Call], error: str) -> list[list[str]]:
    """Return what to inject: the error once, at each of some calls, and the error for good, from some calls on."""
    failing = list({(call.name, call.number): call for call in calls if can_fail(call, error)}.values())
    once = [[f"{call.name}:error={error}:when={call.number}"] for call in sampled(failing, ONCE)]
    return once + [_from(index, failing, error) for index in sampled(range(len(failing)), FOR_GOOD)]


def _from(index: int, failing: Sequence[Call], error: str) -> list[str]:
    """Return what lets each call fail from one of them on. A file that is there can be opened to read all the same."""
    before = Counter(call.name for call in failing[:index])
    names = sorted({call.name for call in failing} - set(KINDS["open"]))
    return [f"{name}:error={error}:when={before[name] + 1}+" for name in names]


def assert_unharmed(ran: Ran, suite: TracedSuite, sessions: Sessions) -> Told:
    """Check that pytest ended as without us, that the numbers are true, and that `resend` adds only what is missing."""
    suite.await_couriers(60)
    assert ran.status == 1, ran.text
    assert SUMMARY in ran.stdout, ran.text
    assert "internal error" not in ran.text
    assert "Traceback" not in ran.text
    told = Told.by(ran)
    assert told.collected == len(STATUSES), ran.text
    assert told.delivered == len(sessions.rows()), ran.text
    assert told.undelivered == len(STATUSES) - told.delivered, ran.text
    sent = suite.resend()
    assert sessions.rows() == STATUSES, f"{ran.text}\n{sent.text}"
    assert sent.status == 0, f"{ran.text}\n{sent.text}"
    assert suite.leftovers() == [], sent.text
    return told


def fail_parent(inject: Sequence[str], calls: Sequence[Call], sessions: Sessions) -> Told:
    suite = sessions.new(is_pinned=True)
    trace = Trace((*CALLS, *READS), inject, paths_of(calls, suite.state))
    ran = suite.trace_parent(trace, suite.path / "log")
    return checked(inject, ran, suite, sessions, suite.path / "log")


def fail_courier(inject: Sequence[str], calls: Sequence[Call], sessions: Sessions) -> Told:
    suite = sessions.new(is_pinned=True)
    trace = Trace((*CALLS, *READS), inject, paths_of(calls, suite.state))
    ran = suite.trace_couriers(trace, suite.path / "traced", most=9)
    return checked(inject, ran, suite, sessions, suite.path / "traced" / "courier-1" / "log")


def checked(inject: Sequence[str], ran: Ran, suite: TracedSuite, sessions: Sessions, log: Path) -> Told:
    try:
        assert "(INJECTED)" in log.read_text(), ran.text
        return assert_unharmed(ran, suite, sessions)
    except AssertionError as error:
        failed = [line for line in log.read_text().splitlines() if "(INJECTED)" in line]
        error.add_note("\n".join([f"injected {inject}:", *failed[:20]]))
        raise


@pytest.mark.parametrize("error", KINDS_OF)
def test_the_parents_disk_fails(error: str, sessions: Sessions, parents_calls: list[Call]) -> None:
    for inject in faults(parents_calls, error):
        told = fail_parent(inject, parents_calls, sessions)
        assert told.undelivered == 0, inject


@pytest.mark.parametrize("error", KINDS_OF)
def test_the_couriers_disk_fails(error: str, sessions: Sessions, couriers_calls: list[Call]) -> None:
    for inject in faults(couriers_calls, error):
        told = fail_courier(inject, couriers_calls, sessions)
        assert told.undelivered == 0, inject


def reads(calls: Sequence[Call]) -> list[Call]:
    return list({(call.name, call.number): call for call in calls if call.name in READS}.values())


def test_a_read_of_the_courier_fails_once(sessions: Sessions, couriers_calls: list[Call]) -> None:
    for call in sampled(reads(couriers_calls), ONCE):
        fail_courier([f"{call.name}:error=EIO:when={call.number}"], couriers_calls, sessions)


def test_no_read_of_the_courier_succeeds(sessions: Sessions, couriers_calls: list[Call]) -> None:
    """What cannot be read is undelivered, and its file is kept for `resend`, which finds the disk well again."""
    for call in sampled(reads(couriers_calls), FOR_GOOD):
        names = sorted({each.name for each in reads(couriers_calls)})
        inject = [f"{name}:error=EIO:when={call.number if name == call.name else 1}+" for name in names]
        fail_courier(inject, couriers_calls, sessions)


@pytest.fixture(scope="module")
def left(sessions: Sessions) -> Path:
    """A state directory whose session could deliver nothing."""
    suite = sessions.new(is_pinned=True)
    sessions.backend.inject("/DEMO", answer(503), times=float("inf"))
    ran = suite.run(FAMACASE_RETRY_ATTEMPTS="1")
    suite.await_couriers(60)
    sessions.backend.faults.clear()
    assert Told.by(ran).undelivered == len(STATUSES), ran.text
    return suite.state


def resending(left: Path, sessions: Sessions) -> TracedSuite:
    suite = sessions.new(is_pinned=True)
    shutil.copytree(left, suite.state)
    return suite


@pytest.fixture(scope="module")
def resends_calls(left: Path, sessions: Sessions) -> list[Call]:
    suite = resending(left, sessions)
    sent = suite.trace_resend(Trace((*CALLS, *READS)), suite.path / "log")
    assert (sent.status, sessions.rows()) == (0, STATUSES), sent.text
    return on_files(suite, suite.path / "log")


@pytest.mark.parametrize("error", [*KINDS_OF, "unreadable"])
def test_the_disk_fails_while_resend_works(
    error: str, left: Path, sessions: Sessions, resends_calls: list[Call]
) -> None:
    """It tells what is left, and the next one finds it; nothing is there twice, and nothing as invalid."""
    found = reads(resends_calls)
    unreadable = [
        [f"{call.name}:error=EIO:when={call.number}{plus}"] for call in sampled(found, 6) for plus in ("", "+")
    ]
    for inject in unreadable if error == "unreadable" else faults(resends_calls, error):
        suite = resending(left, sessions)
        trace = Trace((*CALLS, *READS), inject, paths_of(resends_calls, suite.state))
        first = suite.trace_resend(trace, suite.path / "log")
        assert "Traceback" not in first.text, inject
        assert sessions.rows().items() <= STATUSES.items(), inject
        assert first.status == 1 or sessions.rows() == STATUSES, f"{inject} {first.text}"
        second = suite.resend()
        assert (second.status, sessions.rows()) == (0, STATUSES), f"{inject}\n{first.text}\n{second.text}"
        assert suite.leftovers() == [], inject
