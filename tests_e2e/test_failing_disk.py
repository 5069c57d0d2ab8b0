"""A disk fails, a limit is reached, or another process looks in: tests run on, and each result arrives once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from harness.server import answer
from harness.suites import Ran
from harness.traced_sessions import CALLS, KINDS, PINNED, SESSION, STATUSES, SUMMARY, Sessions, Told, outboxes
from harness.tracing import Call, Trace, TracedSuite, calls_in, sampled

#: Most points at which the disk fails for one call, and most at which it fails for good.
ONCE, FOR_GOOD = 6, 3
READS = ("read", "pread64", "readv", "preadv", "preadv2")
#: The kinds of calls that fail with an error.
FAILING = {
    "ENOSPC": ("open", "write", "sync", "rename", "mkdir"),
    "EROFS": ("open", "write", "rename", "remove", "mkdir", "truncate"),
    "EIO": ("write", "sync", "rename", "remove", "mkdir", "truncate"),
}
#: The flags of a file that cannot be opened then.
FLAGS = {"ENOSPC": "O_CREAT", "EROFS": "O_WRONLY"}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    with Sessions.below(tmp_path_factory.mktemp("sessions")) as sessions:
        yield sessions


@pytest.fixture(scope="module")
def parents_calls(sessions: Sessions) -> list[Call]:
    """What the process that runs the tests does to files of the state directory."""
    suite = sessions.new(PINNED)
    ran = suite.trace_parent(Trace((*CALLS, *READS)), suite.path / "log")
    assert SUMMARY in ran.stdout, ran.text
    suite.await_couriers(60)
    return on_files(suite, suite.path / "log")


@pytest.fixture(scope="module")
def couriers_calls(sessions: Sessions) -> list[Call]:
    """What the courier does to files of the state directory."""
    suite = sessions.new(PINNED)
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


def paths_of(calls: Iterable[Call], state: Path) -> list[Path]:
    """Return all paths that calls name, in another state directory, and those of the next segments."""
    names = {name for call in calls for name in re.findall(r"[<\"]STATE(?:/([^>\"]+))?[>\"]", call.text)}
    segments = {f"outbox/{SESSION}/{number:08}.journal" for number in range(1, 9)}
    return [state / name for name in sorted(names | segments)]


def injecting(inject: Sequence[str], calls: Iterable[Call], state: Path) -> Trace:
    """Return what lets calls about the files of the state directory fail."""
    return Trace([expression.partition(":")[0] for expression in inject], inject, paths_of(calls, state))


def can_fail(call: Call, error: str) -> bool:
    if call.name in KINDS["open"]:
        return FLAGS.get(error, "no flag") in call.text
    return any(call.name in KINDS[kind] for kind in FAILING[error])


def can_be_read(call: Call) -> bool:
    return call.name in READS or (call.name in KINDS["open"] and "O_RDONLY" in call.text)


def points(failing: Iterable[Call], others: Iterable[Call]) -> list[tuple[str, int]]:
    """Return names and numbers of calls; not those that a call which cannot fail has too, in another thread."""
    excluded = {(call.name, call.number) for call in others}
    return [each for each in dict.fromkeys((call.name, call.number) for call in failing) if each not in excluded]


def faults(calls: Sequence[Call], error: str) -> list[list[str]]:
    """Return what to inject: the error once, at each of some calls, and the error for good, from some calls on."""
    found = points(
        [call for call in calls if can_fail(call, error)], [call for call in calls if not can_fail(call, error)]
    )
    once = [[f"{name}:error={error}:when={number}"] for name, number in sampled(found, ONCE)]
    # A file that is there can be opened to read all the same.
    lasting = [(name, number) for name, number in found if name not in KINDS["open"]]
    return [*once, *(for_good(lasting[index:], error) for index in sampled(range(len(lasting)), FOR_GOOD))]


def for_good(later: Iterable[tuple[str, int]], error: str) -> list[str]:
    """Return what lets each of some calls fail, and all after it."""
    first = {name: number for name, number in reversed(list(later))}
    return [f"{name}:error={error}:when={number}+" for name, number in first.items()]


def unreadable(calls: Sequence[Call]) -> list[list[str]]:
    """Return what to inject so that a read fails: once, and for good."""
    found = points([call for call in calls if can_be_read(call)], [call for call in calls if not can_be_read(call)])
    once = [[f"{name}:error=EIO:when={number}"] for name, number in sampled(found, ONCE)]
    lasting = [(name, number) for name, number in found if name not in KINDS["open"]]
    return [*once, *(for_good(lasting[index:], "EIO") for index in sampled(range(len(lasting)), FOR_GOOD))]


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
    # A courier that could note nothing at all, and delete nothing, leaves what nobody can send a second time.
    is_nameless = not told.undelivered and "its session did not say where it reports" in sent.stdout
    assert is_nameless or (sent.status, outboxes(suite)) == (0, []), f"{ran.text}\n{sent.text}"
    return told


@contextmanager
def noting(inject: Sequence[str], log: Path, *more: Ran) -> Iterator[None]:
    """Add to the error of the block what was injected, and where it hit."""
    try:
        yield
    except AssertionError as error:
        failed = [line for line in log.read_text().splitlines() if "(INJECTED)" in line] if log.exists() else []
        error.add_note("\n".join([f"injected {inject}:", *failed[:20], *(each.text for each in more)]))
        raise


def hits(log: Path) -> int:
    return log.exists() and "(INJECTED)" in log.read_text()


@pytest.mark.parametrize("error", FAILING)
def test_the_parents_disk_fails(error: str, sessions: Sessions, parents_calls: list[Call]) -> None:
    """What the disk does not take is delivered from memory."""
    for inject in faults(parents_calls, error):
        suite = sessions.new(PINNED)
        ran = suite.trace_parent(injecting(inject, parents_calls, suite.state), suite.path / "log")
        with noting(inject, suite.path / "log"):
            assert hits(suite.path / "log"), ran.text
            assert assert_unharmed(ran, suite, sessions).undelivered == 0, ran.text


def fail_courier(inject: Sequence[str], calls: Iterable[Call], sessions: Sessions) -> tuple[bool, Told]:
    """Run the suite while each of its couriers has a disk that fails. Return whether it did, and what was told."""
    suite = sessions.new(PINNED)
    ran = suite.trace_couriers(injecting(inject, calls, suite.state), suite.path / "traced", most=9)
    log = suite.path / "traced" / "courier-1" / "log"
    with noting(inject, log):
        told = assert_unharmed(ran, suite, sessions)
    return hits(log), told


@pytest.mark.parametrize("error", FAILING)
def test_the_couriers_disk_fails(error: str, sessions: Sessions, couriers_calls: list[Call]) -> None:
    """What it cannot note it knows all the same, so everything is delivered."""
    done = [fail_courier(inject, couriers_calls, sessions) for inject in faults(couriers_calls, error)]
    assert [told.undelivered for _, told in done] == [0] * len(done)
    # How often it reads and syncs depends on time.
    assert sum(was_hit for was_hit, _ in done) > len(done) / 2


def test_the_courier_cannot_read(sessions: Sessions, couriers_calls: list[Call]) -> None:
    """What cannot be read is undelivered, and its file is kept for `resend`, which finds the disk well again."""
    done = [fail_courier(inject, couriers_calls, sessions) for inject in unreadable(couriers_calls)]
    assert any(told.undelivered for _, told in done)
    assert sum(was_hit for was_hit, _ in done) > len(done) / 2


@pytest.fixture(scope="module")
def left(sessions: Sessions) -> Path:
    """A state directory whose session could deliver nothing."""
    suite = sessions.new(PINNED)
    sessions.backend.inject("/DEMO", answer(503), times=float("inf"))
    ran = suite.run(FAMACASE_RETRY_ATTEMPTS="1")
    suite.await_couriers(60)
    sessions.backend.faults.clear()
    assert Told.by(ran).undelivered == len(STATUSES), ran.text
    return suite.state


def resending(left: Path, sessions: Sessions) -> TracedSuite:
    suite = sessions.new()
    shutil.copytree(left, suite.state)
    return suite


@pytest.fixture(scope="module")
def resends_calls(left: Path, sessions: Sessions) -> list[Call]:
    suite = resending(left, sessions)
    sent = suite.trace_resend(Trace((*CALLS, *READS)), suite.path / "log")
    assert (sent.status, sessions.rows()) == (0, STATUSES), sent.text
    return on_files(suite, suite.path / "log")


@pytest.mark.parametrize("error", [*FAILING, "unreadable"])
def test_the_disk_fails_while_resend_works(
    error: str, left: Path, sessions: Sessions, resends_calls: list[Call]
) -> None:
    """It tells what is left, and the next one finds it; nothing is there twice, and nothing as invalid."""
    for inject in unreadable(resends_calls) if error == "unreadable" else faults(resends_calls, error):
        suite = resending(left, sessions)
        first = suite.trace_resend(injecting(inject, resends_calls, suite.state), suite.path / "log")
        with noting(inject, suite.path / "log", first):
            assert "Traceback" not in first.text
            assert sessions.rows().items() <= STATUSES.items()
            assert first.status == 1 or sessions.rows() == STATUSES
            second = suite.resend()
            assert (second.status, sessions.rows()) == (0, STATUSES), second.text
            assert outboxes(suite) == [], second.text


#: Leaves the process so many descriptors.
FEW_FILES = """
    import resource

    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + int(os.environ["SPARE"]), 4096))
