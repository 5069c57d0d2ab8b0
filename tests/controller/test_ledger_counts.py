"""What the books count."""

from __future__ import annotations

import pytest
from harness.books import TEST, Books, crashed, ignored, recorded, reported

from famacase_xdist.controller.events import Began, NotCollected, Received
from famacase_xdist.results.frames import BegunHead, encode


def test_the_books_count_what_they_kept(books: Books, broken_module: pytest.CollectReport) -> None:
    books.ledger.collect([f"t.py::test_{number}" for number in range(8)])

    books.enter(
        recorded("t.py::test_0"),
        recorded("t.py::test_1", "failed"),
        *[Began("t.py::test_2"), crashed("t.py::test_2")],
        *reported("setup", "call", nodeid="t.py::test_3"),
        *[ignored("t.py::test_4"), *reported("setup", "call", "teardown", nodeid="t.py::test_4")],
        NotCollected(broken_module),
        Received("gw0", b"garbage"),
    ).close()

    ledger = books.ledger
    assert ledger.collected == 8
    assert ledger.received == {"passed": 2, "failed": 1, "invalid": 2}
    assert (ledger.crashed, ledger.rebuilt, ledger.ignored) == (1, 1, 1)
    assert (ledger.not_collected, ledger.unreadable, ledger.not_run) == (1, 1, 3)


def test_a_rerun_is_no_second_test_that_ran(books: Books) -> None:
    books.ledger.collect([TEST, "t.py::test_b"])

    books.enter(recorded(status="failed"), recorded(attempt=2), recorded(attempt=3)).close()

    assert books.ledger.not_run == 1


def test_a_collection_that_each_worker_tells_of_is_counted_once(books: Books) -> None:
    for _ in range(4):
        books.ledger.collect([TEST, "t.py::test_b"])

    assert books.ledger.collected == 2


@pytest.mark.parametrize("frame", [b"", b"garbage", b"R\0\0\0\x02{}", encode(BegunHead("a"))[:-1]])
def test_a_message_that_is_no_frame_is_counted_and_stops_nothing(frame: bytes, books: Books) -> None:
    books.enter(Received("gw0", frame), recorded()).close()

    assert books.ledger.unreadable == 1
    assert books.results == [(TEST, "passed", 1)]
