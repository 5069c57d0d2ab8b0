"""The status policy, on the reports that pytest really makes of a test's phases."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from famacase_xdist.recording.verdict import Verdict
from famacase_xdist.results.status import STATUSES
from famacase_xdist.settings.settings import Settings

MODULE = """
import unittest

import pytest

@pytest.fixture
def broken(): raise OSError("no database")

@pytest.fixture
def broken_assert(): assert False, "bad set-up"

@pytest.fixture
def leaking():
    yield
    raise OSError("cannot close")

@pytest.fixture
def leaking_assert():
    yield
    assert False, "bad teardown"

@pytest.fixture
def leaking_too():
    yield
    raise ValueError("still open")

@pytest.fixture
def raising_group():
    yield
    raise ExceptionGroup("own", [KeyError("a"), KeyError("b")])

@pytest.fixture
def late_skip():
    yield
    pytest.skip("late skip")

@pytest.fixture
def skipping(): pytest.skip("JIRA-3: in a fixture")

@pytest.fixture
def xfailing(): pytest.xfail("in: a fixture")

def test_passes(): pass

def test_fails(): assert 1 == 2, "one: two"

def test_raises_subclass():
    class OwnError(AssertionError): pass
    raise OwnError("own")

def test_calls_fail(): pytest.fail("said: no")

def test_calls_fail_without_trace(): pytest.fail("quiet", pytrace=False)

def test_errs(): raise RuntimeError("boom")

def test_raises_group(): raise ExceptionGroup("many", [AssertionError("a"), ValueError("b")])

def test_exits(): raise SystemExit(3)

def test_unprintable():
    class Hostile(Exception):
        def __str__(self): raise RuntimeError("no text")
    raise Hostile

@pytest.mark.timeout(0.2)
def test_hangs():
    while True: pass

def test_setup_errs(broken): pass

def test_setup_asserts(broken_assert): pass

def test_setup_and_teardown_err(leaking, broken): pass

def test_teardown_errs(leaking): pass

def test_teardown_asserts(leaking_assert): pass

def test_three_teardown_errors(leaking, leaking_too, raising_group): pass

def test_fails_then_teardown_errs(leaking): assert False, "first"

def test_errs_then_teardown_asserts(leaking_assert): raise RuntimeError("first")

def test_skips_then_teardown_errs(leaking): pytest.skip("JIRA-1: later")

def test_passes_then_teardown_skips(late_skip): pass

def test_fails_then_teardown_skips(late_skip): assert False, "first"

def test_errs_then_teardown_skips(late_skip): raise RuntimeError("first")

@pytest.mark.skip(reason="JIRA-1: see wiki: page")
def test_skip_mark(): pass

@pytest.mark.skip
def test_skip_mark_bare(): pass

@pytest.mark.skipif(True, reason="not: here")
def test_skipif(): pass

def test_skip_in_body(): pytest.skip("JIRA-2: in the body")

def test_skip_in_fixture(skipping): pass

def test_importorskip(): pytest.importorskip("no_such_module_anywhere", reason="needs: it")

@pytest.mark.xfail(reason="known: bug")
def test_xfail(): assert False

@pytest.mark.xfail(reason="known: bug", run=False)
def test_xfail_not_run(): raise RuntimeError("ran")

@pytest.mark.xfail(reason="known: bug")
def test_xfail_setup_errs(broken): pass

@pytest.mark.xfail(reason="known: bug", raises=ValueError)
def test_xfail_other_exception(): raise KeyError("other")

def test_xfail_in_body(): pytest.xfail("not: yet")

def test_xfail_in_fixture(xfailing): pass

@pytest.mark.xfail(reason="known: bug")
def test_xpass(): pass

@pytest.mark.xfail(reason="known: bug", strict=True)
def test_strict_xpass(): pass

@pytest.mark.xfail(reason="known: bug")
def test_xfail_then_teardown_errs(leaking): assert False, "first"

@pytest.mark.xfail(reason="known: bug")
def test_xpass_then_teardown_errs(leaking): pass

