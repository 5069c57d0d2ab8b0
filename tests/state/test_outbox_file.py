"""The outbox's file: the user's alone, one process's alone, and gone when nothing is left."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.outboxes import HOLDING, HUGE, Child, files_at, full_disk, ids, take_all
from harness.results import numbered

from famacase_xdist.errors import OutboxError
from famacase_xdist.state.outbox import Outbox


def test_file_and_directory_are_the_users_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        outbox = Outbox(files_at(path))
        outbox.put([numbered(1)])
    finally:
        os.umask(before)

    files = (path, path.with_name(f"{path.name}-wal"))
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    outbox.close()


@pytest.mark.process
def test_a_second_process_is_refused_while_the_first_one_lives(path: Path, child: Callable[..., Child]) -> None:
    assert child(HOLDING, path).line() == "ready"

    with pytest.raises(OutboxError, match="locked"):
        Outbox(files_at(path))


@pytest.mark.process
def test_what_a_killed_process_committed_is_there_for_the_next(path: Path, child: Callable[..., Child]) -> None:
    first = child(HOLDING, path)
    assert first.line() == "ready"
    first.kill()

    outbox = Outbox(files_at(path))
    assert ids(take_all(outbox)) == [f"id-{number}" for number in range(50)]
    outbox.close()


OTHER = """
    try:
        Outbox(files_at(Path(sys.argv[1]))).close()
        print("opened")
    except OutboxError:
        print("refused")
