"""Where qase-pytest tells an outcome or a step wrong: its answer beside ours, for the same suite, in real processes.

Upstream's answers are those of qase-pytest 9.0; where another version has another answer the row is not compared.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.server import Backend, running
from harness.suites import Suite

from famacase_xdist.results.status import STATUSES

SUITE = """
    import asyncio
    import importlib
    import os
    import threading
    import time
    import unittest

    import pytest

    qase = importlib.import_module(os.environ["DECORATORS"]).qase

    @pytest.fixture
    def broken(): raise OSError("no database")

    @pytest.fixture
    def leaking():
        yield
        raise OSError("cannot close")

    @pytest.fixture
    def leaking_too():
        yield
        raise ValueError("still open")

    @pytest.fixture
    def skipping(): pytest.skip("JIRA-3: in a fixture")

    @pytest.fixture
    def xfailing(): pytest.xfail("in: a fixture")

    @pytest.fixture(scope="module")
    def shared(): raise OSError("no server")

    def test_calls_fail(): pytest.fail("said: no")

    def test_errs(): raise RuntimeError("boom")

    @pytest.mark.skip(reason="JIRA-1: see wiki: page")
    def test_skip_mark(): pass

    def test_skip_in_body(): pytest.skip("JIRA-2: in the body")

    def test_skip_in_fixture(skipping): pass

    def test_importorskip(): pytest.importorskip("no_such_module_anywhere", reason="needs: it")

    class TestUnit(unittest.TestCase):
        def test_unit_skips(self): self.skipTest("u: skip")

        @unittest.skip("u: decorated")
        def test_unit_skip_decorator(self): pass

        @unittest.expectedFailure
        def test_unit_expected_failure(self): self.fail("x")

        def test_unit_errs(self): raise RuntimeError("u: boom")

    @pytest.mark.xfail(reason="known: bug")
    def test_xfail(): assert False

    @pytest.mark.xfail(reason="known: bug")
    def test_xpass(): pass

    @pytest.mark.xfail(reason="known: bug", strict=True)
    def test_strict_xpass(): pass

    @pytest.mark.xfail(reason="known: bug", run=False)
    def test_xfail_not_run(): raise RuntimeError("ran")

    @pytest.mark.xfail(reason="known: bug")
    def test_xfail_setup_errs(broken): pass

    def test_xfail_in_body(): pytest.xfail("not: yet")

    def test_xfail_in_fixture(xfailing): pass

    def test_skips_then_teardown_errs(leaking): pytest.skip("JIRA-1: later")

    def test_two_teardown_errors(leaking, leaking_too): pass

    def test_shared_one(shared): pass

    def test_shared_two(shared): pass

    @qase.muted()
    def test_muted(): assert False

    @qase.ignore()
    def test_ignored():
        with qase.step("of the ignored test"): pass

    def test_after_ignored():
        with qase.step("of its own"): pass

    def test_fail_in_step():
        with qase.step("outer"):
            with qase.step("inner"):
                pytest.fail("enough")

    def test_skip_in_step():
        with qase.step("outer"):
            pytest.skip("enough: now")

    def test_fail_in_step_is_caught():
        with pytest.raises(pytest.fail.Exception):
            with qase.step("fails"):
                pytest.fail("on purpose")
        with qase.step("later"):
            pass

    def test_attribute_error_in_step():
        with qase.step("breaks"):
            None.nothing

    def test_attribute_error_is_caught():
        with pytest.raises(AttributeError):
            with qase.step("breaks"):
                None.nothing

    def test_steps_in_threads():
        begun = [threading.Event(), threading.Event()]
        def work(number):
            begun[number - 1].wait(10) if number else None
            with qase.step(f"thread {number}"):
                begun[number].set()
                begun[1].wait(10)
        with qase.step("outer"):
            threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
            for each in threads: each.start()
            for each in threads: each.join()
        with qase.step("after"):
            pass

    def test_steps_in_gather():
        async def work(name, began, turn, over):
            with qase.step(name):
                began.set()
                await turn.wait()
                with qase.step(f"in {name}"):
                    await asyncio.sleep(0)
                over.set()
        async def main():
            second_began, first_over, nothing = (asyncio.Event() for _ in range(3))
            with qase.step("outer"):
                first = work("task 0", nothing, second_began, first_over)
                second = work("task 1", second_began, first_over, nothing)
                await asyncio.gather(first, second)
            with qase.step("after"):
                pass
        asyncio.run(main())

    @qase.step("awaits")
    async def awaits():
        await asyncio.sleep(0.4)

    def test_async_def_step():
        asyncio.run(awaits())

    @qase.step("yields")
    def yields():
        for number in (1, 2):
            time.sleep(0.2)
            yield number

    def test_generator_step():
        for number in yields():
            with qase.step(f"got {number}"): pass

    class TestSubtests(unittest.TestCase):
        def test_unit_subtests(self):
            for number in range(3):
                with self.subTest("unit", number=number):
                    if number == 0: self.fail("u: zero")
                    if number == 1: self.skipTest("u: one")

    def test_subtests(subtests):
        with qase.step("before"): pass
        for number in range(4):
            with subtests.test("numbers", number=number):
                with qase.step(f"inside {number}"):
                    if number == 1: assert False, "one"
                    if number == 2: pytest.skip("two: skipped")
                    if number == 3: raise RuntimeError("three")
        with qase.step("after"): pass

    def test_subtest_skips(subtests):
        with subtests.test("good"): pass
        with subtests.test("skipped"): pytest.skip("why: not")

    def test_passes(): pass
