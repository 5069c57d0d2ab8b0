"""Upstream's statuses: the installed qase-pytest runs beside its copy, and both have to agree on each test."""

from __future__ import annotations

import sys
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from qase.commons.models.config.qaseconfig import QaseConfig
from qase.commons.utils import QaseUtils
from qase.pytest.plugin import QasePytestPlugin, QasePytestPluginSingleton

from famacase_xdist import clock
from famacase_xdist.recording.integrations.qase_status import UpstreamPolicy

MODULE = """
import unittest

import pytest

@pytest.fixture
def broken(): raise OSError("no database")

@pytest.fixture
def broken_assert(): assert False, "bad set-up"

@pytest.fixture
def skipping(): pytest.skip("in a fixture")

@pytest.fixture
def leaking():
    yield
    raise OSError("cannot close")

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_errs(): raise RuntimeError("boom")
def test_calls_fail(): pytest.fail("said")
def test_setup_errs(broken): pass
def test_setup_asserts(broken_assert): pass
def test_teardown_errs(leaking): pass
def test_fails_then_teardown_errs(leaking): assert False
def test_errs_then_teardown_errs(leaking): raise RuntimeError("boom")
def test_skips_then_teardown_errs(leaking): pytest.skip("later")
def test_skips_in_body(): pytest.skip("in the body")
def test_skips_in_fixture(skipping): pass

@pytest.mark.skip(reason="see: wiki")
def test_skip_mark(): pass

@pytest.mark.xfail(reason="known")
def test_xfail(): assert False

@pytest.mark.xfail(reason="known")
def test_xpass(): pass

@pytest.mark.xfail(reason="known", strict=True)
def test_strict_xpass(): pass

@pytest.mark.xfail(reason="known")
def test_xfail_setup_errs(broken): pass

@pytest.mark.xfail(reason="known", run=False)
def test_xfail_not_run(): pass

class Unit(unittest.TestCase):
    def test_unit_fails(self): self.fail("u")
    def test_unit_errs(self): raise RuntimeError("u")
    def test_unit_skips(self): self.skipTest("u")

    @unittest.expectedFailure
    def test_unit_unexpected_success(self): pass

def test_passes_at_the_end(): pass
"""
NAMES = [word.partition("(")[0] for word in MODULE.split("def ")[1:] if word.startswith("test_")]


class Reporter:
    """What upstream's plugin class asks of a reporter."""

    def __init__(self, xfail: Any = "blocked", xpass: Any = "failed") -> None:
        self.config = QaseConfig()
        self.config.framework.pytest.xfail_status.set_xfail(xfail)
        self.config.framework.pytest.xfail_status.set_xpass(xpass)
        self.statuses: dict[str, str | None] = {}

    def add_result(self, result: Any) -> None:
        self.statuses[result.title] = result.execution.status

    def get_execution_plan(self) -> None:
        return None

    def setup_profilers(self, runtime: object) -> None:
        return None

    def enable_profilers(self) -> None:
        return None

    def disable_profilers(self) -> None:
        return None


class Upstream(QasePytestPlugin):  # type: ignore[misc]  # upstream has no types
    """The plugin that upstream registers, without the hooks that write files."""

    pytest_sessionstart = None
    pytest_sessionfinish = None


Phase = tuple[pytest.CallInfo[None], pytest.TestReport]
#: Stands for the item of a test that is over: pytest has taken its fixtures from it.
ITEM: Any = object()


