"""The end of a session: what the terminal says of it, and how one ends that is told to."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from click.testing import CliRunner
from famacase_xdist.controller.sigterm import SigtermHandler
from harness.results import result

from famacase_xdist.cli import main
from famacase_xdist.controller import terminal
from famacase_xdist.controller.events import Received
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.delivery import wording
from famacase_xdist.delivery.destination import Outcome
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings

OUTBOX = Path("/state/outbox/session.sqlite3")


def run_with(run_id: object = 7, *, completed: bool = False, trouble: str = "") -> Run:
    """Make a run that is open, or one that is not where `run_id` is None."""
    run = Run.from_settings(Settings())
    run.id, run.completed, run.trouble = run_id, completed, trouble
    run.url = "" if run_id is None else f"https://famacase.example.com/runs/{run_id}"
    return run


def ledger_of(collected: int, finished: int) -> Ledger:
    """Return a ledger in which so many tests were collected, and so many have a result."""
    ledger = Ledger()
    ledger.collect([f"t.py::test_{number}" for number in range(collected)])
    for number in range(finished):
        frame = result(f"test_{number}")
        ledger.enter(Received("gw0", frame.encoded))
    return ledger


def section(
    *,
    run: Run | None = None,
    ledger: Ledger | None = None,
    delivered: dict[str, int] | None = None,
    causes: dict[str, int] | None = None,
    problems: tuple[str, ...] = (),
    outbox: Path | None = None,
    notes: tuple[str, ...] = (),
    **settings: Any,
) -> list[str]:
    """Return the lines of the section."""
    found = Counter(causes or {})
    where = tuple(wording.run_lines(run or run_with()))
    outboxes = () if outbox is None else (outbox,)
    outcome = Outcome(Counter(delivered or {}), found.total(), found, problems, outboxes, where, notes=notes)
    return list(terminal.section(ledger or Ledger(), outcome, Settings(**settings)))


# The header


def test_the_header_names_project_and_run() -> None:
    assert wording.header_line("DEMO", run_with()) == (
        "famacase: project DEMO, run 7: https://famacase.example.com/runs/7"
    )


@pytest.mark.parametrize(
    ("trouble", "said"), [("", "the server has not answered yet"), ("HTTP 503: later", "HTTP 503: later")]
)
def test_the_header_says_why_there_is_no_run_and_that_nothing_is_lost(trouble: str, said: str) -> None:
    assert wording.header_line("DEMO", run_with(None, trouble=trouble)) == (
        f"famacase: project DEMO, no run yet: {said}; results are kept"
    )


def test_the_header_says_where_what_is_kept_would_be_lost() -> None:
    assert wording.header_line("DEMO", run_with(None), is_on_disk=False).endswith(
        "; what is not delivered in this session is lost"
    )


# The section


def test_where_all_is_well_two_lines_say_it() -> None:
    lines = section(run=run_with(completed=True), ledger=ledger_of(3, 3), delivered={"passed": 2, "failed": 1})

    assert lines == [
        "run 7: https://famacase.example.com/runs/7 (completed)",
        "collected 3, delivered 3 (1 failed, 2 passed), undelivered 0, not run 0",
    ]


def test_a_run_that_was_not_completed_is_said_to_be_open() -> None:
    assert section()[0] == "run 7: https://famacase.example.com/runs/7 (not completed: there was no time left)"


def test_where_no_run_was_opened_none_is_named() -> None:
    assert section(run=run_with(None))[0] == "no run was opened"


def test_where_nothing_was_delivered_no_statuses_are_listed() -> None:
    assert section()[1] == "collected 0, delivered 0, undelivered 0, not run 0"


def test_what_never_began_is_counted() -> None:
    assert section(ledger=ledger_of(5, 2))[1] == "collected 5, delivered 0, undelivered 0, not run 3"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("filtered", "filtered 4"),
        ("ignored", "ignored 4"),
        ("crashed", "crashed 4"),
        ("rebuilt", "rebuilt from pytest's reports 4"),
        ("not_collected", "modules not collected 4"),
        ("unreadable", "unreadable messages 4"),
    ],
)
def test_what_is_rare_is_counted_only_where_it_is(name: str, said: str) -> None:
    ledger = Ledger()
    setattr(ledger, name, 4)

    assert section(ledger=ledger)[1].endswith(f"not run 0, {said}")


def test_each_cause_has_a_line_the_most_frequent_first() -> None:
    lines = section(causes={"HTTP 422: no title": 1, "no connection": 9})

    assert lines[1].endswith("undelivered 10, not run 0")
    assert lines[2:] == ["undelivered 9: no connection", "undelivered 1: HTTP 422: no title"]


@pytest.mark.parametrize(("undelivered", "count"), [("warn", 1), ("fail", 1), ("ignore", 0)])
def test_causes_are_said_unless_they_are_to_be_ignored(undelivered: str, count: int) -> None:
    lines = section(causes={"no connection": 9}, undelivered=undelivered)

    assert sum("no connection" in line for line in lines) == count
    assert "undelivered 9" in lines[1]


def test_each_problem_has_a_line() -> None:
    assert section(problems=("one", "two"))[2:] == ["problem: one", "problem: two"]


def test_each_note_has_a_line() -> None:
    assert section(notes=("one", "two"), problems=("three",))[2:] == ["note: one", "note: two", "problem: three"]


def test_many_notes_do_not_flood_the_terminal() -> None:
    lines = section(notes=tuple(map(str, range(22))))[2:]

    assert lines[-2:] == ["note: 19", "note: 2 more of this kind"]
    assert len(lines) == 21


def test_what_was_kept_is_said_with_the_command_that_sends_it() -> None:
    assert section(outbox=OUTBOX)[2:] == [f"kept in {OUTBOX}", "to send what was kept: famacase-xdist resend"]


# Commands that are for a shell


@pytest.mark.parametrize("directory", ["/state", "/my state", "/it's", "/$HOME/`id`", "relative"])
def test_the_command_to_resend_is_one_that_the_command_line_understands(directory: str, tmp_path: Path) -> None:
    command = wording.resend_command(Settings(state_dir=tmp_path / directory.lstrip("/")))

    program, *arguments = shlex.split(command)
    assert program == "famacase-xdist"
    ran = CliRunner().invoke(main.main, [*arguments, "--list"])
    assert str(tmp_path / directory.lstrip("/")) in ran.output


def test_the_hint_to_look_at_the_embedded_run_is_short_where_the_database_is_where_serve_looks() -> None:
    hint = wording.embedded_hint(run_with(), Path("/suite/.famacase/famacase.sqlite3"), Path("/suite"))

    assert hint == "to look at it: famacase-xdist serve, then open http://127.0.0.1:8484/runs/7"


def test_the_hint_to_look_at_the_embedded_run_names_a_database_elsewhere() -> None:
    hint = wording.embedded_hint(run_with(), Path("/my suite/.famacase/famacase.sqlite3"), Path("/suite"))

    assert hint == (
        "to look at it: famacase-xdist serve --database '/my suite/.famacase/famacase.sqlite3',"
        " then open http://127.0.0.1:8484/runs/7"
    )


# SIGTERM


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Leave SIGTERM as it was, and let it be the system's own in the test."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def terminated(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, with a termination that watches."""
    prelude = (
        "import os, signal, sys\n"
        "from famacase_xdist.controller.sigterm import SigtermHandler\n"
        "termination = SigtermHandler()\n"
        "termination.watch()\n"
    )
    command = [sys.executable, "-c", prelude + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_sigterm_ends_the_session_as_ctrl_c_does() -> None:
    termination = SigtermHandler()
    termination.watch()

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)

    assert termination.is_asked


