"""Results that never come are rebuilt from pytest's own reports, and are the same test to the server."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from harness.ledgers import CALL, SETUP, TEARDOWN, TEST, Kept, crashed, described, heard, recorded, report

from famacase_xdist.controller.events import Began, Event, NotCollected, Reported
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import ResultHead
from famacase_xdist.server import payloads

# Results that never come


SUITE = """
    import pytest

    def three():
        return 3

    def test_passes():
        pass

    def test_asserts():
        assert three() == 2

    def test_asserts_with_a_message():
        assert three() == 2, "not two"

    def test_raises():
        raise ValueError("boom")

    def test_fails():
        pytest.fail("no good")

    @pytest.mark.skip(reason="SHOP-1: not yet")
    def test_skips():
        pass

    @pytest.mark.xfail(reason="known")
    def test_xfails():
        assert False

    @pytest.fixture
    def broken():
        raise OSError("no database")

    def test_breaks_in_set_up(broken):
        pass

    @pytest.fixture
    def leaking():
        yield
        raise OSError("cannot close")

    def test_breaks_in_tear_down(leaking):
        pass
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[pytest.TestReport]]:
    return heard(tmp_path_factory.mktemp("outcomes"), test_it=SUITE).reports


def rebuilt_from(reports: list[pytest.TestReport]) -> dict[str, Any]:
    """Return the result that the ledger makes of reports whose own result never comes."""
    return Kept().enter(*(Reported("gw0", each.nodeid, [each]) for each in reports)).close().content


OUTCOMES = {
    "test_passes": ("passed", None),
    "test_asserts": ("failed", "assert 3 == 2"),
    "test_asserts_with_a_message": ("failed", "AssertionError: not two"),
    "test_raises": ("invalid", "ValueError: boom"),
    "test_fails": ("invalid", "Failed: no good"),
    "test_skips": ("skipped", "SHOP-1: not yet"),
    "test_xfails": ("skipped", None),
    "test_breaks_in_set_up": ("invalid", "OSError: no database"),
    "test_breaks_in_tear_down": ("invalid", "OSError: cannot close"),
}


@pytest.mark.parametrize(("name", "status"), [(name, status) for name, (status, _) in OUTCOMES.items()])
def test_a_lost_result_is_rebuilt_with_its_status(
    name: str, status: str, said: dict[str, list[pytest.TestReport]]
) -> None:
    assert rebuilt_from(said[name])["execution"]["status"] == status


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (_, words) in OUTCOMES.items() if words])
def test_a_lost_result_is_rebuilt_with_its_reason(
    name: str, words: str, said: dict[str, list[pytest.TestReport]]
) -> None:
    assert (rebuilt_from(said[name])["message"] or "").removeprefix("Skipped: ") == words


def test_a_lost_failure_is_rebuilt_with_its_traceback(said: dict[str, list[pytest.TestReport]]) -> None:
    assert "def test_raises():" in rebuilt_from(said["test_raises"])["execution"]["stacktrace"]


def test_a_lost_result_is_rebuilt_with_the_time_of_all_phases(kept: Kept) -> None:
    kept.enter(SETUP, CALL, TEARDOWN).close()

    execution = kept.content["execution"]
    assert execution["duration"] == 750
    assert execution["end_time"] - execution["start_time"] == pytest.approx(0.75, abs=0.01)


def test_a_lost_result_of_a_described_test_keeps_what_was_known(kept: Kept) -> None:
    kept.enter(described(title="Buys a book", testops_ids=[7]), SETUP, CALL, TEARDOWN).close()

    assert (kept.content["title"], kept.content["testops_ids"]) == ("Buys a book", [7])


def test_a_lost_result_is_no_longer_running(kept: Kept) -> None:
    kept.enter(Began(TEST), SETUP, CALL, TEARDOWN).close()

    assert kept.running == []


ENDINGS: dict[str, tuple[list[Event], str]] = {
    "described": ([Began(TEST), described()], "set-up"),
    "in-the-call": ([Began(TEST), SETUP], "call"),
}


@pytest.mark.parametrize(("events", "phase"), ENDINGS.values(), ids=ENDINGS)
def test_a_test_that_the_end_of_the_session_cut_off_is_invalid_and_says_where(
    events: list[Event], phase: str, kept: Kept
) -> None:
    kept.enter(*events).close()

    assert kept.results == [(TEST, "invalid", 1)]
    assert kept.content["message"] == f"the session ended while this test was in its {phase} on gw0"


