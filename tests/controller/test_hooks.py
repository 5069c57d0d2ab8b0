"""The hooks of the process that owns the run: what a worker is given, what is taken in, what a session ends with."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness.results import result

from famacase_xdist.controller.hooks import Controller
from famacase_xdist.delivery import opening
from famacase_xdist.recording import user_fixtures
from famacase_xdist.results.frames import BegunHead, Frame
from famacase_xdist.results.sinks import WORKERINPUT
from famacase_xdist.settings.settings import Settings
from famacase_xdist.system import Origin

TOKEN = "rep_a-token-that-must-not-leak"


class Channel:
    """An execnet channel as far as the controller sees it."""

    def setcallback(self, callback: Callable[[object], None]) -> None:
        self.say = callback


class Node:
    """One of xdist's workers."""

    _workerinfocache = "[gw]"  # pytest prints it above a report

    def __init__(self, name: str) -> None:
        self.channel = Channel()
        self.gateway = SimpleNamespace(id=name, newchannel=lambda: self.channel)
        self.workerinput: dict[str, Any] = {}


class Config:
    """pytest's config as far as the controller sees it; `said` is what the terminal was told outside its section."""

    def __init__(self, path: Path, plugins: tuple[str, ...]) -> None:
        self.rootpath = path
        self.invocation_params = SimpleNamespace(dir=path)
        self.option = SimpleNamespace(numprocesses=2, dist="load")
        self.stash = pytest.Stash()
        self.said: list[str] = []
        self.cleanups: list[Callable[[], None]] = []
        self.reporter: Any = SimpleNamespace(write_line=self.said.append, isatty=False, no_summary=False)
        self.pluginmanager = SimpleNamespace(hasplugin=plugins.__contains__, get_plugin=lambda name: self.reporter)

    def add_cleanup(self, cleanup: Callable[[], None]) -> None:
        self.cleanups.append(cleanup)


class Section:
    """pytest's terminal reporter."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(title)

    def write_line(self, line: str) -> None:
        self.lines.append(line)


class Controlled:
    """A controller of two workers, whose destination is a file report that a thread writes."""

    def __init__(self, path: Path, **settings: Any) -> None:
        given = {"mode": "report", "report_connection_path": Path("out"), "courier": "thread", **settings}
        given.setdefault("testops_api_token", TOKEN)
        self.path = path
        self.config = Config(path, ("dsession",))
        self.controller = Controller(self.config, Settings(**given))  # type: ignore[arg-type]
        self.nodes = [Node("gw0"), Node("gw1")]

    def start(self) -> Controlled:
        self.controller.pytest_sessionstart()
        for node in self.nodes:
            self.controller.pytest_configure_node(node)  # type: ignore[arg-type]
        return self

    def finish(self, status: int = pytest.ExitCode.OK) -> None:
        """Tell the controller that the session ends; pytest's summary may follow."""
        self.pytest_session = SimpleNamespace(exitstatus=status)
        self.controller.pytest_sessionfinish(self.pytest_session, status)  # type: ignore[arg-type]

    @property
    def status(self) -> int:
        """The exit status that pytest would have."""
        status: int = self.pytest_session.exitstatus
        return status

    @property
    def outcome(self) -> object:
        """What became of the results, as far as the controller has waited for it."""
        return self.controller._session.outcome

    def section(self) -> list[str]:
        reporter = Section()
        self.controller.pytest_terminal_summary(reporter)  # type: ignore[arg-type]
        return reporter.lines

    def end(self) -> list[str]:
        """End the session with a summary, and return the section's lines."""
        self.finish()
        return self.section()

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in (self.path / "out" / "results").glob("*.json")]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Controlled]]:
    started: list[Controlled] = []

    def start(**settings: Any) -> Controlled:
        started.append(Controlled(tmp_path, **settings).start())
        return started[-1]

    yield start
    for each in started:
        each.controller.pytest_unconfigure()
        for cleanup in each.config.cleanups:
            cleanup()


Start = Callable[..., Controlled]


def report(when: str, node: Node | None, nodeid: str = "t.py::test_a") -> pytest.TestReport:
    made = pytest.TestReport(nodeid, ("t.py", 1, "test_a"), {}, "failed", "died", when)  # type: ignore[arg-type]
    made.node = node
    return made


