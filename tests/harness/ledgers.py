"""A ledger and the events that are entered into it, and the reports of suites that pytest runs in this process."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from famacase_xdist.controller.events import Crashed, Event, Received, Reported
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.recording import install
from famacase_xdist.results.frames import AnyFrame, Frame, IgnoredHead, ResultHead
from famacase_xdist.results.sinks import ListSink
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

from . import results
from .collecting import modules_forgotten

TEST = "t.py::test_a"


def report(when: str, outcome: str = "passed", nodeid: str = TEST) -> pytest.TestReport:
    """Return pytest's report of a phase."""
    longrepr = None if outcome == "passed" else "E   ValueError: boom"
    return pytest.TestReport(nodeid, ("t.py", 0, "test_a"), {}, outcome, longrepr, when, duration=0.25)  # type: ignore[arg-type]


def received(frame: AnyFrame, worker: str = "gw0") -> Received:
    """Return the event of a frame that arrives from a worker."""
    return Received(worker, frame.encoded)


def recorded(nodeid: str = TEST, status: str = "passed", attempt: int = 1, worker: str = "gw0") -> Received:
    """Return the event of a result that a recorder sent."""
    return received(results.result(nodeid=nodeid, status=status, thread=worker, attempt=attempt), worker)


def described(nodeid: str = TEST, worker: str = "gw0", **more: object) -> Received:
    """Return the event of a test that its recorder describes when it begins."""
    return received(results.described(nodeid, **more), worker)


def ignored(nodeid: str = TEST, worker: str = "gw0") -> Received:
    """Return the event of a test that is not to be reported."""
    return received(Frame(IgnoredHead(nodeid)), worker)


def reported(*phases: str, nodeid: str = TEST, worker: str = "gw0") -> list[Event]:
    """Return the events of phases that passed."""
    return [Reported(worker, nodeid, [report(when, nodeid=nodeid)]) for when in phases]


def crashed(nodeid: str = TEST, worker: str = "gw0", exit: str = "signal SIGSEGV") -> Crashed:
    """Return the event of a worker that died in a test."""
    return Crashed(worker, nodeid, exit, "worker 'gw0' crashed while running 't.py::test_a'")


SETUP, CALL, TEARDOWN = reported("setup", "call", "teardown")


@dataclass
class Kept:
    """A ledger, and the frames that it returned to be kept in the outbox."""

    ledger: Ledger = field(default_factory=Ledger)
    frames: list[AnyFrame] = field(default_factory=list)

    def enter(self, *events: Event) -> Kept:
        """Enter events one by one."""
        for event in events:
            self.frames += self.ledger.enter(event)
        return self

    def close(self, *, report_not_run: bool = False) -> Kept:
        """Close the ledger."""
        self.frames += self.ledger.close(report_not_run=report_not_run)
        return self

    @property
    def results(self) -> list[tuple[str, str, int]]:
        """The node id, status and attempt of each result."""
        heads = [frame.head for frame in self.frames if isinstance(frame.head, ResultHead)]
        return [(head.nodeid, head.status, head.attempt) for head in heads]

    @property
    def contents(self) -> list[dict[str, Any]]:
        """The JSON of each result, decoded."""
        return [json.loads(frame.body) for frame in self.frames if isinstance(frame.head, ResultHead)]

    @property
    def content(self) -> dict[str, Any]:
        """The JSON of the only result, decoded."""
        (content,) = self.contents
        return content

    @property
    def running(self) -> list[str]:
        """The tests that still run, as an outbox with these frames has them."""
        outbox = Outbox(None)
        outbox.accept(self.frames, "a test")
        running = [nodeid for nodeid, _ in outbox.running()]
        outbox.close()
        return running


class Heard:
    """A plugin that keeps the reports of a session in the form in which xdist sends them to the controller."""

    def __init__(self) -> None:
        self.reports: dict[str, list[pytest.TestReport]] = {}
        self.not_collected: list[pytest.CollectReport] = []
        self.sink = ListSink()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        install.install(session.config, Settings(mode="testops"), self.sink, "main")

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        install.uninstall(config)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        self.reports.setdefault(name, []).append(pytest.TestReport._from_json(report._to_json()))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.not_collected.append(pytest.CollectReport._from_json(report._to_json()))


def heard(directory: Path, **files: str) -> Heard:
    """Run a suite in this process, and return the plugin that kept its reports.

    Args:
        directory: Where the files are written.
        files: The text of each file by its path, with `__` for `/` and without `.py`.
    """
    for name, text in files.items():
        file = directory / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
    plugin = Heard()
    absent = ("cacheprovider", "qase_pytest", "famacase_xdist.plugin", "asyncio", "randomly", "playwright")
    without = [f"-pno:{name}" for name in absent]
    with pytest.MonkeyPatch.context() as patch, modules_forgotten(directory):
        patch.chdir(directory)
        pytest.main([*without, "--import-mode=importlib", "-c", "/dev/null", "--rootdir=.", "."], plugins=[plugin])
    return plugin