def test_a_test_that_only_began_is_not_said_to_have_never_begun(kept: Kept) -> None:
    kept.ledger = Ledger(keep_nodeids=True)
    kept.ledger.collect([TEST])

    kept.enter(Began(TEST)).close(report_not_run=True)

    assert "before this test began" not in "".join(content["message"] for content in kept.contents)


def test_a_second_close_rebuilds_nothing_again(kept: Kept) -> None:
    kept.ledger = Ledger(keep_nodeids=True)
    kept.ledger.collect([TEST, "t.py::test_b"])

    kept.enter(SETUP, CALL).close(report_not_run=True).close(report_not_run=True)

    assert len(kept.results) == 2


def subtest(outcome: str) -> Reported:
    """Make the event of a subtest's report, of the shape that pytest 9 and pytest-subtests give it."""
    made = report("call", outcome)
    made.context = SimpleNamespace(msg="m", kwargs={})  # type: ignore[attr-defined]
    return Reported("gw0", TEST, [made])


def test_a_worker_that_dies_after_a_subtest_died_in_the_call(kept: Kept) -> None:
    kept.enter(SETUP, subtest("passed"), crashed())

    assert str(kept.content["message"]).endswith("in its call")


@pytest.mark.parametrize(("outcome", "status"), [("passed", "passed"), ("skipped", "passed"), ("failed", "invalid")])
def test_a_rebuilt_result_follows_its_failed_subtests_only(outcome: str, status: str, kept: Kept) -> None:
    kept.enter(SETUP, subtest(outcome), CALL, TEARDOWN).close()

    assert kept.results == [(TEST, status, 1)]


def test_subtests_alone_do_not_make_a_rebuilt_result_passed(kept: Kept) -> None:
    kept.enter(SETUP, subtest("passed")).close()

    assert kept.results == [(TEST, "invalid", 1)]


def test_a_rebuilt_xfail_says_its_reason(kept: Kept) -> None:
    xfail = report("call", "skipped")
    xfail.wasxfail = "reason: known: bug"  # type: ignore[attr-defined]

    kept.enter(SETUP, Reported("gw0", TEST, [xfail]), TEARDOWN).close()

    assert (kept.results, kept.content["message"]) == ([(TEST, "skipped", 1)], "known: bug")


# What a rebuilt result looks like


MADE: dict[str, list[Event]] = {
    "crash": [crashed()],
    "described-crash": [described(testops_ids=[7], params={"a": "1"}), crashed()],
    "lost": [SETUP, Reported("gw0", TEST, [report("call", "failed")])],
    "cut-off": [Began(TEST), described()],
    "not-collected": [NotCollected(pytest.CollectReport("", "failed", "E   SyntaxError: x", None))],
    "rerun": [crashed(), recorded(worker="gw1")],
    "odd-node-id": [crashed("t\ud800.py::test_\udcff")],
}


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_strict_server_takes_what_the_ledger_makes(events: list[Event], kept: Kept) -> None:
    kept.enter(*events).close()

    assert kept.contents
    for content in kept.contents:
        payloads.Result.model_validate(content)


@pytest.fixture(scope="module")
def by_recorder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the recorder itself says of plain tests, by node id."""
    body = "def test_a(): pass\n\nclass TestGroup:\n    def test_b(self): pass\n"
    files = {"test_flat": body, "tests__Unit Tests__test_deep": body, "dir[1]__test_odd": body, "a__test_x.y": body}
    frames = heard(tmp_path_factory.mktemp("recorded"), **files).sink.frames
    return {frame.head.nodeid: json.loads(frame.body) for frame in frames if isinstance(frame.head, ResultHead)}


NODEIDS = [
    f"{path}::{name}"
    for path in ("test_flat.py", "tests/Unit Tests/test_deep.py", "dir[1]/test_odd.py", "a/test_x.y.py")
    for name in ("test_a", "TestGroup::test_b")
]


def test_the_recorder_was_asked_for_all_of_them(by_recorder: dict[str, dict[str, Any]]) -> None:
    assert set(by_recorder) == set(NODEIDS)


@pytest.mark.parametrize("name", ["title", "signature", "relations"])
@pytest.mark.parametrize("nodeid", NODEIDS)
def test_a_rebuilt_result_is_the_same_test_to_the_server_as_a_recorded_one(
    nodeid: str, name: str, by_recorder: dict[str, dict[str, Any]]
) -> None:
    assert synthetic.described_by(nodeid)[name] == by_recorder[nodeid][name]