"""
MODULE_SKIP = """
    import pytest

    pytest.skip("JIRA-9: the whole module", allow_module_level=True)

    def test_never(): pass
"""
OUTCOME = tuple[str, str | None] | None
PLAIN = "RuntimeError: generator didn't stop after throw()"
CACHED = (
    'cached: the module-scoped fixture "shared" failed in test_outcomes.py::test_shared_one and was not set up again'
)
SHARED = "OSError: no server\nin the set-up of fixture shared (module, test_outcomes.py)"
LEAKING = "OSError: cannot close\nin the teardown of fixture leaking (function, test_outcomes.py)"
LEAKING_TOO = "ValueError: still open\nin the teardown of fixture leaking_too (function, test_outcomes.py)"
GROUP = "ExceptionGroup: errors while tearing down <Function test_two_teardown_errors> (2 sub-exceptions)"

#: Test, upstream's status and message, ours. Settings in all sessions: an xfail is blocked, an xpass is invalid.
OUTCOMES: list[tuple[str, OUTCOME, OUTCOME]] = [
    ("test_calls_fail", ("failed", "Failed: said: no"), ("invalid", "Failed: said: no")),
    ("test_errs", ("failed", "RuntimeError: boom"), ("invalid", "RuntimeError: boom")),
    ("test_skip_mark", ("skipped", " JIRA-1"), ("skipped", "JIRA-1: see wiki: page")),
    ("test_skip_in_body", ("skipped", None), ("skipped", "JIRA-2: in the body")),
    ("test_skip_in_fixture", ("skipped", " JIRA-3"), ("skipped", "JIRA-3: in a fixture")),
    ("test_importorskip", ("skipped", None), ("skipped", "needs: it")),
    ("test_unit_skips", ("skipped", None), ("skipped", "u: skip")),
    ("test_unit_skip_decorator", ("skipped", None), ("skipped", "u: decorated")),
    ("test_unit_expected_failure", ("blocked", ""), ("blocked", None)),
    ("test_unit_errs", ("failed", "RuntimeError: u: boom"), ("invalid", "RuntimeError: u: boom")),
    ("test_module_skip.py", None, ("skipped", "JIRA-9: the whole module")),
    ("test_xfail", ("blocked", "known: bug"), ("blocked", "known: bug")),
    ("test_xpass", ("invalid", "known: bug"), ("invalid", "known: bug")),
    ("test_strict_xpass", ("failed", "Test failed"), ("failed", "[XPASS(strict)] known: bug")),
    (
        "test_xfail_not_run",
        ("skipped", "_pytest.outcomes.XFailed: [NOTRUN] known: bug"),
        ("blocked", "[NOTRUN] known: bug"),
    ),
    ("test_xfail_setup_errs", ("skipped", "OSError: no database"), ("blocked", "known: bug")),
    ("test_xfail_in_body", ("blocked", "not: yet"), ("blocked", "not: yet")),
    ("test_xfail_in_fixture", ("skipped", "_pytest.outcomes.XFailed: in: a fixture"), ("blocked", "in: a fixture")),
    (
        "test_skips_then_teardown_errs",
        ("invalid", "OSError: cannot close"),
        ("invalid", f"JIRA-1: later\n{LEAKING}"),
    ),
    ("test_two_teardown_errors", ("invalid", GROUP), ("invalid", f"{LEAKING}\n{LEAKING_TOO}")),
    ("test_shared_one", ("invalid", "OSError: no server"), ("invalid", SHARED)),
    ("test_shared_two", ("invalid", "OSError: no server"), ("invalid", f"{SHARED}\n{CACHED}")),
    ("test_muted", ("failed", "AssertionError: assert False"), ("blocked", "AssertionError: assert False")),
    (
        "test_attribute_error_in_step",
        ("failed", PLAIN),
        ("invalid", "AttributeError: 'NoneType' object has no attribute 'nothing'"),
    ),
    ("test_attribute_error_is_caught", ("failed", PLAIN), ("passed", None)),
    (
        "test_subtests",
        ("failed", "RuntimeError: three"),
        (
            "failed",
            "subtest [numbers] (number=1): AssertionError: one\nassert False\n"
            "subtest [numbers] (number=2): two: skipped\n"
            "subtest [numbers] (number=3): RuntimeError: three",
        ),
    ),
    ("test_subtest_skips", ("skipped", None), ("passed", "subtest [skipped]: why: not")),
    (
        "test_unit_subtests",
        ("failed", "AssertionError: u: zero"),
        ("failed", "subtest [unit] (number=0): AssertionError: u: zero\nsubtest [unit] (number=1): u: one"),
    ),
    ("test_passes", ("passed", None), ("passed", None)),
]

#: Test, upstream's steps and ours: a line for each with its status, indented as nested.
STEPS: list[tuple[str, list[str], list[str]]] = [
    ("test_after_ignored", ["of the ignored test passed", "of its own passed"], ["of its own passed"]),
    ("test_fail_in_step", ["outer untested", "  inner untested"], ["outer failed", "  inner failed"]),
    ("test_skip_in_step", ["outer untested"], ["outer skipped"]),
    ("test_fail_in_step_is_caught", ["fails untested", "  later passed"], ["fails failed", "later passed"]),
    ("test_attribute_error_in_step", ["breaks untested"], ["breaks failed"]),
    (
        "test_steps_in_threads",
        ["outer passed", "  thread 0 passed", "    thread 1 passed", "after passed"],
        ["outer passed", "  thread 0 passed", "  thread 1 passed", "after passed"],
    ),
    (
        "test_steps_in_gather",
        [
            "outer passed",
            "  task 0 passed",
            "    task 1 passed",
            "      in task 0 passed",
            "  in task 1 passed",
            "after passed",
        ],
        [
            "outer passed",
            "  task 0 passed",
            "    in task 0 passed",
            "  task 1 passed",
            "    in task 1 passed",
            "after passed",
        ],
    ),
    (
        "test_generator_step",
        ["yields passed", "got 1 passed", "got 2 passed"],
        ["yields passed", "got 1 passed", "got 2 passed"],
    ),
    (
        "test_subtests",
        [
            "before passed",
            "inside 0 passed",
            "inside 1 failed",
            "inside 2 untested",
            "  inside 3 failed",
            "  after passed",
        ],
        [
            "before passed",
            "subtest [numbers] (number=0) passed",
            "  inside 0 passed",
            "subtest [numbers] (number=1) failed",
            "  inside 1 failed",
            "subtest [numbers] (number=2) skipped",
            "  inside 2 skipped",
            "subtest [numbers] (number=3) invalid",
            "  inside 3 failed",
            "after passed",
        ],
    ),
    (
        "test_unit_subtests",
        [],
        [
            "subtest [unit] (number=0) failed",
            "subtest [unit] (number=1) skipped",
            "subtest [unit] (number=2) passed",
        ],
    ),
]
#: Upstream ends these steps before their work is done; they take this many milliseconds.
LASTING = [("test_async_def_step", 400), ("test_generator_step", 400)]

needs_answers = pytest.mark.skipif(
    not importlib.metadata.version("qase-pytest").startswith("9."), reason="the answers are those of qase-pytest 9"
)
has_subtests = hasattr(pytest, "Subtests") or importlib.util.find_spec("pytest_subtests") is not None
needs_subtests = pytest.mark.skipif(not has_subtests, reason="subtests are in pytest 9, before that in pytest-subtests")
MODES = {"no-xdist": ("-p", "no:xdist"), "n2": ("-n2", "--dist", "loadfile")}
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Session:
    """What one session left: results by title, and how often each came."""

    results: Results
    count: int
    text: str


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    path = tmp_path_factory.mktemp("suite")
    suite = Suite(path, tmp_path_factory.mktemp("state"))
    suite.write("test_outcomes.py", SUITE)
    suite.write("test_module_skip.py", MODULE_SKIP)
    suite.env.update(
        DECORATORS="qase.pytest", QASE_PYTEST_XFAIL_STATUS_XFAIL="blocked", QASE_PYTEST_XFAIL_STATUS_XPASS="invalid"
    )
    return suite


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running(tmp_path_factory.mktemp("server") / "server.sqlite3") as server:
        yield server


@pytest.fixture(scope="module")
def upstream(outcomes: Suite) -> Results:
    """What upstream writes into its file report while we are not active."""
    ran = outcomes.run("-n0", QASE_MODE="report", FAMACASE_STATE_DIR="")
    files = (outcomes.path / "build" / "qase-report" / "results").glob("*.json")
    results = {result["title"]: result for result in map(_loaded, files)}
    assert results, ran.text
    return results


def _loaded(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def reported(suite: Suite, server: Backend, *args: str, **env: str) -> Session:
    """Run the suite with us and give what the server has of it."""
    ran = suite.run(*args, **server.environment(), **env)
    run = max(server.store.runs(), key=lambda run: run.id)
    results = server.store.results(run.id)
    return Session({result["title"]: result for result in results}, len(results), ran.text)


@pytest.fixture(scope="module", params=MODES)
def ours(outcomes: Suite, servers: Backend, request: pytest.FixtureRequest) -> Session:
    return reported(outcomes, servers, *MODES[request.param], DECORATORS="famacase_xdist")


def outcome_of(results: Results, title: str) -> OUTCOME:
    result = results.get(title)
    return (result["execution"]["status"], result["message"]) if result else None


def lines_of(steps: list[dict[str, Any]], indent: str = "") -> list[str]:
    lines = []
    for step in steps:
        lines.append(f"{indent}{step['data']['action']} {step['execution']['status']}")
        lines += lines_of(step["steps"], f"{indent}  ")
    return lines


def with_marks(rows: list[Any]) -> list[Any]:
    return [pytest.param(*row, marks=needs_subtests if "subtest" in row[0] else (), id=row[0]) for row in rows]


@needs_answers
@pytest.mark.parametrize(("title", "theirs"), with_marks([row[:2] for row in OUTCOMES]))
def test_upstreams_outcome(title: str, theirs: OUTCOME, upstream: Results) -> None:
    assert outcome_of(upstream, title) == theirs


@pytest.mark.parametrize(("title", "expected"), with_marks([row[::2] for row in OUTCOMES]))
def test_our_outcome(title: str, expected: OUTCOME, ours: Session) -> None:
    assert outcome_of(ours.results, title) == expected, ours.text


@needs_answers
@pytest.mark.parametrize(("title", "theirs"), with_marks([row[:2] for row in STEPS]))
def test_upstreams_steps(title: str, theirs: list[str], upstream: Results) -> None:
    assert lines_of(upstream[title]["steps"]) == theirs


@pytest.mark.parametrize(("title", "expected"), with_marks([row[::2] for row in STEPS]))
def test_our_steps(title: str, expected: list[str], ours: Session) -> None:
    assert lines_of(ours.results[title]["steps"]) == expected


@pytest.mark.parametrize(("title", "milliseconds"), LASTING)
def test_the_step_of_a_coroutine_or_generator_lasts_as_long_as_its_work(
    title: str, milliseconds: int, upstream: Results, ours: Session
) -> None:
    assert upstream[title]["steps"][0]["execution"]["duration"] < milliseconds
    assert ours.results[title]["steps"][0]["execution"]["duration"] >= milliseconds


def test_steps_of_threads_overlap_as_they_did(ours: Session) -> None:
    (outer, _) = ours.results["test_steps_in_threads"]["steps"]
    first, second = (step["execution"] for step in outer["steps"])

    assert first["start_time"] <= second["start_time"] <= first["end_time"]


@needs_subtests
def test_a_subtest_lasts_from_its_begin_to_its_end(ours: Session) -> None:
    steps = [step for step in ours.results["test_subtests"]["steps"] if step["steps"]]

    for subtest in steps:
        (inside,) = subtest["steps"]
        assert subtest["execution"]["start_time"] <= inside["execution"]["start_time"]
        assert inside["execution"]["end_time"] <= subtest["execution"]["end_time"]


def test_every_result_comes_once(ours: Session) -> None:
    assert ours.count == len(ours.results), ours.text
    assert {result["execution"]["status"] for result in ours.results.values()} <= set(STATUSES)


def test_upstreams_policy_gives_the_statuses_that_the_installed_version_gives(
    outcomes: Suite, servers: Backend, upstream: Results
) -> None:
    session = reported(outcomes, servers, "-n0", FAMACASE_STATUS_POLICY="upstream")

    def statuses(results: Results) -> dict[str, str]:
        return {title: result["execution"]["status"] for title, result in results.items()}

    assert statuses(session.results) == {**statuses(upstream), "test_module_skip.py": "skipped"}, session.text
    assert session.results["test_muted"]["muted"] is True


ENDED = """
    import pytest
    from famacase_xdist import qase

    @pytest.fixture
    def closing():
        yield

    def test_before(): pass

    @qase.title("Ends the session")
    def test_ends(closing):
        with qase.step("the last one"):
            END

    @pytest.mark.parametrize("number", range(20))
    def test_later(number, pytestconfig):
        if hasattr(pytestconfig, "workerinput"):
            import time
            time.sleep(0.3)