class Copy:
    """Asks a policy about each test as the recorder does, and keeps the phases."""

    def __init__(self, policy: UpstreamPolicy) -> None:
        self._policy = policy
        self.statuses: dict[str, str | None] = {}
        self.phases: dict[str, list[Phase]] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "setup":
            self._policy.begin()
        self._policy.add(item, call, report)
        self.phases.setdefault(item.name, []).append((call, report))
        self.statuses[item.name] = self._policy.status
        return report


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A session in this process, with upstream's plugin and its copy."""
    directory = tmp_path_factory.mktemp("statuses")
    (directory / "test_statuses_of_upstream.py").write_text(MODULE)
    (directory / "pytest.ini").write_text("[pytest]\n")
    reporter, copy = Reporter(), Copy(UpstreamPolicy(Reporter()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.setattr(QaseUtils, "get_real_time", staticmethod(clock.now))  # upstream's starts a process each time
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        options = ["-q", "-W", "ignore", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
        pytest.main([*options, str(directory)], plugins=[Upstream(reporter), copy])
    sys.modules.pop("test_statuses_of_upstream", None)
    return SimpleNamespace(upstream=reporter.statuses, copy=copy.statuses, phases=copy.phases, directory=directory)


@pytest.fixture
def policy() -> UpstreamPolicy:
    return UpstreamPolicy(Reporter())


# The same as upstream


@pytest.mark.parametrize("name", NAMES)
def test_a_test_has_the_status_that_upstream_gives_it(name: str, session: SimpleNamespace) -> None:
    assert session.copy[name] == session.upstream[name]


def test_upstream_was_asked_about_each_test(session: SimpleNamespace) -> None:
    assert set(session.upstream) == set(session.copy) == set(NAMES)
    assert len(NAMES) == 23


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("test_passes", "passed"),
        ("test_fails", "failed"),
        ("test_setup_errs", "invalid"),
        ("test_skip_mark", "skipped"),
        ("test_skips_in_fixture", "skipped"),
        ("test_xfail", "blocked"),
        ("test_xpass", "failed"),
    ],
)
def test_where_all_versions_of_upstream_agree_the_status_is_theirs(
    name: str, status: str, session: SimpleNamespace
) -> None:
    assert session.copy[name] == status


def test_nothing_is_written_where_the_tests_run(session: SimpleNamespace) -> None:
    names = {path.name for path in session.directory.iterdir()} - {"__pycache__"}

    assert names == {"pytest.ini", "test_statuses_of_upstream.py"}


# Attempts


def add(policy: UpstreamPolicy, phases: list[Phase]) -> None:
    for call, report in phases:
        policy.add(ITEM, call, report)


def test_an_attempt_knows_nothing_of_the_one_before(session: SimpleNamespace, policy: UpstreamPolicy) -> None:
    """Upstream's own rule is that a failed status stays."""
    policy.begin()
    add(policy, session.phases["test_fails"])
    assert policy.status == "failed"

    policy.begin()
    assert policy.status is None
    add(policy, session.phases["test_passes"])
    assert policy.status == "passed"


def test_two_policies_do_not_mix(session: SimpleNamespace, policy: UpstreamPolicy) -> None:
    other = UpstreamPolicy(Reporter(xfail="disabled"))
    for each in (policy, other):
        each.begin()
    for phase in session.phases["test_xfail"]:
        add(policy, [phase])
        add(other, [phase])

    assert (policy.status, other.status) == ("blocked", "disabled")


def test_upstreams_singleton_is_left_alone(session: SimpleNamespace) -> None:
    """The steps of the test would go into the result that is thrown away."""
    before = QasePytestPluginSingleton._instance
    policy = UpstreamPolicy(Reporter())
    policy.begin()
    add(policy, session.phases["test_passes"])

    assert QasePytestPluginSingleton._instance is before


# No status


def test_before_its_first_phase_an_attempt_has_no_status(policy: UpstreamPolicy) -> None:
    policy.begin()

    assert policy.status is None


def test_a_phase_that_upstream_passes_over_gives_no_status(session: SimpleNamespace, policy: UpstreamPolicy) -> None:
    policy.begin()
    add(policy, [phase for phase in session.phases["test_passes"] if phase[1].when == "teardown"])

    assert policy.status is None


@pytest.mark.parametrize("status", [7, ["blocked"], object()], ids=["number", "list", "object"])
def test_a_status_that_is_no_text_is_none(status: object, session: SimpleNamespace) -> None:
    policy = UpstreamPolicy(Reporter(xfail=status))
    policy.begin()
    add(policy, session.phases["test_xfail"])

    assert policy.status is None


@pytest.mark.filterwarnings("ignore::pluggy.PluggyTeardownRaisedWarning")  # upstream's is a wrapper of the old style
def test_a_mistake_of_upstream_is_raised_and_the_next_report_counts(
    session: SimpleNamespace, policy: UpstreamPolicy
) -> None:
    _, report = session.phases["test_fails"][1]
    policy.begin()

    with pytest.raises(AttributeError):
        policy.add(ITEM, object(), report)  # type: ignore[arg-type]
    add(policy, session.phases["test_fails"])

    assert policy.status == "failed"
