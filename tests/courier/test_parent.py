"""The courier as the session's process sees it: started, replaced once, waited for, and nothing of it is left."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from harness.couriers import Delivering
from harness.results import result
from harness.server import RESULTS, TOKEN, Backend, answer, hang

from famacase_xdist.courier import parent
from famacase_xdist.courier.line import LocalLine
from famacase_xdist.courier.messages import Finished, Frames, Left, Opened, Refused, RunOpened, Said
from famacase_xdist.courier.parent import NothingReported
from famacase_xdist.errors import CourierError
from famacase_xdist.results.frames import decode
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

Make = Callable[..., Delivering]

#: Runs before the code of a courier that does not do what ours does.
PRELUDE = """\
import os, sys, time
from collections import Counter
from famacase_xdist.courier.line import Line
from famacase_xdist.courier.messages import *
from famacase_xdist.results.outcome import Outcome
line = Line(os.dup(0), os.dup(1))
order = line.receive(None)
"""
OPENED = "line.send(Opened(('header',), '', None))\n"
#: Answers with what it was told to be accepted.
ECHO = """
while not isinstance(message := line.receive(None), Finish):
    pass
delivered = Counter(message.accepted[''])
line.send(Finished(Outcome(delivered, 0, Counter(), where=(str(order.is_second),)), (), ''))
"""


def does(session: Delivering, code: str) -> Delivering:
    """Let a session's courier be another program."""
    session.courier._command = [sys.executable, "-P", "-c", PRELUDE + code]
    return session


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """A check that no descriptor, thread or child is left."""

    def descriptors() -> set[str]:
        # The one that reads the directory is closed again.
        return {name for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd", name).is_symlink()}

    before = descriptors(), set(threading.enumerate())
    yield
    assert descriptors() <= before[0]
    assert set(threading.enumerate()) <= before[1]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# Started


@pytest.mark.process
@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_courier_delivers_what_is_in_the_journal(kind: str, session: Make) -> None:
    delivering = session(courier=kind).start()
    delivering.keep(result("test_a"))

    opened = delivering.courier.opened()
    delivering.keep(result("test_b", status="failed"))
    outcome = delivering.end()

    assert (len(opened.header), opened.cases, delivering.courier.note) == (1, None, "")
    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=1, failed=1), 0)


@pytest.mark.process
@pytest.mark.parametrize("kind", ["process", "thread"])
def test_nothing_is_left_of_a_courier(kind: str, session: Make, nothing_left: None) -> None:
    delivering = session(courier=kind).start()
    delivering.courier.opened()
    delivering.end()

    delivering.courier.close()
    delivering.courier.close()
    delivering.journal.close()


@pytest.mark.process
def test_the_process_has_neither_token_nor_what_makes_tools_of_the_tests_work(
    session: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COV_CORE_SOURCE", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.setenv(name, "set")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    delivering = session(testops_api_token=TOKEN).start()
    monkeypatch.setenv("LATER", "set")
    delivering.courier.opened()

    process = Path(f"/proc/{delivering.pid}")
    environment = (process / "environ").read_text()
    assert "PATH=" in environment
    assert not [word for word in (TOKEN, "COV", "PYTHONWARNINGS", "LATER") if word in environment]
    assert TOKEN not in (process / "cmdline").read_text()


@pytest.mark.process
def test_the_process_holds_none_of_our_output_and_has_a_session_of_its_own(session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()

    held = {path.resolve() for path in Path(f"/proc/{delivering.pid}/fd").iterdir()}
    ours = {Path(f"/proc/self/fd/{number}").resolve() for number in (1, 2)} - {Path(os.devnull)}
    assert not held & ours
    assert os.getsid(delivering.pid) == delivering.pid


@pytest.mark.process
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "Resource temporarily unavailable"),
        (ValueError("no program"), "no program"),
    ],
    ids=["limit", "other"],
)
def test_where_no_process_can_be_started_a_thread_delivers(
    error: Exception, reason: str, session: Make, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setattr(System, "popen", mock.Mock(side_effect=error))
    delivering = session().start()
    delivering.keep(result("test_a"))
    delivering.courier.opened()

    assert delivering.end().delivered == Counter(passed=1)
    assert delivering.courier.note == f"delivery runs in a thread, because no process can be started: {reason}"
    delivering.courier.close()
    delivering.journal.close()


def test_where_no_pipe_can_be_made_a_thread_delivers(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pipes = [os.pipe()]
    monkeypatch.setattr(System, "pipe", lambda: pipes.pop() if pipes else os.pipe(1))  # type: ignore[call-arg]
    delivering = session().start()

    delivering.courier.opened()

    assert delivering.courier.note.startswith("delivery runs in a thread")
    assert delivering.end().undelivered == 0


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "how"), [("sys.exit(3)", " (exit status 3)"), ("os.kill(os.getpid(), 9)", " (signal 9)")]
)
def test_where_the_process_ends_at_once_a_thread_delivers(
    code: str, how: str, session: Make, nothing_left: None
) -> None:
    delivering = does(session(), code).start()
    delivering.keep(result("test_a"))

    delivering.courier.opened()

    assert delivering.courier.note == f"delivery runs in a thread, because its process ended at once{how}"
    assert delivering.end().delivered == Counter(passed=1)
    delivering.courier.close()
    delivering.journal.close()


