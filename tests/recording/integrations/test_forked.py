"""pytest-forked: a test that runs in a child is described by its parent."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from harness.forking import status_in_child
from harness.recorders import FILE, Session, report_of

from famacase_xdist.recording.integrations import forked
from famacase_xdist.recording.recorder import Recorder
from famacase_xdist.results.frames import BegunHead, IgnoredHead, ResultHead

TEXT = """
    @qase.id(7)
    @qase.title("a title")
    @pytest.mark.forked
    def test_forked():
        with qase.step("in the child"): pass

    @qase.ignore()
    @pytest.mark.forked
    def test_ignored(): pass

    @qase.id(8)
    def test_here(): pass
"""


class Forking:
    """Runs tests in a child and tells of them, as pytest-forked does."""

    def __init__(self, *, is_for_all: bool = False) -> None:
        self._is_for_all = is_for_all

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        parser.addoption("--forked", action="store_true", default=self._is_for_all)

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "forked: fork for this test")
        recorder: Recorder | None = config.pluginmanager.get_plugin("recorder")
        assert recorder is not None
        assert forked.is_loaded(config)
        config.pluginmanager.register(forked.Forked(recorder.describe))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: pytest.Item | None) -> bool | None:
        if not (item.config.option.forked or item.get_closest_marker("forked")):
            return None
        from _pytest.runner import runtestprotocol

        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        assert status_in_child(lambda: runtestprotocol(item, log=False, nextitem=nextitem)) == 0
        item.ihook.pytest_runtest_logreport(report=report_of(item.nodeid))
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


@pytest.mark.process
def test_a_test_in_a_child_is_described_before_and_has_no_result(session: Session) -> None:
    ran = session.run(TEXT, Forking())

    assert ran.kinds == [BegunHead, IgnoredHead, BegunHead, ResultHead]
    assert [frame.head.nodeid for frame in ran.frames if isinstance(frame.head, IgnoredHead)] == [
        f"{FILE}.py::test_ignored"
    ]
    described = json.loads(ran.frames[0].body)
    assert (described["title"], described["testops_ids"]) == ("a title", [7])
    assert ran.verdicts == [("test_here", "passed", None)]
    assert ran.recorder.failures == 0


@pytest.mark.process
def test_the_option_is_for_all_tests(session: Session) -> None:
    ran = session.run(TEXT, Forking(is_for_all=True))

    assert ran.kinds == [BegunHead, IgnoredHead, BegunHead]


def test_without_the_plugin_there_is_nothing_to_do() -> None:
    assert not forked.is_loaded(SimpleNamespace(option=SimpleNamespace()))  # type: ignore[arg-type]
