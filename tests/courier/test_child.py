"""The courier itself: it follows the journal, ends with its session, and outlives nobody for long."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.couriers import Delivering
from harness.results import begun, result
from harness.server import RESULTS, TOKEN, Backend, hang

from famacase_xdist.courier.child import Child
from famacase_xdist.courier.line import LocalLine
from famacase_xdist.courier.messages import Finish, Finished, Frames, Left, Opened, Refused, RunOpened
from famacase_xdist.delivery import opening
from famacase_xdist.delivery.project import ProjectDestination

DEADLINE = 30.0
Make = Callable[..., Delivering]


def eventually(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Threaded:
    """A courier in a thread, whose line the test has.

    Attributes:
        others: The messages that came while another one was waited for.
    """

    def __init__(self, session: Delivering) -> None:
        self.session = session
        self.line, its = LocalLine.pair()
        self._thread = threading.Thread(target=Child(its, has_parent=False).run, daemon=True)
        self._thread.start()
        self.line.send(session.order)
        self.others: list[object] = []

    def hear(self, kind: type[Any]) -> Any:
        """Wait for a message of a kind, or for a refusal."""
        while not isinstance(message := self.line.receive(DEADLINE), (kind, Refused)):
            assert message is not None
            self.others.append(message)
        return message

    def finish(self, timeout: float = 30.0) -> None:
        self.line.send(Finish(timeout, True, {self.session.code: self.session.accepted}))

    def join(self) -> None:
        self.line.close()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


@pytest.fixture
def threaded() -> Iterator[Callable[[Delivering], Threaded]]:
    made: list[Threaded] = []

    def threaded(session: Delivering) -> Threaded:
        made.append(Threaded(session))
        return made[-1]

    yield threaded
    for each in made:
        each.join()


Run = Callable[[Delivering], Threaded]


# While the tests run


def test_it_says_which_run_is_open_before_it_says_that_it_is_ready(project: Make, threaded: Run) -> None:
    courier = threaded(project())

    assert courier.hear(RunOpened).id == 1
    assert courier.others == []
    assert courier.hear(Opened).header[0].startswith("famacase: project DEMO, run ")


def test_it_delivers_what_comes_without_being_told(project: Make, threaded: Run, backend: Backend) -> None:
    delivering = project(testops_batch_size=1)
    courier = threaded(delivering)
    courier.hear(Opened)

    for name in ("test_a", "test_b"):
        delivering.keep(result(name))
        eventually(lambda name=name: name in backend.titles())  # type: ignore[misc]


def test_it_takes_what_no_disk_took_over_the_line(project: Make, threaded: Run, backend: Backend) -> None:
    delivering = project()
    courier = threaded(delivering)
    delivering.keep(result("test_a"))
    courier.line.send(Frames("DEMO", (result("test_b").encoded,), "No space left"))
    delivering.accepted.update(passed=1)
    courier.finish()

    outcome = courier.hear(Finished).outcome

    assert (outcome.delivered, outcome.undelivered) == (Counter(passed=2), 0)
    assert outcome.problems == ("results were kept in memory only: No space left",)
    assert backend.titles() == ["test_a", "test_b"]


# The session's end


def test_it_delivers_the_rest_and_completes_the_run(project: Make, threaded: Run, backend: Backend) -> None:
    delivering = project()
    courier = threaded(delivering)
    delivering.keep(*(result(f"test_{number}") for number in range(300)))
    courier.finish()

    finished = courier.hear(Finished)

    assert finished.outcome.delivered == Counter(passed=300)
    assert len(backend.titles()) == 300
    assert len(backend.requests(r"POST .*/complete")) == 1
    assert (finished.log, finished.log_trouble) == ((), "")


def test_it_says_what_is_left_until_its_time_is_over(project: Make, threaded: Run, backend: Backend) -> None:
    backend.inject(RESULTS, hang(backend), float("inf"))
    delivering = project()
    courier = threaded(delivering)
    delivering.keep(result("test_a"), result("test_b"))
    courier.finish(1.5)

    outcome = courier.hear(Finished).outcome

    assert Left(2) in courier.others
    assert (outcome.delivered, outcome.undelivered) == (Counter(), 2)
    assert backend.url.removeprefix("http://") in "".join(outcome.causes)


def test_a_second_finish_shortens_the_time_of_the_first(project: Make, threaded: Run, backend: Backend) -> None:
    backend.inject(RESULTS, hang(backend), float("inf"))
    delivering = project()
    courier = threaded(delivering)
    delivering.keep(result("test_a"))
    courier.finish(3600.0)
    courier.hear(Left)

    courier.finish(0.0)

    assert courier.hear(Finished).outcome.undelivered == 1


def test_a_second_finish_does_not_lengthen_it(project: Make, threaded: Run, backend: Backend) -> None:
    backend.inject(RESULTS, hang(backend), float("inf"))
    delivering = project()
    courier = threaded(delivering)
    delivering.keep(result("test_a"))
    courier.finish(0.5)

    courier.finish(3600.0)

    assert courier.hear(Finished).outcome.undelivered == 1


def test_without_an_order_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    line, its = LocalLine.pair()
    line.close()

    Child(its, has_parent=False).run()

    with pytest.raises(EOFError):
        line.receive(0.0)
    assert capfd.readouterr() == ("", "")


# Mistakes, and the log

#: As from the environment.
SOURCES = {"mode": "FAMACASE_MODE", "testops_api_token": "FAMACASE_TESTOPS_API_TOKEN"}


@pytest.mark.parametrize("where", ["start", "follow"])
def test_a_mistake_of_ours_is_told(where: str, project: Make, threaded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProjectDestination, where, lambda *args: 1 / 0)
    courier = threaded(project(debug=True, sources=SOURCES))

    refused = courier.hear(Refused)

    assert refused.reason == "internal error: ZeroDivisionError('division by zero')"
    assert any("setting mode = testops" in line for line in refused.log)


def test_the_log_has_no_token(project: Make, threaded: Run, tmp_path: Path) -> None:
    delivering = project(debug=True, logging_file=True, sources=SOURCES)
    courier = threaded(delivering)
    delivering.keep(result("test_a", message=TOKEN))
    courier.finish()

    finished = courier.hear(Finished)

    log = "\n".join(finished.log)
    assert "setting mode = testops (FAMACASE_MODE)" in log
    assert "POST" in log
    assert TOKEN not in log
    (file,) = delivering.order.state.glob("log/*.log")
    assert file.stem == delivering.order.kept["DEMO"].session
    assert TOKEN not in file.read_text()
    assert [line for line in finished.log if line not in file.read_text()] == []


def test_a_log_file_that_cannot_be_written_is_told(project: Make, threaded: Run) -> None:
    delivering = project(logging_file=True)
    (delivering.order.state / "log").write_text("a file in the place of the directory")
    courier = threaded(delivering)
    courier.finish()

    assert "log" in courier.hear(Finished).log_trouble


def test_where_nobody_asks_for_a_log_there_is_none(project: Make, threaded: Run) -> None:
    courier = threaded(project())
    courier.finish()

    assert courier.hear(Finished).log == ()


def test_a_second_courier_asks_for_no_plan(project: Make, monkeypatch: pytest.MonkeyPatch, threaded: Run) -> None:
    monkeypatch.setattr(opening.plan, "load", lambda *args: 1 / 0)
    delivering = project(testops_plan_id=7)
    object.__setattr__(delivering.order, "is_second", True)

    assert threaded(delivering).hear(Opened).cases is None


# The session's process dies

#: A session's process: it keeps a result, and a test that runs, and then does what it is told.
SESSION = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from harness.couriers import Delivering
from harness.results import begun, result

path, url, what = sys.argv[1:]
delivering = Delivering(
    Path(path), mode="testops", testops_project="DEMO", api_url=url, testops_api_token={TOKEN!r}, retry_attempts=1
).start()
delivering.courier.opened()
delivering.keep(result("test_a"), begun("t.py::test_b"))
if what == "forked":
    if not os.fork():
        time.sleep(600)
print(delivering.pid, flush=True)
if what == "finish":
    delivering.finish(3600)
if what == "line":
    delivering.courier._line.close()
sys.stdin.readline()
if what == "exit":
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Parent:
    """The process of a session, and its courier.

    Attributes:
        courier: The id of the courier.
    """

    def __init__(self, path: Path, backend: Backend, what: str) -> None:
        command = [sys.executable, "-c", SESSION, str(path), backend.url, what]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert self.process.stdout is not None
        self.courier = int(self.process.stdout.readline())

    def die(self) -> None:
        """Let the process die."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(DEADLINE)

    @property
    def has_courier(self) -> bool:
        """Whether the courier lives."""
        with contextlib.suppress(OSError):
            return ") Z " not in Path(f"/proc/{self.courier}/stat").read_text()
        return False

    def close(self) -> None:
        """End the process with all that it forked, and its courier."""
        for group in (self.process.pid, self.courier):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def parent(tmp_path: Path, backend: Backend) -> Iterator[Callable[[str], Parent]]:
    made: list[Parent] = []

    def parent(what: str) -> Parent:
        made.append(Parent(tmp_path, backend, what))
        return made[-1]

    yield parent
    for each in made:
        each.close()