"""


def counts_of(ran: Ran) -> tuple[int, str]:
    """Return pytest's exit status, and its last line without the time."""
    return ran.status, ran.stdout.strip().rpartition("\n")[2].partition(" in ")[0].strip("= ")


@pytest.mark.parametrize("spare", [3, 5, 7, 9, 11, 16])
def test_few_files_can_be_open(spare: int, sessions: Sessions) -> None:
    """Tests run as without us; where not even a result can be kept, the header says that nothing is reported."""
    suite = sessions.new(FEW_FILES)
    suite.env["SPARE"] = str(spare)
    without = suite.run(FAMACASE_MODE="")
    assert SUMMARY in counts_of(without)[1], without.text

    ran = suite.run()

    suite.await_couriers(60)
    assert counts_of(ran) == counts_of(without), ran.text
    told = Told(0, 0, 0) if "famacase: nothing is reported" in ran.stdout else Told.by(ran)
    assert told.delivered == len(sessions.rows()), ran.text
    assert told.delivered + told.undelivered == told.collected, ran.text
    sent = suite.resend()
    expected = STATUSES if told.collected else {}
    # What is in memory when the session ends is lost, and the summary says so.
    assert sessions.rows() == expected or "in memory only" in ran.stdout, f"{ran.text}\n{sent.text}"
    assert sessions.rows().items() <= STATUSES.items()
    assert (sent.status, outboxes(suite)) == (0, []), sent.text


