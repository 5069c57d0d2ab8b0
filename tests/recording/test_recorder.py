"""The recorder in sessions of this process: which frames it sends, when, and that its mistakes harm no test."""

from __future__ import annotations

import copy
import json
import sys
import textwrap
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from qase.commons.utils import QaseUtils
from qase.pytest.plugin import QasePytestPluginSingleton

from famacase_xdist import clock, qase
from famacase_xdist.recording.recorder import Recorder
from famacase_xdist.results.body import Body, reference
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    Head,
    IgnoredHead,
    NoteHead,
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
            patch.setattr(QasePytestPluginSingleton, "_instance", recorder)
            patch.setattr(QaseUtils, "get_real_time", staticmethod(clock.now))  # upstream's starts a process each time
            status = pytest.main([*given, *options, "."], plugins=[*plugins, _Installing(recorder)])
        sys.modules.pop(FILE, None)
        return Ran(int(status), recorder, self.sink.frames)


class _Installing:
    """Registers the recorder, as an xdist worker does."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._recorder, "recorder")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


PASSED, FAILED = 0, 1

# Frames


def test_a_test_of_which_nothing_more_is_known_is_one_frame(session: Session) -> None:
    ran = session.run("def test_a(): pass")

    assert ran.kinds == [ResultHead]
    (head,), body = ran.heads, ran.body
    assert (head.nodeid, head.status, head.attempt) == (f"{FILE}.py::test_a", "passed", 1)
    assert (head.contents, dict(head.projects)) == ((), {})
    assert (body["id"], body["title"], body["message"]) == (head.id, "test_a", None)
    assert body["execution"]["thread"] == "gw1"


@pytest.mark.parametrize(
    ("decorator", "known"),
    [
        ("@qase.title('Buys')", {"title": "Buys"}),
        ("@qase.id(7)", {"testops_ids": [7]}),
        ("@qase.muted()", {"muted": True}),
        ("@qase.tags('slow')", {"tags": ["slow"]}),
        ("@pytest.mark.parametrize('number', [3])", {"params": {"number": "3"}}),
        ("@qase.project_id('DEMO', 3)", {"testops_project_mapping": {"DEMO": [3]}}),
    ],
    ids=["title", "id", "muted", "tags", "params", "projects"],
)
def test_what_is_known_of_a_test_is_sent_once_when_it_begins(
    decorator: str, known: dict[str, Any], session: Session
) -> None:
    """A process that dies in the test leaves nothing else."""
    argument = "number" if "parametrize" in decorator else ""

    ran = session.run(f"{decorator}\ndef test_a({argument}): pass")

    assert ran.kinds == [BegunHead, ResultHead]
    assert ran.frames[0].head == BegunHead(ran.heads[0].nodeid)
    description = json.loads(ran.frames[0].body)
    assert description.items() >= known.items()
    assert description["id"] == ran.heads[0].id
    assert ran.body.items() >= {name: value for name, value in known.items() if "project" not in name}.items()


class Looking:
    """Notes which frames there are at some moments."""

    def __init__(self, sink: ListSink) -> None:
        self._sink = sink
        self.seen: dict[str, list[type[Head]]] = {}

    def _look(self, moment: str) -> None:
        self.seen[moment] = [type(frame.head) for frame in self._sink.frames]

    def pytest_runtest_setup(self) -> None:
        self._look("set-up")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look(f"report of {report.when}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self) -> None:
        self._look("finish")


def test_a_test_is_begun_before_its_set_up_and_sent_before_anybody_hears_of_its_end(session: Session) -> None:
    """xdist's own hook tells the controller of the end."""
    looking = Looking(session.sink)

    session.run("@qase.id(1)\ndef test_a(): pass", looking)

    assert looking.seen == {
        "set-up": [BegunHead],
        "report of setup": [BegunHead],
        "report of call": [BegunHead],
        "report of teardown": [BegunHead],
        "finish": [BegunHead, ResultHead],
    }