def test_a_thread_that_ends_at_once_is_an_error(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    delivering = session(courier="thread")
    monkeypatch.setattr("famacase_xdist.courier.child.Child.run", lambda child: child._line.close())

    with pytest.raises(CourierError, match="the courier ended before it began"):
        delivering.start().courier.opened()


# Opened or refused


@pytest.mark.process
def test_a_courier_says_why_nothing_can_be_reported(session: Make) -> None:
    delivering = session()
    (delivering.order.started_in / "out").write_text("a file in the place of the report's directory")

    with pytest.raises(NothingReported, match="the report in"):
        delivering.start().courier.opened()


@pytest.mark.process
def test_without_its_plan_the_tests_to_run_are_unknown(project: Make, backend: Backend) -> None:
    with pytest.raises(NothingReported, match=r"test plan 4711 .*there is no such plan in project DEMO") as caught:
        project(testops_plan_id=4711, debug=True).start().courier.opened()

    assert caught.value.log
    assert TOKEN not in "".join(caught.value.log)


# A line without a process


class Scripted:
    """A courier whose other end the test has."""

    def __init__(self, session: Delivering) -> None:
        ours, self.line = LocalLine.pair()
        self.session = session
        session.courier._line = ours

    def says(self, *messages: object) -> None:
        for each in messages:
            self.line.send(each)


@pytest.fixture
def scripted(session: Make) -> Scripted:
    return Scripted(session())


def told(delivered: int = 0) -> Finished:
    return Finished(Outcome(Counter(passed=delivered), 0, Counter()), (), "")


def test_what_the_courier_says_is_shown_while_it_is_waited_for(scripted: Scripted) -> None:
    scripted.says(Said("waiting"), Opened(("header",), "leftovers", frozenset({1})))

    assert scripted.session.courier.opened() == Opened(("header",), "leftovers", frozenset({1}))
    assert scripted.session.said == ["waiting"]


def test_a_courier_that_is_slow_to_open_does_not_hold_up_the_tests(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "START_PATIENCE", 0.05)

    opened = scripted.session.courier.opened()

    assert opened.header == ("famacase: no run yet: the courier has not answered yet; results are kept",)


def test_a_plan_is_waited_for_as_long_as_it_takes(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "START_PATIENCE", 0.0)
    scripted = Scripted(session(testops_plan_id=7))
    opening = threading.Timer(0.1, lambda: scripted.says(Opened((), "", frozenset())))
    opening.start()

    assert scripted.session.courier.opened().cases == frozenset()
    opening.join()


def test_the_run_is_known_as_soon_as_the_courier_has_said_it(scripted: Scripted) -> None:
    courier = scripted.session.courier
    assert courier.look_at_run() == (None, "")
    scripted.says(RunOpened(RunId(7), "https://f/7"))

    assert courier.look_at_run() == (7, "https://f/7")


def test_a_look_at_the_run_takes_no_message_from_who_waits(scripted: Scripted) -> None:
    """A hook of somebody else may ask for the run between the session's end and its summary."""
    finish = scripted.session.finish()
    scripted.says(Left(3), told(1))
    scripted.line.close()
    scripted.session.courier.look_at_run()
    progress: list[int] = []

    finished = scripted.session.courier.outcome(finish, progress.append)

    assert (finished.outcome.delivered, progress) == (Counter(passed=1), [3])


def test_any_thread_may_look_at_the_run_while_the_outcome_is_waited_for(scripted: Scripted) -> None:
    courier = scripted.session.courier
    waiting = threading.Event()
    outcomes: list[Finished] = []
    finish = scripted.session.finish()
    scripted.says(Left(1))
    thread = threading.Thread(
        target=lambda: outcomes.append(courier.outcome(finish, lambda left: waiting.set())), daemon=True
    )
    thread.start()
    assert waiting.wait(20)

    assert courier.look_at_run() == (None, "")
    scripted.says(told(1))
    thread.join(20)

    assert outcomes == [told(1)]


def test_frames_that_no_disk_takes_go_over_the_line(scripted: Scripted) -> None:
    frame = result("test_a")
    scripted.session.courier.keep("DEMO", [frame], "No space left")

    message = scripted.line.receive(0.0)

    assert isinstance(message, Frames)
    assert (message.code, message.reason) == ("DEMO", "No space left")
    assert [decode(each).head for each in message.frames] == [frame.head]


def test_without_a_courier_they_are_lost(session: Make) -> None:
    with pytest.raises(CourierError, match="No space left"):
        session().courier.keep("DEMO", [result("test_a")], "No space left")


def test_a_refusal_that_comes_late_is_why_nothing_is_known(scripted: Scripted) -> None:
    scripted.says(Refused("internal error: ours", log=()))

    with pytest.raises(CourierError, match="internal error: ours"):
        scripted.session.end()


def test_a_courier_that_does_not_answer_is_an_error(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "GRACE", 0.05)

    with pytest.raises(CourierError, match="has not answered in time"):
        scripted.session.end(0.0)


def test_a_thread_that_has_ended_is_not_replaced(scripted: Scripted) -> None:
    scripted.line.close()

    with pytest.raises(CourierError, match=r"the courier has ended$"):
        scripted.session.end()


# A courier that dies


@pytest.mark.process
def test_a_courier_that_is_killed_is_replaced_once(session: Make, nothing_left: None) -> None:
    delivering = session().start()
    delivering.courier.opened()
    first = delivering.pid
    delivering.kill()
    delivering.keep(result("test_a"))

    delivering.look()
    second = delivering.pid
    delivering.look()
    assert (first != second, delivering.pid) == (True, second)
    delivering.kill()
    delivering.look()

    assert delivering.pid == second
    with pytest.raises(CourierError, match=r"the courier has ended \(signal 9\)"):
        delivering.end()
    delivering.courier.close()
    delivering.journal.close()


@pytest.mark.process
def test_the_second_courier_delivers_what_the_first_one_did_not(project: Make, backend: Backend) -> None:
    backend.inject(RESULTS, hang(backend))
    delivering = project(retry_attempts=1).start()
    delivering.courier.opened()
    delivering.keep(result("test_a"))
    while not backend.requests(RESULTS):
        delivering.courier._never.wait(0.01)
    delivering.kill()

    delivering.look()
    outcome = delivering.end()

    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=1), 0)
    assert backend.titles() == ["test_a"]
    assert len(backend.store.runs()) == 1