# What a worker is given


def test_a_worker_gets_no_token_and_no_address(start: Start) -> None:
    controlled = start(api_url="https://famacase.example.com", root_suite="Shop")

    given = controlled.nodes[0].workerinput[WORKERINPUT]
    assert json.loads(given["settings"])["root_suite"] == "Shop"
    assert TOKEN not in repr(given)
    assert "famacase.example.com" not in repr(given)


def test_each_worker_has_a_channel_of_its_own(start: Start) -> None:
    first, second = (node.workerinput[WORKERINPUT]["channel"] for node in start().nodes)

    assert first is not second


def test_workers_of_a_session_that_reports_nothing_are_given_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file in the place of the report's directory")

    controlled = start()

    assert [node.workerinput for node in controlled.nodes] == [{}, {}]
    assert controlled.controller.pytest_report_header()[0].startswith(
        "famacase: nothing is reported: the report in out"
    )


def test_a_mistake_of_ours_at_the_start_is_said_and_does_not_end_the_session(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "FileReport", lambda *args: 1 / 0)

    controlled = start()

    assert controlled.controller.pytest_report_header()[0] == (
        "famacase: nothing is reported: internal error: ZeroDivisionError('division by zero')"
    )
    assert controlled.end() == [
        "Famacase",
        "nothing was reported: internal error: ZeroDivisionError('division by zero')",
    ]
    assert controlled.status == pytest.ExitCode.OK


# What is taken in


def test_what_a_worker_sends_is_reported(start: Start) -> None:
    controlled = start()
    controlled.nodes[1].channel.say(result("test_a").encoded)

    controlled.end()

    assert [each["title"] for each in controlled.results()] == ["test_a"]


def test_what_is_no_message_of_ours_is_dropped_without_an_error(start: Start) -> None:
    controlled = start()
    for message in (None, "text", 7, b"no frame"):
        controlled.nodes[0].channel.say(message)

    assert "unreadable messages 1" in controlled.end()[2]
    assert controlled.results() == []


def test_a_test_that_took_its_worker_with_it_is_invalid(start: Start) -> None:
    controlled = start()
    controlled.controller.pytest_runtest_logstart("t.py::test_a")
    controlled.nodes[0].channel.say(Frame(BegunHead("t.py::test_a")).encoded)

    controlled.controller.pytest_runtest_logreport(report("???", controlled.nodes[0]))
    controlled.end()

    (only,) = controlled.results()
    assert only["execution"]["status"] == "invalid"
    assert only["message"] == "worker gw0 crashed while running t.py::test_a, in its set-up"


def test_a_worker_that_said_goodbye_has_not_crashed(start: Start) -> None:
    controlled = start()
    controlled.nodes[0].workeroutput = {}  # type: ignore[attr-defined]

    controlled.controller.pytest_runtest_logreport(report("???", controlled.nodes[0]))
    controlled.end()

    assert controlled.results() == []


@pytest.mark.parametrize(("dist", "collected"), [("load", 3), ("each", 6)])
def test_tests_that_each_worker_runs_count_for_each(dist: str, collected: int, start: Start) -> None:
    controlled = start()
    controlled.config.option.dist = dist

    controlled.controller.pytest_xdist_node_collection_finished(["a", "b", "c"])

    assert controlled.end()[2].startswith(f"collected {collected}, ")


# How a session ends


def test_a_session_with_a_summary_is_waited_for_in_it_after_pytests_failures(start: Start) -> None:
    controlled = start()
    controlled.nodes[0].channel.say(result("test_a").encoded)

    controlled.finish()
    assert controlled.outcome is None
    lines = controlled.section()

    assert lines[:2] == ["Famacase", "report: out"]
    assert [each["title"] for each in controlled.results()] == ["test_a"]


@pytest.mark.parametrize("status", [pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR])
def test_pytest_has_a_summary_also_for_these_ends(status: pytest.ExitCode, start: Start) -> None:
    controlled = start()

    controlled.finish(status)

    assert controlled.outcome is None