@pytest.mark.xfail(reason="known: bug", strict=True)
def test_strict_xpass_then_teardown_errs(leaking): pass

@pytest.mark.xfail(reason="known: bug", raises=OSError)
def test_fails_then_teardown_xfails(leaking): assert False, "first"

def test_xfail_in_body_then_teardown_errs(leaking): pytest.xfail("not: yet")

def in_doctest(error=None):
    '''
    >>> in_doctest()
    3
    '''
    if error: raise error
    return 2

def raises_in_doctest():
    '''
    >>> in_doctest(RuntimeError("boom: it says"))
    '''

def mixed_in_doctest():
    '''
    >>> print("a")
    b
    >>> in_doctest(OSError("late"))
    '''

def passes_in_doctest():
    '''
    >>> 1
    1
    '''

class Unit(unittest.TestCase):
    def test_unit_fails(self): self.fail("u: fail")

    def test_unit_skips(self): self.skipTest("u: skip")

    @unittest.skip("u: skip")
    def test_unit_skip_decorator(self): pass

    @unittest.expectedFailure
    def test_unit_expected_failure(self): self.fail("x")

    @unittest.expectedFailure
    def test_unit_unexpected_success(self): pass

    def test_unit_errs(self): raise RuntimeError("u: boom")
"""

Phases = dict[str, list[tuple[pytest.TestReport, pytest.CallInfo[None]]]]
DEFAULT = Settings()
XFAIL_MAPPED = Settings(pytest_xfail_status_xfail="blocked", pytest_xfail_status_xpass="failed")


class _Phases:
    def __init__(self) -> None:
        self.of: Phases = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.of.setdefault(item.name, []).append((report, call))
        return report


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Phases:
    """Each test's reports with the calls they were made of, from a run in this process."""
    directory = tmp_path_factory.mktemp("verdict")
    (directory / "test_outcomes.py").write_text(MODULE)
    (directory / "pytest.ini").write_text("[pytest]\n")
    recorded = _Phases()
    absent = ("famacase_xdist.plugin", "qase_pytest", "xdist", "rerunfailures", "cacheprovider", "faulthandler")
    without = [arg for name in absent for arg in ("-p", f"no:{name}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        doctests = ("--doctest-modules", "--doctest-continue-on-failure")
        options = ["-q", "-W", "ignore", "--tb=short", "--timeout=0", *doctests, *without]
        pytest.main([*options, str(directory)], plugins=[recorded])
    return recorded.of


def verdict_on(phases: Phases, name: str, settings: Settings = DEFAULT) -> Verdict:
    """Take all phases of a test into account."""
    verdict = Verdict()
    for report, call in phases[name]:
        verdict.add(report, call, settings)
    return verdict


#: Test, status and message of each outcome.
OUTCOMES: list[tuple[str, str, str | None]] = [
    ("test_passes", "passed", None),
    ("test_fails", "failed", "AssertionError: one: two\nassert 1 == 2"),
    ("test_raises_subclass", "failed", "test_outcomes.test_raises_subclass.<locals>.OwnError: own"),
    ("test_calls_fail", "invalid", "Failed: said: no"),
    ("test_calls_fail_without_trace", "invalid", "Failed: quiet"),
    ("test_errs", "invalid", "RuntimeError: boom"),
    ("test_raises_group", "invalid", "ExceptionGroup: many (2 sub-exceptions)"),
    ("test_exits", "invalid", "SystemExit: 3"),
    ("test_unprintable", "invalid", "test_outcomes.test_unprintable.<locals>.Hostile: <exception str() failed>"),
    ("test_hangs", "invalid", "Failed: Timeout (>0.2s) from pytest-timeout."),
    ("test_setup_errs", "invalid", "OSError: no database"),
    ("test_setup_asserts", "invalid", "AssertionError: bad set-up\nassert False"),
    ("test_setup_and_teardown_err", "invalid", "OSError: no database\nOSError: cannot close"),
    ("test_teardown_errs", "invalid", "OSError: cannot close"),
    ("test_teardown_asserts", "invalid", "AssertionError: bad teardown\nassert False"),
    (
        "test_three_teardown_errors",
        "invalid",
        "OSError: cannot close\nValueError: still open\nExceptionGroup: own (2 sub-exceptions)",
    ),
    ("test_fails_then_teardown_errs", "failed", "AssertionError: first\nassert False\nOSError: cannot close"),
    (
        "test_errs_then_teardown_asserts",
        "invalid",
        "RuntimeError: first\nAssertionError: bad teardown\nassert False",
    ),
    ("test_skips_then_teardown_errs", "invalid", "JIRA-1: later\nOSError: cannot close"),
    ("test_passes_then_teardown_skips", "skipped", "late skip"),
    ("test_fails_then_teardown_skips", "failed", "AssertionError: first\nassert False\nlate skip"),
    ("test_errs_then_teardown_skips", "invalid", "RuntimeError: first\nlate skip"),
    ("test_skip_mark", "skipped", "JIRA-1: see wiki: page"),
    ("test_skip_mark_bare", "skipped", "unconditional skip"),
    ("test_skipif", "skipped", "not: here"),
    ("test_skip_in_body", "skipped", "JIRA-2: in the body"),
    ("test_skip_in_fixture", "skipped", "JIRA-3: in a fixture"),
    ("test_importorskip", "skipped", "needs: it"),
    ("test_xfail", "skipped", "known: bug"),
    ("test_xfail_not_run", "skipped", "[NOTRUN] known: bug"),
    ("test_xfail_setup_errs", "skipped", "known: bug"),
    ("test_xfail_other_exception", "invalid", "KeyError: 'other'"),
    ("test_xfail_in_body", "skipped", "not: yet"),
    ("test_xfail_in_fixture", "skipped", "in: a fixture"),
    ("test_xpass", "passed", "known: bug"),
    ("test_strict_xpass", "failed", "[XPASS(strict)] known: bug"),
    ("test_xfail_then_teardown_errs", "skipped", "known: bug"),
    ("test_xpass_then_teardown_errs", "skipped", "known: bug"),
    ("test_fails_then_teardown_xfails", "failed", "AssertionError: first\nassert False\nknown: bug"),
    ("test_xfail_in_body_then_teardown_errs", "invalid", "not: yet\nOSError: cannot close"),
    ("test_outcomes.in_doctest", "failed", "in_doctest(): expected 3, got 2"),
    (
        "test_outcomes.raises_in_doctest",
        "invalid",
        'in_doctest(RuntimeError("boom: it says")): RuntimeError: boom: it says',
    ),
    (
        "test_outcomes.mixed_in_doctest",
        "invalid",
        'print("a"): expected b, got a\nin_doctest(OSError("late")): OSError: late',
    ),
    ("test_outcomes.passes_in_doctest", "passed", None),
    ("test_unit_fails", "failed", "AssertionError: u: fail"),
    ("test_unit_skips", "skipped", "u: skip"),
    ("test_unit_skip_decorator", "skipped", "u: skip"),
    ("test_unit_unexpected_success", "invalid", "Failed: Unexpected success"),
    ("test_unit_errs", "invalid", "RuntimeError: u: boom"),
]


@pytest.mark.parametrize(("name", "status"), [row[:2] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES])
def test_an_outcome_has_its_status(name: str, status: str, phases: Phases) -> None:
    assert verdict_on(phases, name).final(DEFAULT, muted=False) == status


@pytest.mark.parametrize(("name", "message"), [row[::2] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES])
def test_an_outcome_says_why(name: str, message: str | None, phases: Phases) -> None:
    assert verdict_on(phases, name).message == message


@pytest.mark.parametrize("name", ["test_xfail_then_teardown_errs", "test_xpass_then_teardown_errs"])
def test_a_reason_that_two_phases_have_is_said_once(name: str, phases: Phases) -> None:
    message = verdict_on(phases, name).message or ""

    assert message.count("known: bug") == 1


def test_an_expected_failure_of_unittest_is_an_xfail(phases: Phases) -> None:
    assert verdict_on(phases, "test_unit_expected_failure", XFAIL_MAPPED).status == "blocked"


@pytest.mark.parametrize("name", ["test_strict_xpass_then_teardown_errs", "test_fails_then_teardown_xfails"])
def test_a_failed_test_stays_failed_where_its_xfail_mark_takes_in_the_teardown(name: str, phases: Phases) -> None:
    assert verdict_on(phases, name).status == "failed"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("test_xfail", "blocked"),
        ("test_xfail_not_run", "blocked"),
        ("test_xfail_setup_errs", "blocked"),
        ("test_xfail_in_body", "blocked"),
        ("test_xfail_in_fixture", "blocked"),
        ("test_xpass", "failed"),
        ("test_strict_xpass", "failed"),
        ("test_skip_mark", "skipped"),
        ("test_passes", "passed"),
    ],
)
def test_xfail_and_xpass_get_the_statuses_that_are_set(name: str, status: str, phases: Phases) -> None:
    assert verdict_on(phases, name, XFAIL_MAPPED).final(XFAIL_MAPPED, muted=False) == status