def test_an_ignored_test_is_one_frame_that_says_so(session: Session) -> None:
    ran = session.run("""
        @qase.ignore()
        @qase.id(1)
        def test_ignored():
            qase.attach((b"x", "text/plain", "a.txt"))
            with qase.step("step"):
                assert False

        def test_next(): pass
    """)

    assert [frame.head for frame in ran.frames[:1]] == [IgnoredHead(f"{FILE}.py::test_ignored")]
    assert ran.kinds == [IgnoredHead, ResultHead]
    assert ran.verdicts == [("test_next", "passed", None)]


def test_a_test_that_is_dropped_while_it_runs_gets_no_result(session: Session) -> None:
    ran = session.run("""
        from qase.pytest.plugin import QasePytestPluginSingleton

        def test_dropped():
            QasePytestPluginSingleton.get_instance().drop()
            assert False

        def test_next(): pass
    """)

    assert ran.kinds == [IgnoredHead, ResultHead]
    assert ran.verdicts == [("test_next", "passed", None)]


@pytest.mark.parametrize(
    ("ignore", "kinds"), [(False, [BegunHead, ResultHead]), (True, [IgnoredHead])], ids=["reported", "ignored"]
)
def test_a_scenario_is_begun_or_ignored_as_its_tags_say(
    ignore: bool, kinds: list[type[Head]], session: Session
) -> None:
    def describe(item: pytest.Item, result: Any) -> bool:
        result.title = "Scenario"
        result.ignore = ignore
        return True

    def prepare(recorder: Recorder) -> None:
        recorder.scenarios = SimpleNamespace(describe=describe)  # type: ignore[assignment]

    ran = session.run("def test_a(): pass", prepare=prepare)

    assert ran.kinds == kinds
    assert [title for title, *_ in ran.verdicts] == ([] if ignore else ["Scenario"])


def test_a_mark_that_cannot_be_meant_is_said_once(session: Session) -> None:
    ran = session.run("""
        @qase.id("abc")
        @pytest.mark.parametrize("number", [1, 2])
        def test_a(number): pass
    """)

    assert ran.kinds == [NoteHead, BegunHead, ResultHead, BegunHead, ResultHead]
    head = ran.frames[0].head
    assert isinstance(head, NoteHead)
    assert "'abc' is left out: it is not the number of a case" in head.text


def test_a_result_says_which_projects_it_belongs_to(session: Session) -> None:
    ran = session.run("""
        from qase.pytest.plugin import QasePytestPluginSingleton

        @qase.project_id("ONE", [1, 2])
        @qase.project_id("TWO", 3)
        def test_marked(): pass

        @pytest.mark.parametrize("mapping", [{"ONE": ["x", "4"], 5: 6, "NONE": []}, 7, None], ids=["a", "b", "c"])
        def test_nonsense_of_its_own(mapping):
            QasePytestPluginSingleton.get_instance().runtime.result.testops_project_mapping = mapping
    """)

    assert [dict(head.projects) for head in ran.heads] == [
        {"ONE": [1, 2], "TWO": [3]},
        {"ONE": [4], "5": [6]},
        {},
        {},
    ]
    assert ran.recorder.failures == 0


def test_suites_of_one_name_keep_their_own_descriptions(session: Session) -> None:
    ran = session.run("""
        @qase.suite("Shop.Cart", "of the first")
        def test_first(): pass

        @qase.suite("Shop.Cart", "of the second")
        def test_second(): pass

        @qase.suite("Shop.Cart")
        def test_third(): pass
    """)

    suites = [[tuple(each.values()) for each in body["relations"]["suite"]["data"]] for body in ran.bodies]
    assert suites == [
        [("Shop", None), ("Cart", "of the first")],
        [("Shop", None), ("Cart", "of the second")],
        [("Shop", None), ("Cart", None)],
    ]


def test_nothing_is_written_where_the_tests_run(session: Session) -> None:
    """Upstream's own session hooks leave a lock and the run's number there."""
    session.run("def test_a(): pass")

    names = {path.name for path in session.directory.iterdir()} - {"__pycache__"}
    assert names == {"pytest.ini", f"{FILE}.py"}


def test_params_that_upstream_cannot_read_are_reported(session: Session) -> None:
    """Upstream's own hook takes each value for a positional argument, else it ends the session."""
    ran = session.run("@pytest.mark.parametrize('number', argvalues=[3])\ndef test_a(number): pass")

    assert ran.status == PASSED
    assert ran.body["params"] == {"number": "3"}


