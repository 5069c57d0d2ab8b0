"""The recorder: what it makes of a test's phases."""

from __future__ import annotations

import copy
from collections.abc import Generator

import pytest
from harness.recorders import FLAKY, Session, steps_of

from famacase_xdist import qase


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