"""
ENDS = {
    "exit": ('pytest.exit("enough: said the test")', "pytest.exit: enough: said the test"),
    "interrupt": (
        "raise KeyboardInterrupt",
        "the session was interrupted while this test was running: KeyboardInterrupt",
    ),
}


@pytest.mark.parametrize("args", [("-p", "no:xdist"), ("-n2",)], ids=["no-xdist", "n2"])
@pytest.mark.parametrize(("end", "message"), ENDS.values(), ids=ENDS)
def test_a_test_that_ends_the_session_is_invalid_and_says_how(
    end: str, message: str, args: tuple[str, ...], suite: Suite, backend: Backend
) -> None:
    suite.write("test_end.py", ENDED.replace("END", end))

    ran = suite.run(*args, **backend.environment())

    assert ran.status == pytest.ExitCode.INTERRUPTED, ran.text
    titles = [result["title"] for result in backend.results()]
    assert titles.count("Ends the session") == 1, ran.text
    assert "not run 0" not in ran.stdout
    assert "crashed 1" not in ran.stdout
    (ended,) = [result for result in backend.results() if result["title"] == "Ends the session"]
    assert (ended["execution"]["status"], ended["message"]) == ("invalid", message)
    assert end in ended["execution"]["stacktrace"].splitlines()[1]
    assert lines_of(ended["steps"]) == ["the last one failed"]


def test_what_upstream_reports_of_a_test_that_ends_the_session(suite: Suite) -> None:
    suite.write("test_end.py", ENDED.replace("END", 'pytest.exit("enough")'))

    suite.run("-n0", QASE_MODE="report", FAMACASE_STATE_DIR="")

    files = (suite.path / "build" / "qase-report" / "results").glob("*.json")
    assert [_loaded(path)["title"] for path in files] == ["test_before"]


KINDS = '''
    """
    >>> 1 + 1
    3
    """
    import pytest
    from famacase_xdist import qase

    def raises():
        """
        >>> raises()
        """
        raise RuntimeError("boom")

    def fine():
        """
        >>> 1 + 1
        2
        """

    def test_surrogate():
        assert "a" == "\\ud800b", "lone \\udc80"

    @pytest.mark.timeout(0.3, method="signal")
    def test_hangs():
        with qase.step("slow"):
            while True: pass

    @pytest.fixture
    def watched(request):
        yield
        item = request.node
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", "watchdog: too much memory", "call")
        item.ihook.pytest_runtest_logreport(report=report)

    def test_watched(watched): pass

    def test_elsewhere(): pass

    @qase.id(5)
    @pytest.mark.parametrize("number", [1])
    def test_everything(number):
        with qase.step("step"):
            qase.attach(("text", "text/plain", "note.txt"))
'''
ELSEWHERE = """
    import pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item):
        '''As pytest-forked does it: the reports come from another process, and no other hook is called here.'''
        if item.name != "test_elsewhere":
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for when, outcome in (("setup", "passed"), ("call", "failed"), ("teardown", "passed")):
            text = "killed by signal 9" if outcome == "failed" else None
            report = pytest.TestReport(item.nodeid, item.location, {}, outcome, text, when)
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""