# Attempts


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


def test_each_attempt_is_a_result_of_its_own(session: Session) -> None:
    ran = session.run(FLAKY, options=("-p", "rerunfailures", "--reruns=2"))

    of_one = [BegunHead, PieceHead, ContentHead, ResultHead]
    assert ran.kinds == [*of_one, *of_one, *of_one, ResultHead]
    executions = [body["execution"] for body in ran.bodies]
    assert [(each["status"], each["attempt_index"], each["is_rerun"]) for each in executions] == [
        ("failed", 1, False),
        ("failed", 2, True),
        ("passed", 3, True),
        ("passed", 1, False),
    ]
    assert [head.attempt for head in ran.heads] == [1, 2, 3, 1]
    assert len({head.id for head in ran.heads}) == 4
    steps = [[step["data"]["action"] for step in body["steps"]] for body in ran.bodies]
    assert steps == [["step of 1"], ["step of 2"], ["step of 3"], []]
    assert ran.bodies[2]["message"] is None


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


def test_an_attempt_of_which_pytest_is_told_nothing_is_a_result_too(session: Session) -> None:
    text = """
        tries = []

        @pytest.fixture
        def leaking():
            yield
            if len(tries) == 2:
                raise OSError("second")

        def test_a(leaking):
            tries.append(1)
            if len(tries) == 1:
                raise OSError("first")
    """

    ran = session.run(text, Silent(3))

    assert [(status, (message or "").partition("\n")[0]) for _, status, message in ran.verdicts] == [
        ("invalid", "OSError: first"),
        ("invalid", "OSError: second"),
        ("passed", ""),
    ]
    assert [head.attempt for head in ran.heads] == [1, 2, 3]


# Phases


def test_all_phases_of_a_test_are_one_result(session: Session) -> None:
    ran = session.run("""
        @pytest.fixture
        def leaking():
            with qase.step("opens"):
                pass
            yield
            with qase.step("closes"):
                raise OSError("cannot close")

        def test_a(leaking):
            with qase.step("acts"):
                assert False, "first"
    """)

    body = ran.body
    assert body["execution"]["status"] == "failed"
    assert (body["message"] or "").startswith("AssertionError: first\nassert False\nOSError: cannot close")
    assert "leaking" in (body["message"] or "").splitlines()[-1], "the fixture is named"
    assert steps_of(body) == [("opens", "passed", []), ("acts", "failed", []), ("closes", "failed", [])]
    execution = ran.body["execution"]
    assert 0 < execution["start_time"] <= execution["end_time"]
    assert "first" in (execution["stacktrace"] or "")
    assert "cannot close" in (execution["stacktrace"] or "")


def test_a_step_that_the_test_left_open_ends_with_it(session: Session) -> None:
    ran = session.run("""
        @pytest.fixture(autouse=True)
        def fixture():
            yield
            with qase.step("teardown"):
                pass

        def test_skips():
            qase.step("left open").__enter__()
            pytest.skip("enough")

        def test_errs():
            qase.step("left open").__enter__()
            raise RuntimeError

        def test_passes():
            qase.step("left open").__enter__()
    """)

    skips, errs, passes = (steps_of(body) for body in ran.bodies)
    assert skips == [("left open", "skipped", []), ("teardown", "passed", [])]
    assert errs == [("left open", "failed", []), ("teardown", "passed", [])]
    assert passes == [("left open", "passed", [("teardown", "passed", [])])]
    assert all(step["execution"]["end_time"] for body in ran.bodies for step in body["steps"])


def test_nothing_of_a_test_is_kept_when_it_is_over(session: Session) -> None:
    ran = session.run("def test_a():\n    with qase.step('step'): pass")

    assert (ran.recorder.runtime.result, ran.recorder.runtime.steps) == (None, {})


class Late:
    """Registers a plugin after the recorder."""

    def __init__(self, plugin: object) -> None:
        self._plugin = plugin

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        session.config.pluginmanager.register(self._plugin)