def test_no_process_can_be_started(sessions: Sessions) -> None:
    suite = sessions.new()
    forks = ("vfork", "fork", "clone")
    trace = Trace(forks, [f"{name}:error=EAGAIN" for name in forks])

    ran = suite.trace_parent(trace, suite.path / "log")

    with noting(trace.inject, suite.path / "log"):
        assert hits(suite.path / "log"), ran.text
        assert "famacase: delivery runs in a thread, because no process can be started" in ran.stdout, ran.text
        assert assert_unharmed(ran, suite, sessions).undelivered == 0


#: Looks into the state directory, and sends what it finds, again and again until its input ends.
LOOKING = """
import os, sys, threading
from famacase_xdist.cli.main import main

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
turns = 0
while not ended.is_set():
    for args in (["resend", "--list"], ["resend"]):
        try:
            main(args, standalone_mode=False)
        except SystemExit:
            pass
    turns += 1
print(turns, file=sys.stderr)
"""


@contextmanager
def looking(suite: TracedSuite) -> Iterator[list[int]]:
    """Look into the state directory of a suite within a block; yields a list that gets the number of turns."""
    turns: list[int] = []
    process = subprocess.Popen(
        [sys.executable, "-c", LOOKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=suite.path,
        env=suite.environment(),
    )
    try:
        yield turns
    finally:
        _, stderr = process.communicate("", timeout=60)
    assert process.returncode == 0, stderr
    turns.append(int(stderr.split()[-1]))


#: Lets other processes run after each call that matters for them.
DELAYED = tuple(name for kind in ("open", "rename", "remove", "mkdir", "lock") for name in KINDS[kind])


@pytest.mark.parametrize("slow", ["parent", "courier", "nobody"])
def test_resend_beside_sessions_that_start_and_end(
    slow: str, sessions: Sessions, parents_calls: list[Call], couriers_calls: list[Call]
) -> None:
    for _ in range(2):
        suite = sessions.new(PINNED)
        paths = paths_of([*parents_calls, *couriers_calls], suite.state)
        trace = Trace(DELAYED, [f"{','.join(f'?{name}' for name in DELAYED)}:delay_exit=10ms"], paths)
        with looking(suite) as turns:
            if slow == "parent":
                ran = suite.trace_parent(trace, suite.path / "log")
            elif slow == "courier":
                ran = suite.trace_couriers(trace, suite.path / "traced", most=9)
            else:
                ran = suite.run()
            suite.await_couriers(60)
        assert turns[0] > 3
        told = assert_unharmed(ran, suite, sessions)
        assert (told.undelivered, "in memory only" in ran.stdout) == (0, False), ran.text
        (run,) = sessions.backend.store.runs()
        assert run.status == "completed"
        assert {stored.times_received for stored in sessions.backend.store.stored_results(run.id)} == {1}