@pytest.mark.process
def test_a_process_that_was_told_to_end_dies_of_it_with_all_that_it_said() -> None:
    ran = terminated(
        """
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
except KeyboardInterrupt:
    sys.stdout.write("delivered")
    sys.stderr.write("said")
termination.end()
print("never")
"""
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGTERM, "delivered", "said")


@pytest.mark.process
def test_a_second_sigterm_kills_at_once() -> None:
    ran = terminated(
        """
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""
    )

    assert ran.returncode == -signal.SIGTERM


@pytest.mark.process
def test_a_process_that_was_not_told_to_end_goes_on() -> None:
    ran = terminated("termination.end()\nprint(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)")

    assert (ran.returncode, ran.stdout) == (0, "True\n")


def test_a_handler_of_somebody_else_is_left_alone() -> None:
    def own(number: int, frame: FrameType | None) -> None:
        return None

    signal.signal(signal.SIGTERM, own)
    termination = SigtermHandler()

    termination.watch()
    assert signal.getsignal(signal.SIGTERM) is own
    termination.end()
    assert signal.getsignal(signal.SIGTERM) is own


def test_a_handler_that_came_later_is_left_alone() -> None:
    def own(number: int, frame: FrameType | None) -> None:
        return None

    termination = SigtermHandler()
    termination.watch()
    signal.signal(signal.SIGTERM, own)

    termination.end()

    assert signal.getsignal(signal.SIGTERM) is own


def test_a_sigterm_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    SigtermHandler().watch()

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_another_thread_than_the_main_one_takes_nothing_over() -> None:
    raised: list[BaseException] = []

    def watch() -> None:
        try:
            SigtermHandler().watch()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join(10)

    assert (raised, signal.getsignal(signal.SIGTERM)) == ([], signal.SIG_DFL)


def test_an_end_without_a_watch_and_a_second_end_do_nothing() -> None:
    termination = SigtermHandler()
    termination.end()
    termination.watch()
    termination.end()

    termination.end()

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.process
def test_a_forked_child_does_not_kill_its_parent() -> None:
    ran = terminated(
        """
pid = os.fork()
if not pid:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    except KeyboardInterrupt:
        termination.end()
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
"""
    )

    assert (ran.returncode, ran.stdout) == (0, f"{-signal.SIGTERM}\n")