class Forgiving:
    """A plugin that puts a report of its own, which passed, into the place of that of a call."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = copy.copy((yield))
        if call.when == "call":
            report.outcome, report.longrepr = "passed", None
        return report


@pytest.mark.parametrize("plugin", [Forgiving(), Late(Forgiving())], ids=["before", "after"])
def test_a_report_counts_as_the_last_plugin_left_it(plugin: object, session: Session) -> None:
    ran = session.run("def test_a(): assert False", plugin)

    assert ran.verdicts == [("test_a", "passed", None)]


class Preparing:
    """A plugin that prepares each test."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, None, None]:
        with qase.step("prepares"):
            pass
        yield


@pytest.mark.parametrize("plugin", [Preparing(), Late(Preparing())], ids=["before", "after"])
def test_a_step_of_another_plugins_set_up_belongs_to_the_test(plugin: object, session: Session) -> None:
    ran = session.run("def test_a(): pass\ndef test_b(): pass", plugin)

    assert [[step["data"]["action"] for step in body["steps"]] for body in ran.bodies] == [["prepares"], ["prepares"]]


POLICIES = """
    @pytest.fixture
    def late_skip():
        yield
        pytest.skip("late")

    @qase.muted()
    def test_muted(): assert False

    def test_skips_late(late_skip): pass

    @pytest.mark.xfail
    def test_xfail(): assert False

    @pytest.mark.xfail
    def test_xpass(): pass
"""


@pytest.mark.parametrize(
    ("policy", "statuses"),
    [
        ("famacase", ["blocked", "skipped", "disabled", "failed"]),
        # Upstream knows no muted tests and looks at no teardown that did not fail.
        ("upstream", ["failed", "passed", "disabled", "failed"]),
    ],
)
def test_the_status_policy_is_that_of_the_settings(policy: str, statuses: list[str], session: Session) -> None:
    ran = session.run(
        POLICIES,
        status_policy=policy,
        pytest_xfail_status_xfail="disabled",
        pytest_xfail_status_xpass="failed",
    )

    assert [head.status for head in ran.heads] == statuses
    assert [body["execution"]["status"] for body in ran.bodies] == statuses
    assert ran.recorder.failures == 0


def test_each_attempt_is_upstreams_first_one(session: Session) -> None:
    """Upstream's own rule is that a failed status stays."""
    ran = session.run(FLAKY, options=("-p", "rerunfailures", "--reruns=2"), status_policy="upstream")

    assert [head.status for head in ran.heads] == ["failed", "failed", "passed", "passed"]


# Reports that no phase made


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


