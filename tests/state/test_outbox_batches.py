"""Batches of an outbox: in the order in which results were written, without those that the server refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from harness.outboxes import ONE, Ends, content_of, ids, take_all
from harness.results import content, numbered, opaque

from famacase_xdist.results.frames import ContentHead
from famacase_xdist.system import System


def calls_of(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> int:
    """Count the bytes that some work reads, and the calls that it makes to do so."""
    count = 0
    pread = System.pread

    def counting(file: int, most: int, offset: int) -> bytes:
        nonlocal count
        content = pread(file, most, offset)
        count += 1 + len(content)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(System, "pread", staticmethod(counting))
        work()
    return count


# Batches


def test_results_are_taken_in_the_order_they_were_written(ends: Ends) -> None:
    ends.put(numbered(2), numbered(1))
    ends.put(numbered(3))

    assert ids(take_all(ends.outbox)) == ["id-2", "id-1", "id-3"]


def test_a_batch_has_no_more_results_than_asked_for(ends: Ends) -> None:
    ends.put(*(numbered(number) for number in range(5)))

    assert [len(ends.outbox.take(2, 1000)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_batch_has_no_more_bytes_than_asked_for(ends: Ends) -> None:
    ends.put(*(numbered(number, b"x" * 10) for number in range(3)))

    assert [len(ends.outbox.take(10, 20)) for _ in range(3)] == [2, 1, 0]


def test_a_result_that_is_larger_than_a_batch_goes_alone(ends: Ends) -> None:
    ends.put(numbered(1, b"x" * 100), numbered(2))

    assert [ids(ends.outbox.take(10, 20)) for _ in range(2)] == [["id-1"], ["id-2"]]


def test_what_is_given_back_is_taken_again_in_its_place(ends: Ends) -> None:
    ends.put(*(numbered(number) for number in range(4)))
    first = ends.outbox.take(2, 1000)
    ends.outbox.take(1, 1000)

    ends.outbox.give_back(first)
    ends.outbox.give_back(first)

    assert ids(take_all(ends.outbox)) == ["id-0", "id-1", "id-3"]


def test_a_result_that_is_there_already_changes_nothing(ends: Ends) -> None:
    ends.put(numbered(1, b"first"))

    assert ends.put(numbered(1, b"second"), numbered(1, b"third")) == 0
    ends.outbox.accept([numbered(1, b"fourth")], "")

    assert [each.body for each in take_all(ends.outbox)] == [b"first"]
    assert (ends.outbox.seen, ends.outbox.undelivered()) == (1, 1)


def test_a_copy_of_a_result_that_was_acknowledged_does_not_come_back(ends: Ends) -> None:
    ends.put(numbered(1, b"first"), numbered(1, b"second"))
    ends.outbox.acknowledge(take_all(ends.outbox))

    again = ends.end()

    assert (again.undelivered(), again.seen) == (0, 1)
    again.close()


def test_what_is_left_is_counted_by_status_whether_taken_or_refused(ends: Ends) -> None:
    frames = [numbered(number) for number in range(4)]
    frames[3] = opaque(b"{}", id="id-3")
    ends.put(*frames)
    ends.outbox.acknowledge(ends.outbox.take(1, 1))
    ends.outbox.refuse(ends.outbox.take(1, 1)[0], "no")
    ends.outbox.take(1, 1)

    assert ends.outbox.left_by_status() == {"passed": 3}


# Refusals


def test_a_refused_result_is_kept_and_counted_by_the_servers_words(ends: Ends) -> None:
    ends.put(*(numbered(number) for number in range(3)))
    batch = take_all(ends.outbox)

    for queued, words in zip(batch, ("no", "no", "bad\udcff"), strict=True):
        ends.outbox.refuse(queued, words)

    for outbox in (ends.outbox, ends.end()):
        assert outbox.refusals() == {"no": 2, "bad\ufffd": 1}
        assert outbox.refused() == [("t.py::test_0", "no"), ("t.py::test_1", "no"), ("t.py::test_2", "bad\ufffd")]
        assert (outbox.undelivered(), take_all(outbox)) == (3, [])
        outbox.close()


def test_what_is_forgiven_is_taken_again_in_its_place(ends: Ends) -> None:
    ends.put(*(numbered(number) for number in range(3)))
    (refused,) = ends.outbox.take(1, 1000)
    ends.outbox.refuse(refused, "no")
    ends.outbox.give_back(ends.outbox.take(1, 1000))

    ends.outbox.forgive()

    assert ids(take_all(ends.outbox)) == ["id-0", "id-1", "id-2"]
    again = ends.end()
    assert (again.refusals(), ids(take_all(again))) == ({}, ["id-0", "id-1", "id-2"])
    again.close()


def test_an_acknowledgement_of_a_refused_result_counts(ends: Ends) -> None:
    ends.put(numbered(1))
    batch = take_all(ends.outbox)
    ends.outbox.refuse(batch[0], "no")

    ends.outbox.acknowledge(batch)
    ends.outbox.forgive()

    assert (ends.outbox.undelivered(), take_all(ends.outbox), ends.outbox.refusals()) == (0, [], {})


def test_what_is_not_there_is_nothing_to_refuse_or_acknowledge(ends: Ends) -> None:
    ends.outbox.refuse(numbered(1), "no")
    ends.outbox.acknowledge([numbered(1)])
    ends.outbox.give_back([numbered(1)])

    assert (ends.outbox.undelivered(), ends.outbox.refusals()) == (0, {})


def test_a_refused_content_is_named_with_the_servers_words(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"c"]))

    ends.outbox.contents.refuse(ONE, "HTTP 415: no")
    ends.outbox.contents.refuse("2" * 64, "nobody knows it")

    for outbox in (ends.outbox, ends.end()):
        assert outbox.contents.refusals([ONE, "2" * 64]) == ["a.txt: HTTP 415: no"]
        assert outbox.contents.waiting(ONE) is None
        outbox.close()


def test_a_refused_content_is_forgiven_with_all_its_pieces(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"c"]))
    ends.outbox.contents.refuse(ONE, "no")

    ends.outbox.forgive()

    for outbox in (ends.outbox, ends.end()):
        assert outbox.contents.waiting(ONE) == ContentHead(ONE, "a.txt", "text/plain", 3)
        assert content_of(outbox, ONE) == b"abc"
        outbox.close()


# What it costs


def test_a_batch_reads_as_much_however_many_results_wait_or_were_refused(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []
    for first, results in ((1000, 200), (2000, 5000)):
        ends.put(*(numbered(number) for number in range(first, first + results)))
        for each in ends.outbox.take(100, 1_000_000):
            ends.outbox.refuse(each, "no")
        costs.append(calls_of(monkeypatch, lambda: ends.outbox.acknowledge(ends.outbox.take(50, 1_000_000))))
        costs.append(calls_of(monkeypatch, lambda: ends.put(numbered(9000))))
        ends.outbox.acknowledge([numbered(9000)])

    assert costs[2:] == costs[:2]


def test_results_that_wait_are_not_in_memory(ends: Ends) -> None:
    for first in range(0, 5000, 100):
        ends.journal.append(
            [opaque(b"x" * 2000, id=f"00000000-0000-4000-8000-{number:012}") for number in range(first, first + 100)]
        )
    tracemalloc.start()
    try:
        ends.outbox.follow()
        waiting, most = tracemalloc.get_traced_memory()
        while batch := ends.outbox.take(100, 10_000_000):
            ends.outbox.acknowledge(batch)
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (ends.outbox.seen, ends.outbox.undelivered()) == (5000, 0)
    # 300 bytes for each result that waits, and a segment while it is read.
    assert waiting < 1_500_000
    assert most < 12_000_000
    assert left < 400_000