def statuses(backend: Backend) -> dict[str, str]:
    return {each["title"]: each["execution"]["status"] for each in backend.results()}


@pytest.mark.process
@pytest.mark.parametrize("what", ["killed", "exit", "forked"])
def test_it_reports_what_a_dead_session_left_and_ends(
    what: str, parent: Callable[[str], Parent], backend: Backend, tmp_path: Path
) -> None:
    """A child that a test forked may hold the line open for as long as it lives."""
    died = parent(what)

    died.die()
    eventually(lambda: not died.has_courier)

    assert statuses(backend) == {"test_a": "passed", "test_b": "invalid"}
    assert list((tmp_path / "state" / "outbox").iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize("what", ["killed", "finish", "forked"])
def test_it_ends_soon_after_a_dead_session_though_the_server_does_not_answer(
    what: str, parent: Callable[[str], Parent], backend: Backend, tmp_path: Path
) -> None:
    backend.inject(RESULTS, hang(backend), float("inf"))
    died = parent(what)

    died.die()
    eventually(lambda: not died.has_courier)

    assert statuses(backend) == {}
    assert len(list((tmp_path / "state" / "outbox").iterdir())) == 1


@pytest.mark.process
def test_it_leaves_all_where_it_is_if_only_the_line_is_lost(parent: Callable[[str], Parent], backend: Backend) -> None:
    """Its session starts another courier, which needs the outbox."""
    backend.inject(RESULTS, hang(backend), float("inf"))
    lives = parent("line")

    eventually(lambda: not lives.has_courier)

    assert lives.process.poll() is None
    assert statuses(backend) == {}


@pytest.mark.process
def test_signals_that_end_all_processes_of_a_job_do_not_end_it(session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()
    delivering.keep(result("test_a"), begun("t.py::test_b"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(delivering.pid, number)
    delivering.keep(result("test_b"))

    assert delivering.end().delivered == Counter(passed=2)


@pytest.mark.process
def test_it_keeps_neither_our_output_nor_the_line_where_others_would_write(session: Make) -> None:
    delivering = session().start()
    delivering.courier.opened()

    standard = [os.readlink(f"/proc/{delivering.pid}/fd/{number}") for number in (0, 1, 2)]

    assert standard == [os.devnull] * 3