def test_a_strict_xpass_is_failed_whatever_is_set_for_xpass(phases: Phases) -> None:
    settings = Settings(pytest_xfail_status_xpass="passed")

    assert verdict_on(phases, "test_strict_xpass", settings).status == "failed"


def test_a_teardown_error_makes_an_xfail_invalid_whatever_is_set_for_xfail(phases: Phases) -> None:
    assert verdict_on(phases, "test_xfail_in_body_then_teardown_errs", XFAIL_MAPPED).status == "invalid"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("test_fails", ["one: two"]),
        ("test_setup_errs", ["no database"]),
        ("test_fails_then_teardown_errs", ["first", "cannot close"]),
        ("test_setup_and_teardown_err", ["no database", "cannot close"]),
        ("test_xfail", ["assert False"]),
        ("test_strict_xpass", ["[XPASS(strict)] known: bug"]),
        ("test_xfail_then_teardown_errs", ["first", "cannot close"]),
        ("test_strict_xpass_then_teardown_errs", ["[XPASS(strict)]", "cannot close"]),
        ("test_fails_then_teardown_xfails", ["first", "cannot close"]),
    ],
)
def test_the_stacktrace_has_every_failure(name: str, shown: list[str], phases: Phases) -> None:
    stacktrace = verdict_on(phases, name).stacktrace or ""

    assert [text for text in shown if text in stacktrace] == shown


