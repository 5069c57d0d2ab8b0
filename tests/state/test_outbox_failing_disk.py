"""An outbox on a disk that fails goes on in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.outboxes import HUGE, ONE, content_of, full_disk, ids, take_all
from harness.results import begun, content, numbered

from famacase_xdist.errors import OutboxError
from famacase_xdist.state.outbox import Outbox


def fill(outbox: Outbox) -> None:
    """Let the database have no more room than it has."""
    (pages,) = outbox._db.execute("PRAGMA page_count").fetchone()
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")


def test_a_put_that_fails_puts_nothing() -> None:
    outbox = Outbox(None)
    fill(outbox)

    with pytest.raises(OutboxError, match="full"):
        outbox.put([numbered(1), begun("a"), numbered(2, HUGE)])

    assert (outbox.undelivered(), outbox.running()) == (0, [])


def test_where_the_disk_fails_earlier_and_later_results_are_in_memory(outbox: Outbox) -> None:
    outbox.put([numbered(1)])
    fill(outbox)

    outbox.put([numbered(2, HUGE)])
    outbox.put([numbered(3)])

    assert ids(take_all(outbox)) == ["id-1", "id-2", "id-3"]


def test_where_the_disk_fails_with_nothing_left_later_results_are_taken(outbox: Outbox) -> None:
    outbox.put([numbered(1), numbered(2)])
    outbox.acknowledge(outbox.take(1, 1000))
    outbox.acknowledge(outbox.take(1, 1000))
    fill(outbox)

    outbox.put([numbered(3, HUGE)])

    assert ids(take_all(outbox)) == ["id-3"]


def test_where_the_disk_fails_the_reason_is_said(outbox: Outbox) -> None:
    fill(outbox)

    outbox.put([numbered(1, HUGE)])

    assert "full" in outbox.trouble


def test_as_long_as_the_disk_works_there_is_no_trouble(outbox: Outbox) -> None:
    outbox.put([numbered(1, HUGE)])

    assert outbox.trouble == ""


def test_where_the_disk_fails_all_else_moves_along(outbox: Outbox) -> None:
    outbox.put([*content(ONE, [b"ab", b"cd"]), *content("2" * 64, [b"ef", b"gh"])])
    outbox.put([begun("a", b"{}"), numbered(0), numbered(1)])
    outbox.remember(run_id=7)
    outbox.contents.acknowledge("2" * 64, 9)
    outbox.refuse(outbox.take(1, 1)[0], "no")
    fill(outbox)

    outbox.put([numbered(2, HUGE)])

    assert content_of(outbox, ONE) == b"abcd"
    assert (outbox.contents.remote_ids(["2" * 64]), outbox.session()) == ({"2" * 64: 9}, {"run_id": 7})
    assert (outbox.running(), outbox.refusals()) == ([("a", b"{}")], {"no": 1})


def test_a_batch_stays_taken_where_the_disk_fails(outbox: Outbox) -> None:
    outbox.put([numbered(1)])
    batch = take_all(outbox)
    fill(outbox)

    outbox.put([numbered(2, HUGE)])

    assert ids(take_all(outbox)) == ["id-2"]
    outbox.acknowledge(batch)
    assert outbox.undelivered() == 1


def test_a_disk_that_is_really_full_loses_nothing(path: Path, outbox: Outbox) -> None:
    outbox.put([numbered(1)])

    with full_disk(path):
        outbox.put([numbered(2, HUGE)])

    assert ids(take_all(outbox)) == ["id-1", "id-2"]
    assert outbox.trouble


@pytest.mark.parametrize("change", ["acknowledge", "refuse", "uploaded", "remember"])
def test_a_full_disk_does_not_keep_the_sender_from_its_notes(change: str, path: Path, outbox: Outbox) -> None:
    outbox.put([numbered(1), *content(ONE, [b"ab", b"cd"])])
    batch = take_all(outbox)
    changes: dict[str, Callable[[], None]] = {
        "acknowledge": lambda: outbox.acknowledge(batch),
        "refuse": lambda: outbox.refuse(batch[0], "no"),
        "uploaded": lambda: outbox.contents.acknowledge(ONE, 7),
        "remember": lambda: outbox.remember(run_id=7),
    }

    with full_disk(path):
        changes[change]()

    kept = {
        "acknowledge": outbox.undelivered() == 0,
        "refuse": outbox.refusals() == {"no": 1},
        "uploaded": outbox.contents.remote_ids([ONE]) == {ONE: 7},
        "remember": outbox.session() == {"run_id": 7},
    }
    assert kept[change]


def test_what_failed_in_memory_too_is_an_error_and_not_silence(outbox: Outbox) -> None:
    fill(outbox)
    outbox.put([numbered(1, HUGE)])
    fill(outbox)

    with pytest.raises(OutboxError, match="full"):
        outbox.put([numbered(2, HUGE)])
