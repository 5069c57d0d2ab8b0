"""The tail of an outbox: what was accepted and is not in the database yet."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from famacase_xdist.state.outbox_journal import MOST_BYTES, Journal
from harness.outboxes import files_at
from harness.results import begun, numbered
from hypothesis import given
from hypothesis import strategies as st

from famacase_xdist.results.frames import Frame, PieceHead, ResultHead
from famacase_xdist.results.text import encodable
from famacase_xdist.state.outbox import MOST_PENDING, MOST_PENDING_BYTES, Outbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox" / "session.sqlite3"


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "session.sqlite3-tail")
    yield opened
    opened.close()


def tail_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-tail")


def transactions(outbox: Outbox) -> list[str]:
    """Note the transactions from now on."""
    started: list[str] = []
    outbox._db.set_trace_callback(lambda text: started.append(text) if text.startswith("BEGIN") else None)
    return started


def test_a_put_costs_no_transaction_and_the_next_batch_one(path: Path) -> None:
    outbox = Outbox(files_at(path))
    started = transactions(outbox)

    for number in range(20):
        outbox.put([begun(f"t.py::test_{number}"), numbered(number)])
    assert started == []
    batch = outbox.take(100, 10_000)

    assert [each.head.id for each in batch] == [f"id-{number}" for number in range(20)]
    assert len(started) == 1
    outbox.close()


def test_what_nobody_asks_for_moves_on_when_there_is_enough_of_it(path: Path) -> None:
    outbox = Outbox(files_at(path))
    started = transactions(outbox)

    for number in range(MOST_PENDING * 2 + 1):
        outbox.put([numbered(number)])

    assert len(started) == 2
    assert 0 < tail_of(path).stat().st_size < 1000
    outbox.close()


def test_large_results_move_on_sooner(path: Path) -> None:
    outbox = Outbox(files_at(path))
    started = transactions(outbox)

    for number in range(MOST_PENDING_BYTES // MOST_BYTES + 1):
        outbox.put([numbered(number, b"x" * MOST_BYTES)])

    assert len(started) == 1
    outbox.close()


@pytest.mark.process
def test_what_a_killed_process_left_in_the_tail_is_there_for_the_next(path: Path) -> None:
    child = os.fork()
    if child == 0:
        outbox = Outbox(files_at(path))
        outbox.put([begun("t.py::test_1", b'{"title":"One"}'), numbered(0)])
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert tail_of(path).stat().st_size > 0

    for _ in range(2):  # a process that only looks takes nothing away
        outbox = Outbox(files_at(path))
        assert outbox.running() == [("t.py::test_1", b'{"title":"One"}')]
        assert outbox.undelivered() == 1
        outbox.close()
    assert not tail_of(path).exists()


def test_what_is_in_both_the_tail_and_the_database_is_there_once(path: Path) -> None:
    outbox = Outbox(files_at(path))
    outbox.put([numbered(1)])
    left = tail_of(path).read_bytes()
    outbox.close()
    tail_of(path).write_bytes(left)  # as after a death between commit and cut

    outbox = Outbox(files_at(path))

    assert outbox.undelivered() == 1
    outbox.close()


def test_a_frame_that_was_being_written_is_no_frame(tail: Journal, tmp_path: Path) -> None:
    assert tail.append([numbered(1)])
    whole = tail_of(tmp_path / "session.sqlite3").read_bytes()
    for cut in range(1, len(whole)):
        tail_of(tmp_path / "session.sqlite3").write_bytes(whole + whole[:cut])
        reader = Journal(tmp_path / "session.sqlite3-tail")
        assert reader.frames() == [numbered(1)]
        reader.close()


@given(st.lists(st.tuples(st.text(), st.binary(max_size=200)), max_size=5))
def test_frames_are_read_as_they_were_appended(entries: list[tuple[str, bytes]]) -> None:
    import tempfile

    frames = [begun(nodeid, body) for nodeid, body in entries]
    with tempfile.TemporaryDirectory() as directory:
        tail = Journal(Path(directory) / "session.sqlite3")
        assert tail.append(frames)
        tail.close()
        reader = Journal(Path(directory) / "session.sqlite3")
        read = reader.frames()
        reader.close()

    assert read == [begun(encodable(each.head.nodeid), each.body) for each in frames]


def test_attachments_are_not_written_twice(path: Path) -> None:
    outbox = Outbox(files_at(path))
    piece = Frame(PieceHead("d" * 64, 0), b"x" * (MOST_BYTES + 1))

    outbox.put([numbered(1)])
    outbox.put([piece])

    assert tail_of(path).stat().st_size == 0
    assert outbox.contents.piece("d" * 64, 0) == piece.body
    assert outbox.undelivered() == 1
    outbox.close()


def test_where_the_tail_cannot_grow_the_database_takes_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(files_at(path))
    outbox.put([numbered(1)])
    kept = tail_of(path).read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:7]))  # then the disk is full

    outbox.put([numbered(2)])

    monkeypatch.undo()
    assert len(kept) > 7
    assert tail_of(path).stat().st_size == 0
    assert [each.head.id for each in outbox.take(10, 10_000)] == ["id-1", "id-2"]
    assert outbox.trouble == ""
    outbox.close()


def test_the_tail_is_the_users_alone(path: Path) -> None:
    outbox = Outbox(files_at(path))

    assert tail_of(path).stat().st_mode & 0o777 == 0o600
    outbox.close(delete=True)
    assert not tail_of(path).exists()


def killed_with_a_tail(path: Path, results: int) -> None:
    """Let a process die that has accepted results, all of them in the tail."""
    child = os.fork()
    if child == 0:
        outbox = Outbox(files_at(path))
        for number in range(results):
            outbox.put([numbered(number, b"x" * 2000)])
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)


@pytest.mark.process
def test_whoever_looks_into_a_file_on_a_full_disk_takes_nothing_away(path: Path) -> None:
    killed_with_a_tail(path, 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        outbox = Outbox(files_at(path))
        assert outbox.left() == 20
        outbox.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    outbox = Outbox(files_at(path))

    assert outbox.undelivered() == 20
    outbox.close(delete=True)
    assert list(path.parent.iterdir()) == []


def test_a_frame_that_the_database_refuses_costs_no_other(path: Path) -> None:
    outbox = Outbox(files_at(path))
    bad = Frame(ResultHead("bad", "t.py::test_bad", "passed", attempt=2**70), b"{}")

    for frame in (numbered(1), bad, numbered(2)):
        outbox.put([frame])

    assert [each.head.id for each in outbox.take(10, 10_000)] == ["id-1", "id-2"]
    assert outbox.lost.total() == 1
    outbox.put([numbered(3)])
    assert outbox.undelivered() == 3
    outbox.close()


def test_a_frame_that_the_database_refuses_and_that_is_no_result_is_no_loss(path: Path) -> None:
    outbox = Outbox(files_at(path))
    outbox.put([Frame(PieceHead("digest", 2**70), b"x")])

    assert outbox.undelivered() == 0
    assert list(outbox.lost) == []
    outbox.close()