@pytest.mark.parametrize("name", ["test_passes", "test_skip_mark", "test_skip_in_body", "test_xpass"])
def test_what_did_not_fail_has_no_stacktrace(name: str, phases: Phases) -> None:
    assert verdict_on(phases, name).stacktrace is None


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("test_passes", "passed"),
        ("test_xpass", "passed"),
        ("test_fails", "blocked"),
        ("test_errs", "blocked"),
        ("test_setup_errs", "blocked"),
        ("test_teardown_errs", "blocked"),
        ("test_skip_mark", "blocked"),
        ("test_xfail", "blocked"),
        ("test_strict_xpass", "blocked"),
    ],
)
def test_a_muted_test_that_did_not_pass_is_blocked(name: str, status: str, phases: Phases) -> None:
    assert verdict_on(phases, name).final(DEFAULT, muted=True) == status


MAPPING = Settings(
    status_mapping={"invalid": "failed", "failed": "invalid", "blocked": "disabled", "skipped": "passed"}
)


@pytest.mark.parametrize(
    ("name", "muted", "status"),
    [
        ("test_errs", False, "failed"),
        ("test_fails", False, "invalid"),
        ("test_skip_mark", False, "passed"),
        ("test_xfail", False, "passed"),
        ("test_passes", False, "passed"),
        ("test_fails", True, "disabled"),
        ("test_skip_mark", True, "disabled"),
        ("test_passes", True, "passed"),
    ],
)
def test_the_mapping_comes_last_and_only_once(name: str, muted: bool, status: str, phases: Phases) -> None:
    assert verdict_on(phases, name, MAPPING).final(MAPPING, muted=muted) == status


