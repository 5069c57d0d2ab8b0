"""The recorder: which frames it sends, and when."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from harness.recorders import FILE, FLAKY, PASSED, Session, Silent

from famacase_xdist.recording.recorder import Recorder
from famacase_xdist.results.frames import (
    BegunHead,
    ContentHead,
    Head,
    IgnoredHead,
    NoteHead,
    PieceHead,
    ResultHead,
)
from famacase_xdist.results.sinks import ListSink


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
