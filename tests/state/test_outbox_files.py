"""The files of an outbox: one process's alone, kept as long as anything in them is needed, and then gone."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from harness.outboxes import HOLDING, ONE, Child, Ends, files_at, ids, left_behind, take_all
from harness.results import begun, content, numbered

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import Frame, IgnoredHead
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

# Whose they are


@pytest.mark.process
def test_the_outbox_of_a_session_that_lives_is_refused_and_left_as_it_is(
    files: OutboxFiles, child: Callable[..., Child]
) -> None:
    assert child(HOLDING, files.path).line() == "ready"
    before = sorted(os.listdir(files.path))

    with pytest.raises(OutboxError, match=f"^outbox {files.path}: a session has it$"):
        Outbox(files)

    assert sorted(os.listdir(files.path)) == before


@pytest.mark.process
def test_a_session_and_what_delivers_for_it_are_two_processes(files: OutboxFiles, child: Callable[..., Child]) -> None:
    session = child(HOLDING, files.path)
    assert session.line() == "ready"

    outbox = Outbox(files, beside_writer=True)

    assert len(take_all(outbox)) == 50
    with pytest.raises(OutboxError, match="a session has it"):
        Outbox(files, beside_writer=True)
    outbox.close()


@pytest.mark.process
def test_what_a_killed_session_wrote_is_there_for_the_next(files: OutboxFiles, child: Callable[..., Child]) -> None:
    session = child(HOLDING, files.path)
    assert session.line() == "ready"
    session.kill()

    outbox = Outbox(files)

    assert ids(take_all(outbox)) == [f"id-{number}" for number in range(50)]
    outbox.close()


@pytest.mark.process
def test_what_still_delivers_for_a_session_that_died_keeps_others_out(
    files: OutboxFiles, child: Callable[..., Child]
) -> None:
    left_behind(files, [numbered(1)])
    courier = child("outbox = Outbox(files_at(Path(sys.argv[1])), beside_writer=True)\nready()", files.path)
    assert courier.line() == "ready"

    with pytest.raises(OutboxError, match="a session has it"):
        Outbox(files)
    courier.kill()

    outbox = Outbox(files)
    assert ids(take_all(outbox)) == ["id-1"]
    outbox.close()


@pytest.mark.process
def test_who_is_patient_gets_an_outbox_that_another_process_looks_into(
    files: OutboxFiles, child: Callable[..., Child]
) -> None:
    left_behind(files, [numbered(1)])
    looking = child("outbox = Outbox(files_at(Path(sys.argv[1])))\nready()\noutbox.close()", files.path)
    assert looking.line() == "ready"
    looking.go()

    outbox = Outbox(files, patience=60.0)

    assert outbox.undelivered() == 1
    outbox.close()


@pytest.mark.process
def test_looking_at_sessions_that_start_harms_none_of_them(files: OutboxFiles, child: Callable[..., Child]) -> None:
    starting = child(
        """
        journals = []
        for number in range(200):
            journals.append(Journal(files_at(Path(sys.argv[1]).with_name(f"session-{number}"))))
            journals[-1].append([numbered(number)])
        ready()
        for journal in journals:
            journal.append([numbered(1000)])
        """,
        files.path,
    )
    looks = 0
    os.set_blocking(starting.process.stdout.fileno(), False)  # type: ignore[union-attr]
    while not starting.line():
        with contextlib.suppress(OSError):
            for each in files.state.all_outboxes():
                looks += 1
                with pytest.raises(OutboxError, match="a session has it"):
                    Outbox(each).close(delete=True)
    assert starting.finish() == 0

    assert looks
    found = files.state.all_outboxes()
    assert len(found) == 200
    for each in found:
        assert sorted(os.listdir(each.path)) == ["00000001.journal", "contents", "writer"]
        outbox = Outbox(each)
        assert outbox.undelivered() == 2
        outbox.close(delete=True)
    assert os.listdir(files.state.outboxes) == []


def test_an_outbox_that_is_not_there_is_not_made(files: OutboxFiles) -> None:
    for beside_writer in (True, False):
        with pytest.raises(OutboxError, match=f"outbox {files.path}: No such file"):
            Outbox(files, beside_writer=beside_writer)

    assert not files.path.exists()


def test_a_refused_outbox_can_be_opened_later(ends: Ends) -> None:
    ends.put(numbered(1))
    with pytest.raises(OutboxError):
        Outbox(ends.files)

    outbox = ends.end()

    assert outbox.undelivered() == 1
    outbox.close()


def test_outboxes_are_listed_the_oldest_first_without_those_in_the_making(files: OutboxFiles) -> None:
    assert files.state.all_outboxes() == []
    for name in ("20260102T000000-b", "20260101T000000-c", "20260102T000000-a"):
        left_behind(files.state.outbox(name), [numbered(1)])
    (files.state.outboxes / ".new-session").mkdir()
    (files.state.outboxes / "a-file").touch()

    assert [each.session for each in files.state.all_outboxes()] == [
        "20260101T000000-c",
        "20260102T000000-a",
        "20260102T000000-b",
    ]


def test_the_names_of_new_outboxes_differ(files: OutboxFiles) -> None:
    assert len({files.state.new_outbox().session for _ in range(100)}) == 100


# Segments


@pytest.mark.usefixtures("short_segments")
def test_a_segment_is_deleted_when_all_its_results_are_acknowledged(ends: Ends) -> None:
    ends.put(numbered(1), numbered(2))
    ends.put(numbered(3))
    ends.put(numbered(4))
    one, two, three, four = take_all(ends.outbox)

    ends.outbox.acknowledge([three])
    assert ends.files.segments() == [1, 3]
    ends.outbox.acknowledge([one])
    assert ends.files.segments() == [1, 3]
    ends.outbox.acknowledge([two, four])

    assert ends.files.segments() == [3]
    ends.put(numbered(5))
    assert ends.files.segments() == [4]


@pytest.mark.usefixtures("short_segments")
def test_a_refused_result_keeps_its_segment(ends: Ends) -> None:
    ends.put(numbered(1))
    ends.outbox.refuse(take_all(ends.outbox)[0], "no")

    ends.put(numbered(2))

    assert ends.files.segments() == [1, 2]


def test_results_of_our_own_go_to_a_segment_of_their_own(ends: Ends) -> None:
    ends.put(begun("t.py::test_2"), numbered(1))
    outbox = ends.end()

    outbox.add([numbered(2)])
    outbox.add([])

    assert (ends.files.segments(), ids(take_all(outbox)), outbox.running()) == ([1, 2], ["id-1", "id-2"], [])
    outbox.close()
    again = Outbox(ends.files)
    assert (ids(take_all(again)), again.running(), again.seen) == (["id-1", "id-2"], [], 2)
    again.close()


@pytest.mark.process
def test_what_delivers_for_a_session_adds_results_when_it_has_died(
    files: OutboxFiles, child: Callable[..., Child]
) -> None:
    session = child(HOLDING, files.path)
    assert session.line() == "ready"
    outbox = Outbox(files, beside_writer=True)
    session.kill()

    outbox.add([numbered(1000)])

    assert files.segments() == [1, 2]
    assert outbox.undelivered() == 51
    outbox.close()


def test_beside_a_session_that_lives_results_of_our_own_are_in_memory(ends: Ends) -> None:
    with mock.patch("famacase_xdist.state.outbox.PATIENCE", 0.0):
        ends.outbox.add([numbered(1)])

    assert (ends.files.segments(), ids(take_all(ends.outbox))) == ([1], ["id-1"])


def test_without_files_results_are_in_memory() -> None:
    outbox = Outbox(None)
    outbox.accept([begun("t.py::test_2", b"{}"), numbered(1)], "no directory")
    outbox.add([numbered(2)])

    assert (outbox.path, outbox.trouble, outbox.follow()) == (None, "no directory", 0)
    assert take_all(outbox) == [numbered(1), numbered(2)]
    assert (outbox.running(), outbox.seen) == ([], 2)
    outbox.sync()
    outbox.close()
    outbox.close(delete=True)


def test_results_in_memory_come_after_those_that_were_written_before(ends: Ends) -> None:
    ends.journal.append([numbered(1)])
    ends.outbox.accept([numbered(2), numbered(3)], "full")
    ends.outbox.accept([numbered(4)], "other")
    ends.put(numbered(5))

    assert ends.outbox.trouble == "full"
    assert ids(take_all(ends.outbox))[0] == "id-1"
    assert ends.outbox.seen == 5


# Power failures


def test_what_was_read_is_brought_to_the_disk_once(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = System.fsync
    monkeypatch.setattr(
        System, "fsync", staticmethod(lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")) or fsync(file))
    )
    ends.put(numbered(1), *content(ONE, [b"ab"]))
    ends.outbox.remember(host="h")

    ends.outbox.sync()
    ends.outbox.sync()

    assert sorted(map(os.path.basename, synced)) == ["00000001.journal", ONE, "notes"]


# The end


def test_deleting_leaves_nothing(ends: Ends) -> None:
    ends.put(numbered(1), *content(ONE, [b"ab"]), *content("2" * 64, [b"ab", b"cd"])[:1])
    ends.outbox.remember(host="h")

    ends.outbox.close(delete=True)
    ends.journal.close()

    assert os.listdir(ends.files.state.outboxes) == []


def test_what_came_in_the_last_moment_is_not_deleted(ends: Ends) -> None:
    ends.journal.append([numbered(1)])

    ends.outbox.close(delete=True)

    outbox = ends.end()
    assert outbox.undelivered() == 1
    outbox.close(delete=True)
    assert os.listdir(ends.files.state.outboxes) == []


def test_a_second_close_deletes_nothing_because_another_process_may_have_the_files(ends: Ends) -> None:
    ends.outbox.close()

    ends.outbox.close(delete=True)

    assert ends.files.path.exists()


def test_after_the_end_nothing_is_changed(ends: Ends) -> None:
    ends.put(numbered(1))
    batch = take_all(ends.outbox)
    ends.close()

    ends.outbox.acknowledge(batch)
    ends.outbox.remember(host="h")
    ends.outbox.contents.acknowledge(ONE, 7)
    ends.outbox.follow()
    ends.outbox.sync()

    again = Outbox(ends.files)
    assert (again.undelivered(), again.session()) == (1, {})
    again.close()


@pytest.mark.parametrize("after", range(10))
def test_where_deleting_is_cut_off_nothing_comes_back(after: int, ends: Ends) -> None:
    with mock.patch("famacase_xdist.state.journal.SEGMENT_BYTES", 1):
        ends.put(begun("t.py::test_2"), numbered(1))
        ends.put(numbered(2), *content(ONE, [b"ab"]))
    ends.outbox.acknowledge(ends.outbox.take(1, 1))
    ends.outbox.acknowledge(ends.outbox.take(1, 1))
    ends.outbox.contents.acknowledge(ONE, 7)
    ends.close()
    unlink, rmdir = Path.unlink, Path.rmdir
    steps: Iterator[int] = iter(range(100))

    def cut_off(path: Path, missing_ok: bool = False) -> None:
        if next(steps) >= after:
            raise PermissionError
        unlink(path, missing_ok) if path.is_file() or missing_ok else rmdir(path)

    with mock.patch.object(Path, "unlink", cut_off), mock.patch.object(Path, "rmdir", cut_off):
        Outbox(ends.files).close(delete=True)

    for each in ends.files.state.all_outboxes():
        outbox = Outbox(each)
        assert (outbox.left(), outbox.damage) == (0, {})
        outbox.close(delete=True)
    assert os.listdir(ends.files.state.outboxes) == []


# Where a lock stays on the machine


@pytest.fixture
def on_a_share(tmp_path: Path) -> OutboxFiles:
    """An outbox in a state directory whose locks are leases."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "locks").write_text("lease")
    return files_at(tmp_path / "outbox" / "a")