def test_an_attempt_that_no_phase_decided_is_invalid() -> None:
    assert Verdict().final(DEFAULT, muted=False) == "invalid"


def _report(item: Any, call: pytest.CallInfo[None]) -> pytest.TestReport:
    return pytest.TestReport.from_item_and_call(item, call)


def test_a_test_whose_call_never_came_is_not_passed(request: pytest.FixtureRequest) -> None:
    call = pytest.CallInfo.from_call(lambda: None, when="setup")
    verdict = Verdict()

    verdict.add(_report(request.node, call), call, DEFAULT)

    assert verdict.final(DEFAULT, muted=False) == "invalid"


def test_a_report_that_another_plugin_failed_without_an_exception_says_its_text(request: pytest.FixtureRequest) -> None:
    call = pytest.CallInfo.from_call(lambda: None, when="call")
    report = _report(request.node, call)
    report.outcome, report.longrepr = "failed", "a snapshot differs"
    verdict = Verdict()

    verdict.add(report, call, DEFAULT)

    assert (verdict.status, verdict.message) == ("failed", "a snapshot differs")


@pytest.mark.parametrize(
    ("text", "status"),
    [("killed by signal 9", "invalid"), ("AssertionError: in another process", "invalid")],
)
def test_a_report_that_no_call_made_is_invalid(text: str, status: str, request: pytest.FixtureRequest) -> None:
    report = pytest.TestReport(request.node.nodeid, ("", 0, ""), {}, "failed", text, "call")
    verdict = Verdict()

    verdict.add(report, None, DEFAULT)

    assert (verdict.status, verdict.message) == (status, text)


INTERRUPTED = "the session was interrupted while this test was running"
ENDS: list[tuple[BaseException, str]] = [
    (pytest.exit.Exception("enough: here"), "pytest.exit: enough: here"),
    (KeyboardInterrupt(), f"{INTERRUPTED}: KeyboardInterrupt"),
    (KeyboardInterrupt("SIGTERM"), f"{INTERRUPTED}: KeyboardInterrupt: SIGTERM"),
    (RuntimeError("of another plugin"), "RuntimeError: of another plugin"),
]


@pytest.mark.parametrize(("error", "message"), ENDS, ids=[type(error).__name__ for error, _ in ENDS])
def test_a_test_that_an_interruption_ends_is_invalid_and_says_how(error: BaseException, message: str) -> None:
    try:
        raise error
    except BaseException as raised:
        verdict = Verdict()
        verdict.interrupt(raised, __file__)

    assert (verdict.final(DEFAULT, muted=False), verdict.message) == ("invalid", message)
    assert verdict.final(Settings(status_policy="upstream"), muted=False, upstream="passed") == "invalid"
    assert verdict.stacktrace is not None
    assert "raise error" in verdict.stacktrace


def test_an_interruption_after_the_teardown_changes_nothing(phases: Phases) -> None:
    verdict = verdict_on(phases, "test_passes")
    verdict.interrupt(KeyboardInterrupt(), "")

    assert (verdict.final(DEFAULT, muted=False), verdict.message) == ("passed", None)


def test_a_failed_test_that_is_then_interrupted_stays_failed_and_tells_both(phases: Phases) -> None:
    verdict = Verdict()
    for report, call in phases["test_fails"][:2]:
        verdict.add(report, call, DEFAULT)
    verdict.interrupt(pytest.exit.Exception("enough"), "")

    assert verdict.final(DEFAULT, muted=False) == "failed"
    assert verdict.message == "AssertionError: one: two\nassert 1 == 2\npytest.exit: enough"


