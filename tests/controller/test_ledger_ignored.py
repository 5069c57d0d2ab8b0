"""Tests that are not reported have no result, whatever becomes of them."""

from __future__ import annotations

import pytest
from harness.ledgers import CALL, SETUP, TEARDOWN, TEST, Kept, crashed, described, ignored, report

from famacase_xdist.controller.events import Began, Reported
from famacase_xdist.controller.ledger import Ledger


def test_an_ignored_test_has_no_result(kept: Kept) -> None:
    kept.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN).close()

    assert kept.results == []


def test_an_ignored_test_is_not_said_to_have_never_begun() -> None:
    kept = Kept(Ledger(keep_nodeids=True))
    kept.ledger.collect([TEST])

    kept.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN).close(report_not_run=True)

    assert kept.results == []


def test_an_ignored_test_that_runs_again_is_one_ignored_test(kept: Kept) -> None:
    kept.ledger.collect([TEST, "t.py::test_b"])
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    kept.enter(Began(TEST), ignored(), SETUP, rerun, ignored(), SETUP, CALL, TEARDOWN).close()

    assert (kept.ledger.ignored, kept.ledger.not_run) == (1, 1)


def test_an_ignored_test_that_runs_again_once_it_is_over_has_no_result(kept: Kept) -> None:
    """Under xdist pytest's reports of the second attempt may come before the recorder's word on it."""
    kept.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN, SETUP, CALL, TEARDOWN, ignored()).close()

    assert kept.results == []
    assert (kept.ledger.ignored, kept.ledger.rebuilt) == (1, 0)


@pytest.mark.parametrize(("policy", "status"), [("famacase", "blocked"), ("upstream", "invalid")])
@pytest.mark.parametrize("end", ["crashed", "closed"])
def test_a_muted_test_that_dies_is_blocked(end: str, policy: str, status: str) -> None:
    kept = Kept(Ledger(status_policy=policy)).enter(Began(TEST), described(muted=True), SETUP)
    if end == "crashed":
        kept.enter(crashed())
    kept.close()

    assert [each[1] for each in kept.results] == [status]
    assert kept.content["muted"] is True


def test_an_ignored_test_that_fails_has_no_result(kept: Kept) -> None:
    kept.enter(
        ignored(), Reported("gw0", TEST, [report("setup")]), Reported("gw0", TEST, [report("call", "failed")])
    ).close()

    assert kept.results == []


def test_an_ignored_test_that_takes_its_worker_along_has_no_result(kept: Kept) -> None:
    kept.enter(Began(TEST), ignored(), SETUP, crashed()).close()

    assert kept.results == []