def test_an_outbox_on_a_share_has_a_lease_that_keeps_others_out(on_a_share: OutboxFiles) -> None:
    ends = Ends(on_a_share)
    assert on_a_share.lease.exists()
    # As if the other locks were not seen: the lease alone has to do.
    copy = on_a_share.state.outbox("copy")
    shutil.copytree(on_a_share.path, copy.path)
    with pytest.raises(OutboxError, match="a session has it"):
        Outbox(copy)

    ends.outbox.close()

    assert not on_a_share.lease.exists()
    ends.journal.close()


def test_deleting_an_outbox_on_a_share_leaves_nothing(on_a_share: OutboxFiles) -> None:
    ends = Ends(on_a_share)
    ends.outbox.close(delete=True)
    ends.journal.close()

    assert os.listdir(on_a_share.state.outboxes) == []


def test_an_outbox_on_a_machines_own_disk_has_no_lease(ends: Ends) -> None:
    assert not ends.files.lease.exists()


def test_a_refused_opener_leaves_no_lock_behind(ends: Ends) -> None:
    ends.put(numbered(1), Frame(IgnoredHead("a")))
    ends.journal.close()
    with pytest.raises(OutboxError):
        Outbox(ends.files)  # it gets the lock of the session, and not that of the reader

    outbox = ends.end()

    outbox.close(delete=True)
    assert not ends.files.path.exists()


def test_a_new_session_of_the_same_name_is_refused(ends: Ends) -> None:
    with pytest.raises(OutboxError, match="not empty"):
        Journal(ends.files)

    assert ends.put(numbered(1)) == 1