@pytest.mark.parametrize("status", ["passed", "failed", "skipped"])
def test_upstreams_policy_takes_its_status_and_knows_no_blocked(status: str, phases: Phases) -> None:
    settings = Settings(status_policy="upstream", status_mapping={"failed": "disabled"})
    verdict = verdict_on(phases, "test_errs", settings)

    reported = verdict.final(settings, muted=True, upstream=status)

    assert reported == ("disabled" if status == "failed" else status)


def test_upstreams_policy_has_ours_where_upstream_says_nothing(phases: Phases) -> None:
    settings = Settings(status_policy="upstream")

    assert verdict_on(phases, "test_errs", settings).final(settings, muted=True) == "invalid"


def subtest_of(phases: Phases, name: str, when: str = "call") -> tuple[pytest.TestReport, pytest.CallInfo[None]]:
    """Return the report of a phase, which the tests take for a subtest's, and its call."""
    return next((report, call) for report, call in phases[name] if report.when == when)


@pytest.mark.parametrize(
    ("subtests", "status", "message"),
    [
        (["test_passes"], "passed", None),
        (["test_skip_in_body"], "passed", "subtest 0: JIRA-2: in the body"),
        (["test_xfail_in_body"], "passed", "subtest 0: not: yet"),
        (["test_fails"], "failed", "subtest 0: AssertionError: one: two\nassert 1 == 2"),
        (["test_errs"], "invalid", "subtest 0: RuntimeError: boom"),
        (
            ["test_skip_in_body", "test_errs", "test_passes", "test_fails"],
            "invalid",
            "subtest 0: JIRA-2: in the body\nsubtest 1: RuntimeError: boom\n"
            "subtest 3: AssertionError: one: two\nassert 1 == 2",
        ),
    ],
)
def test_a_failed_subtest_fails_its_test_and_a_skipped_one_does_not_skip_it(
    subtests: list[str], status: str, message: str | None, phases: Phases
) -> None:
    verdict = Verdict()
    for number, name in enumerate(subtests):
        verdict.add_subtest(f"subtest {number}", *subtest_of(phases, name), DEFAULT)
    for report, call in phases["test_passes"]:
        verdict.add(report, call, DEFAULT)

    assert (verdict.final(DEFAULT, muted=False), verdict.message) == (status, message)


def test_subtests_do_not_make_a_test_passed_whose_call_never_ended(phases: Phases) -> None:
    verdict = Verdict()

    verdict.add_subtest("subtest", *subtest_of(phases, "test_passes"), DEFAULT)
    verdict.add_subtest("subtest", *subtest_of(phases, "test_skip_in_body"), DEFAULT)

    assert verdict.final(DEFAULT, muted=False) == "invalid"


SOME_STATUS = st.sampled_from(STATUSES)


@settings(deadline=None)
@given(
    names=st.lists(st.sampled_from([row[0] for row in OUTCOMES]), max_size=3),
    policy=st.sampled_from(["famacase", "upstream"]),
    mapping=st.dictionaries(SOME_STATUS, SOME_STATUS),
    xfail=SOME_STATUS,
    xpass=SOME_STATUS,
    muted=st.booleans(),
    upstream=st.none() | SOME_STATUS,
    is_interrupted=st.booleans(),
)
def test_whatever_happens_the_status_is_one_of_the_servers(
    phases: Phases,
    names: list[str],
    policy: str,
    mapping: dict[str, str],
    xfail: str,
    xpass: str,
    muted: bool,
    upstream: str | None,
    is_interrupted: bool,
) -> None:
    chosen = Settings(
        status_policy=policy,
        status_mapping=mapping,
        pytest_xfail_status_xfail=xfail,
        pytest_xfail_status_xpass=xpass,
    )
    verdict = Verdict()
    for name in names:
        verdict.add_subtest(name, *subtest_of(phases, name, phases[name][0][0].when), chosen)
        for report, call in phases[name]:
            verdict.add(report, call, chosen)
    if is_interrupted:
        verdict.interrupt(KeyboardInterrupt(), "")

    given_by_upstream = upstream if policy == "upstream" else None
    assert verdict.final(chosen, muted=muted, upstream=given_by_upstream) in STATUSES
