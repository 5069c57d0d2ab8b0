"""What the ledger leaves out, and what it adds: filtered results, the root suite, notes."""

from __future__ import annotations

from typing import Any

import pytest
from harness.ledgers import CALL, SETUP, TEARDOWN, TEST, Kept, crashed, described, received, recorded, report

from famacase_xdist.controller.events import Began, Event, Reported
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import Frame, NoteHead


@pytest.mark.parametrize("status", ["passed", "failed", "invalid"])
def test_a_filtered_result_is_counted_and_not_kept(status: str) -> None:
    kept = Kept(Ledger(status_filter=["passed", "invalid"], keep_nodeids=True))
    kept.ledger.collect([TEST])
    is_kept = status == "failed"

    kept.enter(Began(TEST), recorded(status=status), SETUP, CALL, TEARDOWN).close(report_not_run=True)

    assert kept.results == [(TEST, status, 1)] * is_kept
    assert (kept.ledger.filtered, kept.ledger.received.total()) == (not is_kept, is_kept)
    assert (kept.ledger.not_run, kept.running) == (0, [])


MADE: dict[str, list[Event]] = {
    "crashed": [Began(TEST), crashed()],
    "rebuilt": [Began(TEST), SETUP, Reported("gw0", TEST, [report("call", "failed")]), TEARDOWN],
    "cut-off": [Began(TEST)],
}


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_result_that_no_recorder_made_is_filtered_by_its_mapped_status(events: list[Event]) -> None:
    mapping = {"invalid": "blocked"}
    kept = Kept(Ledger(status_filter=["blocked"], status_mapping=mapping)).enter(*events).close()
    others = Kept(Ledger(status_filter=["invalid"], status_mapping=mapping)).enter(*events).close()

    assert (kept.results, kept.ledger.filtered, kept.running) == ([], 1, [])
    assert (others.results, others.ledger.filtered) == ([(TEST, "blocked", 1)], 0)


def test_an_attempt_after_a_filtered_crash_is_the_second() -> None:
    kept = Kept(Ledger(status_filter=["invalid"]))

    kept.enter(Began(TEST), crashed(), Began(TEST), recorded(worker="gw1"))

    assert kept.results == [(TEST, "passed", 2)]


def suites(content: dict[str, Any]) -> list[str]:
    """Return the titles of a result's suites."""
    return [suite["title"] for suite in content["relations"]["suite"]["data"]]


@pytest.mark.parametrize("events", MADE.values(), ids=MADE)
def test_a_result_made_from_a_node_id_is_below_the_root_suite(events: list[Event]) -> None:
    kept = Kept(Ledger(root_suite="Root")).enter(*events).close()

    assert suites(kept.content) == ["Root", "t"]


def test_a_description_has_the_root_suite_already() -> None:
    content = synthetic.described_by(TEST)
    content["relations"]["suite"]["data"].insert(0, {"title": "Root", "description": None})
    begun = described(relations=content["relations"])

    for events in ([begun, crashed()], [begun, SETUP]):
        assert suites(Kept(Ledger(root_suite="Root")).enter(*events).close().content) == ["Root", "t"]


def test_a_note_is_kept_once_in_the_order_of_the_first(kept: Kept) -> None:
    notes = [received(Frame(NoteHead(text)), worker) for worker in ("gw0", "gw1") for text in ("b", "a")]

    kept.enter(*notes).close()

    assert list(kept.ledger.notes) == ["b", "a"]
    assert kept.frames == []
