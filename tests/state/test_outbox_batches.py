"""Batches of an outbox: in the order in which results were put, without those that the server refused."""

from __future__ import annotations

from collections.abc import Callable

from harness.outboxes import ONE, content_of, ids, take_all
from harness.results import content, numbered

from famacase_xdist.results.frames import ContentHead
from famacase_xdist.state.outbox import Outbox


def steps_of(outbox: Outbox, work: Callable[[], object]) -> int:
    """Count what SQLite does to do some work: more rows looked at, more steps."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    outbox._db.set_progress_handler(count, 1)
    work()
    outbox._db.set_progress_handler(None, 1)
    return steps


# Batches


def test_results_are_taken_in_the_order_they_were_put(outbox: Outbox) -> None:
    outbox.put([numbered(2), numbered(1)])
    outbox.put([numbered(3)])

    assert ids(take_all(outbox)) == ["id-2", "id-1", "id-3"]


def test_a_taken_result_has_head_and_body_as_they_were_put(outbox: Outbox) -> None:
    frame = numbered(1, b'{"id":"x"}', contents=[ONE])
    outbox.put([frame])

    assert take_all(outbox) == [frame]


def test_a_batch_has_no_more_results_than_asked_for(outbox: Outbox) -> None:
    outbox.put([numbered(number) for number in range(5)])

    assert [len(outbox.take(2, 1000)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_batch_has_no_more_bytes_than_asked_for(outbox: Outbox) -> None:
    outbox.put([numbered(number, b"x" * 10) for number in range(3)])

    assert [len(outbox.take(10, 20)) for _ in range(3)] == [2, 1, 0]


def test_a_result_that_is_larger_than_a_batch_goes_alone(outbox: Outbox) -> None:
    outbox.put([numbered(1, b"x" * 100), numbered(2)])

    assert [ids(outbox.take(10, 20)) for _ in range(2)] == [["id-1"], ["id-2"]]


# Refusals


def test_a_refused_result_is_kept_and_counted_by_the_servers_words(outbox: Outbox) -> None:
    outbox.put([numbered(number) for number in range(3)])
    batch = take_all(outbox)

    for queued, words in zip(batch, ("no", "no", "bad"), strict=True):
        outbox.refuse(queued, words)

    assert outbox.refusals() == {"no": 2, "bad": 1}
    assert outbox.undelivered() == 3


def test_what_is_forgiven_is_taken_again_in_its_place(outbox: Outbox) -> None:
    outbox.put([numbered(number) for number in range(3)])
    (refused,) = outbox.take(1, 1000)
    outbox.refuse(refused, "no")
    outbox.give_back(outbox.take(1, 1000))

    outbox.forgive()

    assert ids(take_all(outbox)) == ["id-0", "id-1", "id-2"]


def refuse_all(outbox: Outbox, first: int, results: int) -> None:
    """Put results, all of which the server refuses, as a sender does with one batch after the other."""
    for start in range(first, first + results, 100):
        outbox.put([numbered(number) for number in range(start, start + 100)])
        for each in outbox.take(100, 1_000_000):
            outbox.refuse(each, "no")


def test_a_batch_costs_as_much_however_many_results_were_refused_before(outbox: Outbox) -> None:
    costs = []
    for first in (0, 100, 2100):
        refuse_all(outbox, first, 100 if first < 2000 else 2000)
        outbox.put([numbered(9000 + first)])
        costs.append(steps_of(outbox, lambda: outbox.acknowledge(outbox.take(100, 1_000_000))))

    assert costs[2] <= costs[1]


def test_the_other_costs_are_the_same_however_many_results_wait(outbox: Outbox) -> None:
    costs = []
    for first, results in ((0, 200), (200, 5000)):
        outbox.put([numbered(number) for number in range(first, first + results)])
        outbox.undelivered()  # which moves them from the tail
        costs.append(
            [
                steps_of(outbox, lambda: outbox.acknowledge(outbox.take(100, 1_000_000))),
                steps_of(outbox, outbox.undelivered),
                steps_of(outbox, lambda number=first: outbox.put([numbered(9000 + number)])),
            ]
        )

    assert costs[1] == costs[0]


def test_a_refused_content_is_named_with_the_servers_words(outbox: Outbox) -> None:
    outbox.put(content(ONE, [b"ab", b"c"]))

    outbox.contents.refuse(ONE, "HTTP 415: no")

    assert outbox.contents.refusals([ONE]) == ["a.txt: HTTP 415: no"]
    assert outbox.contents.waiting(ONE) is None


def test_a_refused_content_is_forgiven_with_all_its_pieces(outbox: Outbox) -> None:
    outbox.put(content(ONE, [b"ab", b"c"]))
    outbox.contents.refuse(ONE, "no")

    outbox.forgive()

    assert outbox.contents.waiting(ONE) == ContentHead(ONE, "a.txt", "text/plain", 3)
    assert content_of(outbox, ONE) == b"abc"