def test_a_session_without_a_summary_is_waited_for_at_its_end(start: Start) -> None:
    controlled = start()
    controlled.nodes[0].channel.say(result("test_a").encoded)
    controlled.config.reporter.no_summary = True

    controlled.finish()

    assert [each["title"] for each in controlled.results()] == ["test_a"]
    controlled.controller.pytest_unconfigure()
    assert controlled.config.said[0] == "famacase: report: out"


@pytest.mark.parametrize("reporter", [None, object()], ids=["none", "another plugin's"])
def test_a_session_without_pytests_reporter_is_waited_for_at_its_end(reporter: object, start: Start) -> None:
    controlled = start()
    controlled.nodes[0].channel.say(result("test_a").encoded)
    controlled.config.reporter = reporter

    controlled.finish()

    assert [each["title"] for each in controlled.results()] == ["test_a"]
    controlled.controller.pytest_unconfigure()


def test_an_internal_error_of_pytest_has_no_summary(start: Start) -> None:
    controlled = start()

    controlled.finish(pytest.ExitCode.INTERNAL_ERROR)

    assert controlled.outcome is not None


@pytest.mark.parametrize("has_summary", [True, False], ids=["summary", "no summary"])
@pytest.mark.parametrize(
    ("undelivered", "status", "expected"),
    [
        ("fail", pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED),
        ("warn", pytest.ExitCode.OK, pytest.ExitCode.OK),
        ("fail", pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.INTERNAL_ERROR),
    ],
)
def test_only_losses_that_are_to_fail_change_a_good_exit_status(
    undelivered: str, status: int, expected: int, has_summary: bool, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file in the place of the report's directory")
    controlled = start(undelivered=undelivered)
    controlled.config.reporter.no_summary = not has_summary

    controlled.finish(status)
    if has_summary:
        controlled.section()

    assert controlled.status == expected


def test_a_session_without_losses_keeps_its_exit_status(start: Start) -> None:
    controlled = start(undelivered="fail")
    controlled.end()

    assert controlled.status == pytest.ExitCode.OK


def test_what_happened_is_said_once(start: Start) -> None:
    controlled = start()

    assert controlled.end()[:2] == ["Famacase", "report: out"]
    controlled.controller.pytest_unconfigure()
    assert controlled.config.said == []


def test_a_session_that_never_finished_says_what_happened_all_the_same(start: Start) -> None:
    controlled = start()
    controlled.nodes[0].channel.say(result("test_a").encoded)

    controlled.controller.pytest_unconfigure()

    assert controlled.config.said[0] == "famacase: report: out"
    assert controlled.config.said[1].startswith("famacase: collected 0, written 1 (1 passed), not written 0")


def test_a_session_that_never_began_has_nothing_to_say(tmp_path: Path) -> None:
    controlled = Controlled(tmp_path)

    controlled.controller.pytest_unconfigure()

    assert controlled.config.said == []


def test_the_summary_of_a_session_that_did_not_end_is_left_to_its_end(start: Start) -> None:
    """pytest-xdist and others may print a summary of their own at any time."""
    controlled = start()

    assert controlled.section() == []
    assert controlled.outcome is None


def test_the_copy_of_a_forked_child_takes_nothing_in_and_ends_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    controlled = start(undelivered="fail")
    with monkeypatch.context() as patch:
        patch.setattr(Origin, "forks", Origin.forks + 1)
        controlled.nodes[0].channel.say(result("test_a").encoded)
        controlled.finish()
        assert controlled.section() == []
        controlled.controller.pytest_runtest_logreport(report("setup", None))
        controlled.controller.pytest_unconfigure()
        assert controlled.config.said == []

    assert controlled.end()[1] == "report: out"
    assert controlled.results() == []


def test_tests_may_ask_for_the_run_where_there_is_none(start: Start) -> None:
    assert start().config.stash[user_fixtures.RUN]() == (None, "")


def test_nothing_is_left_of_a_session(start: Start, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    controlled = start()
    controlled.nodes[0].channel.say(result("test_a").encoded)
    controlled.end()

    controlled.controller.pytest_unconfigure()

    assert set(threading.enumerate()) <= before
    assert controlled.controller._session._temporary is not None
    assert not controlled.controller._session._temporary.exists()
