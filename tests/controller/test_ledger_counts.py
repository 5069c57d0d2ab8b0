"""What the ledger counts."""

from __future__ import annotations

import pytest
from harness.ledgers import TEST, Kept, crashed, ignored, recorded, reported

from famacase_xdist.controller.events import Began, NotCollected, Received
from famacase_xdist.results.frames import BegunHead, encode


def test_the_ledger_counts_what_it_kept(kept: Kept, broken_module: pytest.CollectReport) -> None:
    kept.ledger.collect([f"t.py::test_{number}" for number in range(8)])

    kept.enter(
        recorded("t.py::test_0"),
        recorded("t.py::test_1", "failed"),
        *[Began("t.py::test_2"), crashed("t.py::test_2")],
        *reported("setup", "call", nodeid="t.py::test_3"),
        *[ignored("t.py::test_4"), *reported("setup", "call", "teardown", nodeid="t.py::test_4")],
        NotCollected(broken_module),
        Received("gw0", b"garbage"),
    ).close()

    ledger = kept.ledger
    assert ledger.collected == 8
    assert ledger.received == {"passed": 2, "failed": 1, "invalid": 2}
    assert (ledger.crashed, ledger.rebuilt, ledger.ignored) == (1, 1, 1)
    assert (ledger.not_collected, ledger.unreadable, ledger.not_run) == (1, 1, 3)


def test_a_rerun_is_no_second_test_that_ran(kept: Kept) -> None:
    kept.ledger.collect([TEST, "t.py::test_b"])

    kept.enter(recorded(status="failed"), recorded(attempt=2), recorded(attempt=3)).close()

    assert kept.ledger.not_run == 1


def test_a_collection_that_each_worker_tells_of_is_counted_once(kept: Kept) -> None:
    for _ in range(4):
        kept.ledger.collect([TEST, "t.py::test_b"])

    assert kept.ledger.collected == 2


@pytest.mark.parametrize("frame", [b"", b"garbage", b"R\0\0\0\x02{}", encode(BegunHead("a"))[:-1]])
def test_a_message_that_is_no_frame_is_counted_and_stops_nothing(frame: bytes, kept: Kept) -> None:
    kept.enter(Received("gw0", frame), recorded()).close()

    assert kept.ledger.unreadable == 1
    assert kept.results == [(TEST, "passed", 1)]