class Telling:
    """Tells of failed reports while a test runs, or when it has ended."""

    def __init__(self, nodeid: str = "", *, is_subtest: bool = False, is_late: bool = False) -> None:
        self._nodeid = nodeid
        self._is_subtest = is_subtest
        self._is_late = is_late

    def _tell(self, item: pytest.Item) -> None:
        report = report_of(self._nodeid or item.nodeid, is_subtest=self._is_subtest)
        item.ihook.pytest_runtest_logreport(report=report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        if not self._is_late:
            self._tell(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        ended = yield
        if self._is_late:
            self._tell(item)
        return ended


def test_a_report_that_another_process_made_counts(session: Session) -> None:
    """As pytest-forked's."""
    ran = session.run("def test_a(): pass", Telling())

    assert ran.verdicts == [("test_a", "invalid", "killed by signal 9")]


@pytest.mark.parametrize("is_subtest", [False, True], ids=["phase", "subtest"])
def test_a_report_of_another_test_is_none_of_the_running_one(is_subtest: bool, session: Session) -> None:
    ran = session.run("def test_a(): pass", Telling(f"{FILE}.py::test_other", is_subtest=is_subtest))

    assert ran.verdicts == [("test_a", "passed", None)]
    assert ran.body["steps"] == []


@pytest.mark.parametrize("is_subtest", [False, True], ids=["phase", "subtest"])
def test_a_report_that_comes_after_the_end_changes_nothing(is_subtest: bool, session: Session) -> None:
    ran = session.run("def test_a(): pass\ndef test_b(): pass", Telling(is_subtest=is_subtest, is_late=True))

    assert ran.verdicts == [("test_a", "passed", None), ("test_b", "passed", None)]
    assert [body["steps"] for body in ran.bodies] == [[], []]
    assert ran.recorder.failures == 0


def test_a_report_of_a_dropped_test_is_none_of_the_next_one(session: Session) -> None:
    text = """
        from qase.pytest.plugin import QasePytestPluginSingleton

        @pytest.fixture
        def dropping():
            yield
            QasePytestPluginSingleton.get_instance().drop()

        def test_dropped(dropping): assert False
        def test_next(): pass
    """

    ran = session.run(text, Silent(1))

    assert ran.kinds == [IgnoredHead, ResultHead]
    assert ran.verdicts == [("test_next", "passed", None)]


class Repeating:
    """Tells of each report of a call once more."""

    def __init__(self) -> None:
        self._told: list[pytest.TestReport] = []

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report not in self._told:
            self._told.append(report)
            self._session.config.hook.pytest_runtest_logreport(report=report)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session


def test_a_report_that_is_told_twice_counts_once(session: Session) -> None:
    ran = session.run("def test_a(): raise OSError('only once')", Repeating())

    stacktrace = ran.body["execution"]["stacktrace"] or ""
    assert stacktrace.count("E   OSError: only once") == 1


# Subtests


def test_a_subtest_of_any_plugin_is_a_step_and_no_phase(session: Session) -> None:
    """Its report is the only sign, and makes no call."""
    ran = session.run("def test_a():\n    with qase.step('step'): pass", Telling(is_subtest=True))

    assert steps_of(ran.body) == [("subtest [one]", "invalid", []), ("step", "passed", [])]
    assert ran.verdicts == [("test_a", "invalid", "subtest [one]: killed by signal 9")]


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest has subtests since version 9")
def test_a_subtest_of_pytest_is_a_step_around_its_own_steps(session: Session) -> None:
    text = """
        def test_a(subtests):
            with subtests.test("one", number=1):
                with qase.step("in one"):
                    print("said in one")
            with subtests.test("two"):
                assert False, "in two"
            with qase.step("after"):
                pass

        def test_b(): pass
    """

    ran = session.run(text, pytest_capture_logs=True)

    first, second = ran.bodies
    assert steps_of(first) == [
        ("subtest [one] (number=1)", "passed", [("in one", "passed", [])]),
        ("subtest [two]", "failed", []),
        ("after", "passed", []),
    ]
    assert [each["file_name"] for each in first["steps"][0]["attachments"]] == ["stdout.txt"]
    assert first["execution"]["status"] == "failed"
    assert first["message"] == "subtest [two]: AssertionError: in two\nassert False"
    assert (second["execution"]["status"], second["steps"]) == ("passed", [])


# Attachments


def test_attachments_go_ahead_of_the_result_that_names_them(session: Session) -> None:
    ran = session.run("""
        def test_a():
            qase.attach((b"of the test", "text/plain", "a.txt"))
            with qase.step("step"):
                qase.attach(("of the step", "text/plain", "b.txt"))
    """)

    assert ran.kinds == [PieceHead, ContentHead, PieceHead, ContentHead, ResultHead]
    assert ran.contents == [("a.txt", b"of the test"), ("b.txt", b"of the step")]
    (head,), body = ran.heads, ran.body
    digests = [frame.head.digest for frame in ran.frames if isinstance(frame.head, ContentHead)]
    assert list(head.contents) == digests
    assert body["attachments"] == [{"id": reference(head.id, digests[0]), "file_name": "a.txt"}]
    assert body["steps"][0]["attachments"] == [{"id": reference(head.id, digests[1]), "file_name": "b.txt"}]


def test_equal_content_is_sent_once_and_named_by_each_result(session: Session) -> None:
    ran = session.run("""
        @pytest.mark.parametrize("number", [1, 2])
        def test_a(number):
            qase.attach((b"same", "text/plain", "a.txt"), (b"same", "text/plain", "b.txt"))
    """)

    assert ran.kinds == [BegunHead, PieceHead, ContentHead, ResultHead, BegunHead, ResultHead]
    first, second = ran.heads
    assert first.contents == second.contents
    assert len(first.contents) == 1
    assert [[each["file_name"] for each in body["attachments"]] for body in ran.bodies] == [["a.txt", "b.txt"]] * 2


def test_an_attachment_that_cannot_be_sent_is_a_line_of_the_message(session: Session) -> None:
    ran = session.run("""
        def test_a():
            qase.attach("missing.txt", (b"here", "text/plain", "a.txt"))

        def test_b():
            qase.attach("missing.txt")
            pytest.skip("later")
    """)

    left_out = "Attachment left out: missing.txt: No such file or directory"
    assert ran.verdicts == [("test_a", "passed", left_out), ("test_b", "skipped", f"later\n{left_out}")]
    assert [[each["file_name"] for each in body["attachments"]] for body in ran.bodies] == [["a.txt"], []]
    assert ran.recorder.failures == 0


def test_an_attachment_outside_a_test_is_dropped(session: Session) -> None:
    ran = session.run("""
        def test_a(): pass

        def setup_module():
            qase.attach((b"of the first test", "text/plain", "in.txt"))

        def pytest_generate_tests():
            qase.attach((b"of no test", "text/plain", "out.txt"))

        qase.attach((b"of no test", "text/plain", "out.txt"))
    """)
    ran.recorder.add_attachments((b"of no test", "text/plain", "out.txt"))

    assert ran.contents == [("in.txt", b"of the first test")]


LOGGING = """
    import logging, sys

    @pytest.fixture
    def broken():
        print("of the set-up")
        raise OSError

    @pytest.fixture
    def chatty():
        print("of the set-up")
        yield
        print("of the teardown")

    def test_passes(chatty):
        logging.getLogger().warning("logged")
        print("printed")
        print("to stderr", file=sys.stderr)

    def test_setup_fails(broken): pass
"""


def test_captured_output_is_attached_where_that_is_set(session: Session) -> None:
    ran = session.run(LOGGING, pytest_capture_logs=True)

    names = [[each["file_name"] for each in body["attachments"]] for body in ran.bodies]
    assert names == [["log.txt", "stdout.txt", "stderr.txt"], ["stdout.txt"]]
    contents = ran.contents
    assert contents[1] == ("stdout.txt", b"of the set-up\nprinted\n")
    assert b"logged" in contents[0][1]
    assert contents[2:] == [("stderr.txt", b"to stderr\n"), ("stdout.txt", b"of the set-up\n")]


def test_captured_output_is_not_attached_by_default(session: Session) -> None:
    assert session.run(LOGGING).kinds == [ResultHead, ResultHead]


# Interruptions


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("pytest.exit('enough')", "pytest.exit: enough"),
        ("raise KeyboardInterrupt", "the session was interrupted while this test was running: KeyboardInterrupt"),
    ],
    ids=["exit", "interrupt"],
)
@pytest.mark.parametrize("phase", ["set-up", "call", "teardown"])
def test_an_interruption_settles_the_attempt(ending: str, message: str, phase: str, session: Session) -> None:
    body = {each: ending if each == phase else "pass" for each in ("set-up", "call", "teardown")}

    ran = session.run(f"""
        @pytest.fixture
        def fixture():
            {body["set-up"]}
            yield
            {body["teardown"]}

        def test_a(fixture):
            {body["call"]}

        def test_never_run(): pass
    """)

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert ran.kinds == [ResultHead]
    assert ran.verdicts == [("test_a", "invalid", message)]
    stacktrace = ran.body["execution"]["stacktrace"] or ""
    assert f"{FILE}.py" in stacktrace.splitlines()[0], "pytest's own frames are left out"
    assert ran.recorder.failures == 0


