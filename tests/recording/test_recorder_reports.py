"""The recorder: reports that other plugins and other processes make, and subtests."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from harness.recorders import FILE, Session, Silent, report_of, steps_of

from famacase_xdist.results.frames import (
    IgnoredHead,
    ResultHead,
)

# Reports that no phase made


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
