"""Sessions in the process of a test, under a recorder whose frames are kept."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from famacase_xdist.recording.recorder import Recorder
from famacase_xdist.recording.upstream import Place
from famacase_xdist.results.body import Body
from famacase_xdist.results.frames import (
    AnyFrame,
    ContentHead,
    Head,
    PieceHead,
    ResultHead,
)
from famacase_xdist.results.sinks import ListSink
from famacase_xdist.settings.settings import Settings

FILE = "test_recorded"


class Ran:
    """A session that has ended: pytest's status, the recorder, and the frames it sent."""

    def __init__(self, status: int, recorder: Recorder, frames: Sequence[AnyFrame]) -> None:
        self.status = status
        self.recorder = recorder
        self.frames = frames

    @property
    def kinds(self) -> list[type[Head]]:
        """The types of the frames' heads."""
        return [type(frame.head) for frame in self.frames]

    @property
    def heads(self) -> list[ResultHead]:
        """The heads of the results."""
        return [frame.head for frame in self.frames if isinstance(frame.head, ResultHead)]

    @property
    def bodies(self) -> list[Body]:
        """The results, decoded."""
        return [json.loads(frame.body) for frame in self.frames if isinstance(frame.head, ResultHead)]

    @property
    def body(self) -> Body:
        """The only result."""
        (body,) = self.bodies
        return body

    @property
    def verdicts(self) -> list[tuple[str, str, str | None]]:
        """Name, status and message of each result."""
        return [(each["title"], each["execution"]["status"], each["message"]) for each in self.bodies]

    @property
    def contents(self) -> list[tuple[str, bytes]]:
        """Name and content of each attachment that was sent."""
        found, content = [], b""
        for frame in self.frames:
            if isinstance(frame.head, PieceHead):
                content += frame.body
            elif isinstance(frame.head, ContentHead):
                found.append((frame.head.name, content))
                content = b""
        return found


def steps_of(content: Any) -> list[tuple[str, str, Any]]:
    """Return action, status and steps below of each step of a result or a step."""
    return [(step["data"]["action"], step["execution"]["status"], steps_of(step)) for step in content["steps"]]


class Session:
    """Runs tests in this process under a recorder that stands in upstream's singleton until the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sink = ListSink()

    def run(
        self,
        text: str,
        *plugins: object,
        options: Sequence[str] = (),
        prepare: Callable[[Recorder], None] = lambda recorder: None,
        **settings: Any,
    ) -> Ran:
        """Run a module of tests.

        Args:
            text: The module's text.
            plugins: More plugins of the session.
            options: Of pytest's command line.
            prepare: Called with the recorder before the first test.
            settings: Of the recorder.
        """
        (self.directory / "pytest.ini").write_text("[pytest]\n")
        header = "import pytest\nfrom famacase_xdist import qase\n"
        (self.directory / f"{FILE}.py").write_text(header + textwrap.dedent(text), encoding="utf-8")
        recorder = Recorder(Settings(mode="testops", **settings), self.sink, "gw1")
        prepare(recorder)
        # The last of these looks for garbage five times at the end of each session.
        absent = ("cacheprovider", "faulthandler", "unraisableexception")
        given = ["-q", "-W", "ignore", "--import-mode=importlib", *(f"-pno:{name}" for name in absent)]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.directory)
            patch.delenv("PYTEST_ADDOPTS", raising=False)
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            place = Place(recorder)
            status = pytest.main([*given, *options, "."], plugins=[*plugins, _Installing(recorder)])
            place.give_back()
        sys.modules.pop(FILE, None)
        return Ran(int(status), recorder, self.sink.frames)


class _Installing:
    """Registers the recorder, as an xdist worker does."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._recorder, "recorder")


PASSED, FAILED = 0, 1


FLAKY = """
    tries = []

    @qase.id(1)
    def test_flaky():
        tries.append(1)
        with qase.step(f"step of {len(tries)}"):
            qase.attach((f"{len(tries)}", "text/plain", "a.txt"))
            assert len(tries) > 2

    def test_steady(): pass
"""


class Silent:
    """A plugin that runs each test some times, and tells of the last time only, when it is over."""

    def __init__(self, times: int) -> None:
        self._times = times

    def pytest_runtest_protocol(self, item: Any, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for _ in range(self._times):
            item._initrequest()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


class SubtestReport(pytest.TestReport):
    """As that of pytest since version 9, and of the plugin pytest-subtests before."""

    context = SimpleNamespace(msg="one", kwargs={})

    @property
    def head_line(self) -> str:
        return f"{self.location[2]} [one]"


def report_of(nodeid: str, *, is_subtest: bool = False) -> pytest.TestReport:
    """Make a report of a call that failed, or of a subtest."""
    make = SubtestReport if is_subtest else pytest.TestReport
    return make(nodeid, (f"{FILE}.py", 0, "test"), {}, "failed", "killed by signal 9", "call")