@pytest.mark.process
def test_a_courier_that_dies_while_it_is_waited_for_is_replaced_too(session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()
    delivering.keep(result("test_a"))
    delivering.kill()

    assert delivering.end().delivered == Counter(passed=1)


@pytest.mark.process
def test_the_second_courier_is_told_so_and_needs_no_plan(project: Make, backend: Backend) -> None:
    backend.store.add_project("DEMO")
    number = backend.store.add_plan("DEMO", (3,))
    delivering = project(testops_plan_id=number).start()
    assert delivering.courier.opened().cases == {3}
    while delivering.courier.look_at_run()[0] is None:
        delivering.courier._never.wait(0.01)
    backend.store._write("DELETE FROM plans")
    delivering.kill()
    delivering.look()
    delivering.keep(result("test_a"))

    assert delivering.end().delivered == Counter(passed=1)


@pytest.mark.process
def test_what_only_a_dead_courier_had_is_undelivered_and_keeps_the_run_open(project: Make, backend: Backend) -> None:
    backend.inject(RESULTS, answer(503), times=float("inf"))
    delivering = project().start()
    delivering.courier.opened()
    delivering.courier.keep("DEMO", [result("test_a"), result("test_b", status="failed")], "No space left")
    delivering.accepted.update(passed=1, failed=1)
    delivering.kill()
    delivering.look()
    backend.faults.clear()
    delivering.keep(result("test_c"))

    outcome = delivering.end()

    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=1), 2)
    assert [run.status for run in backend.store.runs()] == ["active"]


@pytest.mark.process
def test_a_courier_that_is_stopped_holds_up_no_test(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "SEND_PATIENCE", 0.05)
    delivering = session().start()
    delivering.courier.opened()
    stopped = delivering.pid
    os.kill(stopped, signal.SIGSTOP)
    os.waitid(os.P_PID, stopped, os.WSTOPPED | os.WNOWAIT)

    with pytest.raises(CourierError, match="No space left"):
        delivering.courier.keep("", [result("test_a", message="x" * 1_000_000)], "No space left")
    monkeypatch.undo()
    delivering.keep(result("test_b"))
    delivering.look()

    assert delivering.pid != stopped
    assert delivering.end().delivered == Counter(passed=1)


