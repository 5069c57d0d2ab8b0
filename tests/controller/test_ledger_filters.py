"""What the books leave out, and what they add: filtered results, suites above, notes."""

from __future__ import annotations

from typing import Any

import pytest
from harness.books import CALL, SETUP, TEARDOWN, TEST, Books, crashed, described, received, recorded, report

from famacase_xdist.controller.events import Began, Event, Reported
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import Frame, NoteHead


@pytest.mark.parametrize("status", ["passed", "failed", "invalid"])
def test_a_filtered_result_is_counted_and_not_kept(status: str) -> None:
    books = Books(Ledger(status_filter=["passed", "invalid"], keep_nodeids=True))
    books.ledger.collect([TEST])
    is_kept = status == "failed"

    books.enter(Began(TEST), recorded(status=status), SETUP, CALL, TEARDOWN).close(report_not_run=True)

    assert books.results == [(TEST, status, 1)] * is_kept
    assert (books.ledger.filtered, books.ledger.received.total()) == (not is_kept, is_kept)
    assert (books.ledger.not_run, books.running) == (0, [])


MADE: dict[str, list[Event]] = {
    "crashed": [Began(TEST), crashed()],
    "rebuilt": [Began(TEST), SETUP, Reported("gw0", TEST, [report("call", "failed")]), TEARDOWN],
    "cut-off": [Began(TEST)],
}


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_result_that_no_recorder_made_is_filtered_by_its_mapped_status(events: list[Event]) -> None:
    mapping = {"invalid": "blocked"}
    books = Books(Ledger(status_filter=["blocked"], status_mapping=mapping)).enter(*events).close()
    kept = Books(Ledger(status_filter=["invalid"], status_mapping=mapping)).enter(*events).close()

    assert (books.results, books.ledger.filtered, books.running) == ([], 1, [])
    assert (kept.results, kept.ledger.filtered) == ([(TEST, "blocked", 1)], 0)


def test_an_attempt_after_a_filtered_crash_is_the_second() -> None:
    books = Books(Ledger(status_filter=["invalid"]))

    books.enter(Began(TEST), crashed(), Began(TEST), recorded(worker="gw1"))

    assert books.results == [(TEST, "passed", 2)]


def suites(content: dict[str, Any]) -> list[str]:
    """Give the titles of a result's suites."""
    return [suite["title"] for suite in content["relations"]["suite"]["data"]]


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_result_made_from_a_node_id_is_below_the_root_suite(events: list[Event]) -> None:
    books = Books(Ledger(root_suite="Root")).enter(*events).close()

    assert suites(books.content) == ["Root", "t"]


def test_a_description_has_the_root_suite_already() -> None:
    content = synthetic.described_by(TEST)
    content["relations"]["suite"]["data"].insert(0, {"title": "Root", "description": None})
    begun = described(relations=content["relations"])

    for events in ([begun, crashed()], [begun, SETUP]):
        assert suites(Books(Ledger(root_suite="Root")).enter(*events).close().content) == ["Root", "t"]


def test_a_note_is_kept_once_in_the_order_of_the_first(books: Books) -> None:
    notes = [received(Frame(NoteHead(text)), worker) for worker in ("gw0", "gw1") for text in ("b", "a")]

    books.enter(*notes).close()

    assert list(books.ledger.notes) == ["b", "a"]
    assert books.frames == []