"""


def test_a_second_opener_in_the_same_process_is_refused(path: Path, outbox: Outbox) -> None:
    with pytest.raises(OutboxError, match="locked"):
        Outbox(files_at(path))


@pytest.mark.process
def test_a_refused_opener_in_the_same_process_does_not_unlock_the_file_for_others(
    path: Path, outbox: Outbox, child: Callable[..., Child]
) -> None:
    with pytest.raises(OutboxError):
        Outbox(files_at(path))

    assert child(OTHER, path).line() == "refused"


@pytest.mark.process
@pytest.mark.parametrize(
    "ending",
    ["sys.exit()", "import gc; del outbox; gc.collect(); sys.exit()", "os._exit(0)"],
    ids=["exit", "gc", "now"],
)
def test_a_forked_child_that_ends_leaves_the_parents_file_whole(
    ending: str, path: Path, child: Callable[..., Child]
) -> None:
    parent = child(
        f"""
        outbox = Outbox(files_at(Path(sys.argv[1])))
        outbox.put([numbered(1)])
        pid = os.fork()
        if not pid:
            {ending}
        os.waitpid(pid, 0)
        outbox.put([numbered(2)])
        ready()
        """,
        path,
    )
    assert parent.line() == "ready"
    with pytest.raises(OutboxError, match="locked"):
        Outbox(files_at(path))
    parent.kill()

    outbox = Outbox(files_at(path))
    assert ids(take_all(outbox)) == ["id-1", "id-2"]
    outbox.close()


@pytest.mark.process
def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(
    path: Path, child: Callable[..., Child]
) -> None:
    parent = child(
        """
        outbox = Outbox(files_at(Path(sys.argv[1])))
        outbox.put([numbered(1)])
        reading, writing = os.pipe()
        if not os.fork():
            os.close(1)
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        ready()
        """,
        path,
    )
    assert parent.line() == "ready"
    parent.kill()

    outbox = Outbox(files_at(path))
    assert outbox.undelivered() == 1
    outbox.close()


def test_a_file_of_another_version_is_refused_and_left_as_it_was(path: Path) -> None:
    Outbox(files_at(path)).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()

    with pytest.raises(OutboxError, match=r"another version of famacase-xdist \(format 2\)"):
        Outbox(files_at(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000], ids=["text", "header"])
def test_a_file_that_is_no_outbox_is_refused_and_left_as_it_was(garbage: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(garbage)

    with pytest.raises(OutboxError, match=r"session\.sqlite3"):
        Outbox(files_at(path))
    assert path.read_bytes() == garbage


@pytest.mark.process
def test_a_file_that_was_refused_can_be_opened_later(path: Path, child: Callable[..., Child]) -> None:
    holder = child(HOLDING, path)
    holder.line()
    with pytest.raises(OutboxError):
        Outbox(files_at(path))
    assert holder.finish() == 0

    outbox = Outbox(files_at(path))
    assert outbox.undelivered() == 50
    outbox.close()


def test_a_directory_that_cannot_be_made_is_an_error_of_ours() -> None:
    with pytest.raises(OutboxError, match="/proc/outbox"):
        Outbox(files_at(Path("/proc/outbox/session.sqlite3")))


def test_a_file_in_the_place_of_the_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()

    with pytest.raises(OutboxError, match="outbox"):
        Outbox(files_at(tmp_path / "outbox" / "session.sqlite3"))


def test_deleting_leaves_nothing_of_the_file(path: Path, outbox: Outbox) -> None:
    outbox.put([numbered(1)])
    assert len(list(path.parent.iterdir())) > 1

    outbox.close(delete=True)

    assert list(path.parent.iterdir()) == []


def test_deleting_leaves_nothing_where_the_disk_is_full(path: Path, outbox: Outbox) -> None:
    outbox.put([numbered(1)])

    with full_disk(path):
        outbox.put([numbered(2, HUGE)])
        outbox.close(delete=True)

    assert list(path.parent.iterdir()) == []


def test_closing_leaves_all_in_the_one_file(path: Path, outbox: Outbox) -> None:
    outbox.put([numbered(1)])

    outbox.close()

    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_kept_is_not_larger_than_what_is_left_needs(path: Path, outbox: Outbox) -> None:
    outbox.put([numbered(number, HUGE) for number in range(30)])
    batch = take_all(outbox)
    outbox.acknowledge([each for each in batch if each.head.id != "id-7"])
    outbox.remember(host="http://x")
    large = path.stat().st_size

    outbox.close()

    assert large > 20 * len(HUGE)
    assert path.stat().st_size < 2 * len(HUGE)
    again = Outbox(files_at(path))
    assert [(each.head.id, each.body) for each in take_all(again)] == [("id-7", HUGE)]
    assert again.session() == {"host": "http://x"}
    again.close()


def test_a_second_close_is_harmless_and_may_still_delete(path: Path, outbox: Outbox) -> None:
    outbox.close()

    outbox.close(delete=True)

    assert not path.exists()


def test_sync_after_close_is_harmless(outbox: Outbox) -> None:
    outbox.put([numbered(1)])
    outbox.close()

    outbox.sync()


def test_a_commit_is_brought_to_the_disk_once(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    outbox.put([numbered(1)])

    outbox.sync()
    outbox.sync()

    assert len(synced) == 1


def test_after_close_there_is_an_error_of_ours(outbox: Outbox) -> None:
    outbox.close()

    with pytest.raises(OutboxError):
        outbox.undelivered()


# Where the lock of a file stays on the machine


@pytest.fixture
def on_a_share(tmp_path: Path) -> Path:
    """An outbox's file in a state directory whose locks are leases."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "locks").write_text("lease")
    return tmp_path / "outbox" / "a.sqlite3"


def test_an_outbox_on_a_share_has_a_lease_that_keeps_others_out(on_a_share: Path) -> None:
    outbox = Outbox(files_at(on_a_share))
    assert [path.name for path in on_a_share.parent.glob("*.lease")] == ["a.lease"]
    # As if SQLite's own lock were not seen: the lease alone has to do.
    copy = on_a_share.with_name("copy.sqlite3")
    on_a_share.with_suffix(".lease").rename(copy.with_suffix(".lease"))
    try:
        with pytest.raises(OutboxError, match="a session has it"):
            Outbox(files_at(copy))
    finally:
        copy.with_suffix(".lease").rename(on_a_share.with_suffix(".lease"))
        outbox.close(delete=True)
    assert list(on_a_share.parent.iterdir()) == []


def test_an_outbox_on_a_machines_own_disk_has_none(tmp_path: Path) -> None:
    outbox = Outbox(files_at(tmp_path / "outbox" / "a.sqlite3"))
    assert list((tmp_path / "outbox").glob("*.lease")) == []
    outbox.close()