@pytest.mark.process
def test_a_line_that_a_test_has_closed_is_replaced_with_its_courier(session: Make, tmp_path: Path) -> None:
    delivering = session().start()
    delivering.courier.opened()
    first = delivering.process
    line = delivering.courier._line
    assert line is not None
    numbers = (line._reading.number, line._writing.number)  # type: ignore[union-attr]
    foreign = tmp_path / "foreign"
    with foreign.open("wb") as file:
        for number in numbers:
            os.dup2(file.fileno(), number)
        delivering.keep(result("test_a"))
        delivering.look()
        outcome = delivering.end()

        assert outcome.delivered == Counter(passed=1)
        assert first.returncode is not None
        assert foreign.read_bytes() == b""
        for number in numbers:
            os.close(number)


@pytest.mark.process
@pytest.mark.parametrize(
    "name", ["subprocess.Popen.poll", "subprocess.Popen.wait", "os.waitpid", "os.kill", "time.sleep"]
)
def test_what_a_test_replaces_neither_replaces_a_courier_nor_keeps_it_from_that(name: str, session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()
    first = delivering.pid

    with mock.patch(name, return_value=0):
        delivering.look()
        assert delivering.pid == first
    delivering.kill()
    with mock.patch(name, return_value=0):
        delivering.look()

    assert delivering.pid != first
    assert delivering.end().undelivered == 0


@pytest.mark.process
def test_a_second_courier_that_cannot_be_started_harms_no_test(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    delivering = session().start()
    delivering.courier.opened()
    delivering.keep(result("test_a"))
    delivering.kill()
    monkeypatch.setattr(System, "popen", mock.Mock(side_effect=AssertionError("no process in a test")))

    delivering.look()

    assert delivering.courier.look_at_run() == (None, "")
    with pytest.raises(CourierError, match="the courier has ended"):
        delivering.end()


@pytest.mark.process
def test_a_second_courier_starts_where_the_first_one_did(
    session: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = Path(parent.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.path.relpath(package, tmp_path / "0"))
    delivering = session().start()
    delivering.courier.opened()
    delivering.kill()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    elsewhere.rmdir()

    delivering.look()

    assert delivering.end().undelivered == 0
    assert delivering.order.started_in == tmp_path / "0"


@pytest.mark.process
@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "handled"])
def test_a_test_may_do_with_the_signal_of_children_what_it_likes(handler: object, session: Make) -> None:
    before = signal.signal(signal.SIGCHLD, handler)  # type: ignore[arg-type]
    try:
        delivering = session().start()
        delivering.courier.opened()
        os.kill(delivering.pid, signal.SIGKILL)
        while not delivering.courier._line.is_cut:  # type: ignore[union-attr]
            delivering.courier._never.wait(0.01)
        delivering.look()
        delivering.keep(result("test_a"))

        assert delivering.end().delivered == Counter(passed=1)
        delivering.courier.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.process
def test_a_test_that_waits_for_our_child_takes_only_its_exit_status(session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()
    os.kill(delivering.pid, signal.SIGKILL)
    assert os.waitpid(-1, 0) == (delivering.pid, signal.SIGKILL)
    delivering.keep(result("test_a"))

    delivering.look()

    assert delivering.end().delivered == Counter(passed=1)


# The end


@pytest.mark.process
def test_a_courier_that_does_not_end_is_killed(session: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "END_PATIENCE", 0.05)
    delivering = does(session(), OPENED + ECHO + "time.sleep(600)").start()
    delivering.courier.opened()
    delivering.end()

    delivering.courier.close()

    assert delivering.process.returncode == -signal.SIGKILL


@pytest.mark.process
def test_a_courier_without_a_last_word_is_not_waited_for(session: Make) -> None:
    """Ctrl-C while a test plan is waited for."""
    delivering = does(session(), "time.sleep(600)").start()

    delivering.courier.close()

    assert delivering.process.returncode == -signal.SIGKILL


@pytest.mark.process
def test_a_killed_courier_leaves_its_results_in_the_outbox(project: Make, backend: Backend) -> None:
    backend.inject(RESULTS, hang(backend))
    delivering = project().start()
    delivering.courier.opened()
    delivering.keep(result("test_a"))
    while not backend.requests(RESULTS):
        delivering.courier._never.wait(0.01)

    delivering.courier.kill()

    assert delivering.process.returncode is not None
    with contextlib.closing(Outbox(delivering.journal.files, beside_writer=True)) as outbox:
        assert outbox.undelivered() == 1


# A forked child


@pytest.mark.process
def test_a_forked_child_does_nothing(session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()
    delivering.keep(result("test_a"))
    finish = delivering.finish()

    child = os.fork()
    if not child:
        status = 1
        try:
            delivering.look()
            delivering.courier.look_at_run()
            delivering.courier.finish(dataclasses.replace(finish, timeout=0.0))
            delivering.courier.close()
            delivering.courier.kill()
            delivering.courier.keep("", [result("test_b")], "No space left")
        except CourierError:
            status = 7
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    finished = delivering.courier.outcome(finish, lambda left: None)

    assert finished.outcome.delivered == Counter(passed=1)
