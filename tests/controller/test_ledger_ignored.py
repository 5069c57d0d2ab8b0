"""Tests that are not reported have no result, whatever becomes of them."""

from __future__ import annotations

import pytest
from harness.books import CALL, SETUP, TEARDOWN, TEST, Books, crashed, described, ignored, report

from famacase_xdist.controller.events import Began, Reported
from famacase_xdist.controller.ledger import Ledger


def test_an_ignored_test_has_no_result(books: Books) -> None:
    books.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN).close()

    assert books.results == []


def test_an_ignored_test_is_not_said_to_have_never_begun() -> None:
    books = Books(Ledger(keep_nodeids=True))
    books.ledger.collect([TEST])

    books.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN).close(report_not_run=True)

    assert books.results == []


def test_an_ignored_test_that_runs_again_is_one_ignored_test(books: Books) -> None:
    books.ledger.collect([TEST, "t.py::test_b"])
    rerun = Reported("gw0", TEST, [report("call", "rerun")])

    books.enter(Began(TEST), ignored(), SETUP, rerun, ignored(), SETUP, CALL, TEARDOWN).close()

    assert (books.ledger.ignored, books.ledger.not_run) == (1, 1)


def test_an_ignored_test_that_runs_again_once_its_books_are_closed_has_no_result(books: Books) -> None:
    """Under xdist pytest's reports of the second attempt may come before the recorder's word on it."""
    books.enter(Began(TEST), ignored(), SETUP, CALL, TEARDOWN, SETUP, CALL, TEARDOWN, ignored()).close()

    assert books.results == []
    assert (books.ledger.ignored, books.ledger.rebuilt) == (1, 0)


@pytest.mark.parametrize(("policy", "status"), [("famacase", "blocked"), ("upstream", "invalid")])
@pytest.mark.parametrize("end", ["crashed", "closed"])
def test_a_muted_test_that_dies_is_blocked(end: str, policy: str, status: str) -> None:
    books = Books(Ledger(status_policy=policy)).enter(Began(TEST), described(muted=True), SETUP)
    if end == "crashed":
        books.enter(crashed())
    books.close()

    assert [each[1] for each in books.results] == [status]
    assert books.content["muted"] is True


def test_an_ignored_test_that_fails_has_no_result(books: Books) -> None:
    books.enter(
        ignored(), Reported("gw0", TEST, [report("setup")]), Reported("gw0", TEST, [report("call", "failed")])
    ).close()

    assert books.results == []


def test_an_ignored_test_that_takes_its_worker_along_has_no_result(books: Books) -> None:
    books.enter(Began(TEST), ignored(), SETUP, crashed()).close()

    assert books.results == []