def test_other_kinds_of_tests_and_of_ends(suite: Suite, backend: Backend) -> None:
    suite.write("conftest.py", ELSEWHERE)
    suite.write("test_kinds.py", KINDS)
    # A directory of qase-pytest is called "pytest", of which pytest warns in any session.
    ignored = "ignore:Module already imported so cannot be rewritten; pytest:pytest.PytestAssertRewriteWarning"

    suite.env.update(backend.environment(), PYTHONIOENCODING="utf-8:backslashreplace")

    ran = suite.run("-p", "no:xdist", "--doctest-modules", "-Werror", "-W", ignored)

    results = {result["title"]: result for result in backend.results()}
    assert {title: outcome_of(results, title) for title in results} == {
        "test_kinds": ("failed", "1 + 1: expected 3, got 2"),
        "test_kinds.raises": ("invalid", "raises(): RuntimeError: boom"),
        "test_kinds.fine": ("passed", None),
        "test_surrogate": ("failed", results["test_surrogate"]["message"]),
        "test_hangs": ("invalid", "Failed: Timeout (>0.3s) from pytest-timeout."),
        "test_watched": ("invalid", "watchdog: too much memory"),
        "test_elsewhere": ("invalid", "killed by signal 9"),
        "test_everything": ("passed", None),
    }, ran.text
    assert results["test_surrogate"]["message"].startswith("AssertionError: lone �\n")
    assert lines_of(results["test_hangs"]["steps"]) == ["slow failed"]
    assert "undelivered 0" in ran.stdout
    assert "Traceback" not in ran.stderr