@pytest.mark.parametrize("plugins", [(), (Silent(1),)], ids=["told", "not-told"])
def test_a_failure_before_an_interruption_is_kept(plugins: tuple[object, ...], session: Session) -> None:
    text = """
        @pytest.fixture
        def fixture():
            yield
            pytest.exit("enough")

        def test_a(fixture):
            with qase.step("step"):
                assert False, "first"
    """

    ran = session.run(text, *plugins)

    assert ran.verdicts == [("test_a", "failed", "AssertionError: first\nassert False\npytest.exit: enough")]


class Interrupting(ListSink):
    """A sink in which Ctrl-C comes just after it has taken a result."""

    def send(self, frame: AnyFrame) -> None:
        super().send(frame)
        if isinstance(frame.head, ResultHead) and len(self.frames) == 1:
            raise KeyboardInterrupt


def test_an_interruption_while_a_result_is_sent_does_not_send_it_twice(session: Session) -> None:
    session.sink = Interrupting()

    ran = session.run("def test_a(): pass\ndef test_b(): pass")

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert ran.verdicts == [("test_a", "passed", None)]


def test_an_interruption_ends_the_steps_that_are_open(session: Session) -> None:
    ran = session.run("""
        def test_a():
            qase.step("open").__enter__()
            pytest.exit("enough")
    """)

    (step,) = ran.body["steps"]
    assert step["execution"]["status"] == "invalid"
    assert step["execution"]["end_time"] is not None


