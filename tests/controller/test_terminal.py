"""What the terminal says of a session: in the header, while the courier delivers, and at the end."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from harness.results import result

from famacase_xdist import clock
from famacase_xdist.cli import main
from famacase_xdist.controller import terminal
from famacase_xdist.controller.events import Received
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.controller.terminal import TELL_LEFT, Terminal
from famacase_xdist.delivery import wording
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.shown import resend_command

OUTBOX = Path("/state/outbox/session")


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
    command = resend_command(Settings(state_dir=tmp_path / directory.lstrip("/")))

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


# What is left, while the courier delivers


class Reporter:
    """pytest's reporter: the screen of a terminal, or the lines of a log."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self.lines: list[str] = []
        self.screen = ""

    def write_line(self, line: str) -> None:
        self.lines.append(line)

    def rewrite(self, line: str, *, erase: bool) -> None:
        assert erase
        self.write(f"\r{line.ljust(79)}")

    def write(self, text: str, *, flush: bool = False) -> None:
        for part in text.split("\r")[1:]:
            self.screen = part + self.screen[len(part) :]


class Hands:
    """The hands of our clock."""

    def __init__(self) -> None:
        self.seconds = 1000.0


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(clock, "monotonic", lambda: hands.seconds)
    return hands


def terminal_of(reporter: object) -> Terminal:
    """Return the terminal of a session with this reporter, or with none."""
    plugins = SimpleNamespace(get_plugin=lambda name: reporter)
    return Terminal(SimpleNamespace(pluginmanager=plugins), Settings())  # type: ignore[arg-type]


def test_on_a_terminal_one_line_says_what_is_left_and_goes_away() -> None:
    reporter = Reporter(isatty=True)
    shown = terminal_of(reporter)

    shown.show_left(100)
    assert reporter.screen.rstrip() == "famacase: delivering, 100 results left"
    shown.show_left(9)
    assert reporter.screen.rstrip() == "famacase: delivering, 9 results left"
    shown.forget_left()

    assert reporter.screen.strip() == ""
    assert reporter.lines == []


def test_in_a_log_a_line_each_ten_seconds_says_what_is_left(hands: Hands) -> None:
    reporter = Reporter(isatty=False)
    shown = terminal_of(reporter)
    seen = []
    for _ in range(50):
        hands.seconds += 0.5
        shown.show_left(7)
        seen.append(len(reporter.lines))

    assert TELL_LEFT == 10.0
    assert [seen.index(1), seen.index(2)] == [19, 39]
    assert set(reporter.lines) == {"famacase: delivering, 7 results left"}
    shown.forget_left()
    assert reporter.screen == ""


@pytest.mark.parametrize("isatty", [True, False], ids=["terminal", "log"])
def test_of_nothing_that_is_left_nothing_is_said(isatty: bool, hands: Hands) -> None:
    reporter = Reporter(isatty=isatty)
    shown = terminal_of(reporter)
    hands.seconds += 60

    shown.show_left(0)
    shown.forget_left()

    assert (reporter.lines, reporter.screen) == ([], "")


@pytest.mark.parametrize("reporter", [None, object()], ids=["none", "another plugin's"])
def test_a_reporter_that_cannot_show_it_harms_nothing(reporter: object) -> None:
    shown = terminal_of(reporter)

    shown.show_left(3)
    shown.forget_left()
    shown.say("a line")


def test_an_output_that_is_closed_harms_nothing() -> None:
    reporter = Reporter(isatty=True)
    shown = terminal_of(reporter)
    shown.show_left(3)
    reporter.write = reporter.write_line = lambda *args, **more: 1 / 0  # type: ignore[assignment,method-assign]

    shown.show_left(2)
    shown.say("a line")
    shown.forget_left()


# The end, where there is no section


def test_of_a_session_that_never_began_nothing_is_said() -> None:
    reporter = Reporter(isatty=False)

    terminal_of(reporter).say_end(Ledger(), Outcome.nothing(""))

    assert reporter.lines == []


def test_the_end_is_said_once() -> None:
    reporter = Reporter(isatty=False)
    shown = terminal_of(reporter)

    shown.say_end(Ledger(), Outcome.nothing("no token"))
    shown.say_end(Ledger(), Outcome.nothing("no token"))

    assert reporter.lines == ["famacase: nothing was reported: no token"]