def test_an_interruption_between_two_tests_makes_no_result(session: Session) -> None:
    class Exiting:
        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logfinish(self) -> None:
            pytest.exit("enough")

    ran = session.run("def test_a(): pass\ndef test_b(): pass", Exiting())

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert ran.verdicts == [("test_a", "passed", None)]


# Mistakes of ours


class Broken(ListSink):
    """A sink that raises once for frames of a kind."""

    def __init__(self, kind: type[Head]) -> None:
        super().__init__()
        self._kind = kind
        self.raised = 0

    def send(self, frame: AnyFrame) -> None:
        if isinstance(frame.head, self._kind) and not self.raised:
            self.raised += 1
            raise RuntimeError("a mistake of ours")
        super().send(frame)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (NoteHead, [BegunHead, PieceHead, ContentHead, ResultHead, IgnoredHead, ResultHead]),
        (BegunHead, [NoteHead, PieceHead, ContentHead, ResultHead, IgnoredHead, ResultHead]),
        (IgnoredHead, [NoteHead, BegunHead, PieceHead, ContentHead, ResultHead, ResultHead]),
        # The ledger makes the first test's result of pytest's reports.
        (ContentHead, [NoteHead, BegunHead, PieceHead, IgnoredHead, ResultHead]),
        (ResultHead, [NoteHead, BegunHead, PieceHead, ContentHead, IgnoredHead, ResultHead]),
    ],
)
def test_a_mistake_of_ours_costs_no_test_and_is_counted(
    kind: type[Head], sent: list[type[Head]], session: Session
) -> None:
    session.sink = broken = Broken(kind)

    ran = session.run("""
        @qase.id("no number")
        def test_first():
            qase.attach((b"x", "text/plain", "a.txt"))

        @qase.ignore()
        def test_ignored(): pass

        def test_second(): pass
    """)

    assert ran.status == PASSED
    assert (broken.raised, ran.recorder.failures) == (1, 1)
    assert ran.kinds == sent
    assert ran.verdicts[-1] == ("test_second", "passed", None)
    assert {status for _, status, _ in ran.verdicts} == {"passed"}


def test_a_failed_test_stays_failed_beside_a_mistake_of_ours(session: Session) -> None:
    session.sink = Broken(ResultHead)

    ran = session.run("def test_first(): assert False\ndef test_second(): assert False, 'second'")

    assert ran.status == FAILED
    assert ran.verdicts == [("test_second", "failed", "AssertionError: second\nassert False")]


def test_an_interruption_goes_through_although_its_result_cannot_be_sent(session: Session) -> None:
    session.sink = Broken(ResultHead)

    ran = session.run("def test_a(): pytest.exit('enough')\ndef test_b(): pass")

    assert ran.status == pytest.ExitCode.INTERRUPTED
    assert (ran.kinds, ran.recorder.failures) == ([], 1)


def test_a_block_for_our_mistakes_lets_interruptions_through() -> None:
    recorder = Recorder(Settings(), ListSink(), "main")

    for number in range(3):
        with recorder.guard:
            raise ValueError(number)
    with pytest.raises(KeyboardInterrupt), recorder.guard:
        raise KeyboardInterrupt
    with recorder.guard, recorder.guard:
        pass

    assert recorder.failures == 3


def test_the_hooks_do_nothing_where_no_test_runs() -> None:
    sink = ListSink()
    recorder = Recorder(Settings(), sink, "main")

    recorder.pytest_runtest_logfinish()
    recorder.pytest_runtest_logreport(report_of(""))
    recorder.pytest_runtest_logfinish()

    assert (sink.frames, recorder.failures) == ([], 0)
