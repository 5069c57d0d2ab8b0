"""The journal: all of a call is on disk when it returns, or nothing is, whatever tests do to the process."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from harness.outboxes import ONE, Child, Ends, content_of, failing, files_at, full_disk, ids, take_all
from harness.results import attachment, begun, content, numbered
from pyfakefs.fake_filesystem import OSType
from pyfakefs.fake_filesystem_unittest import Patcher

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import Frame, NoteHead
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

SEGMENT = "00000001.journal"


def tree(files: OutboxFiles) -> list[str]:
    """Return the names of all files of an outbox, sorted."""
    return sorted(str(path.relative_to(files.path)) for path in files.path.rglob("*"))


# Its files


@pytest.mark.parametrize("umask", [0, 0o777])
@pytest.mark.usefixtures("short_segments")
def test_files_and_directories_are_the_users_alone_whatever_the_umask(umask: int, files: OutboxFiles) -> None:
    files.path.parent.mkdir(parents=True)
    before = os.umask(umask)
    try:
        ends = Ends(files)
        ends.put(numbered(1), *content(ONE, [b"ab"]))
        ends.put(numbered(2))
        ends.outbox.remember(host="h")
        ends.close()
    finally:
        os.umask(before)

    modes = {str(path.relative_to(files.path)): stat.S_IMODE(path.stat().st_mode) for path in files.path.rglob("*")}
    assert modes.pop("contents") == stat.S_IMODE(files.path.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(["writer", "reader", "notes", SEGMENT, "00000002.journal", f"contents/{ONE}"], 0o600)


def test_the_directory_of_all_outboxes_is_the_users_alone(files: OutboxFiles) -> None:
    journal = Journal(files)

    assert stat.S_IMODE(files.state.outboxes.stat().st_mode) == 0o700
    journal.close()


def test_nobody_sees_an_outbox_before_its_session_has_the_lock(
    files: OutboxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    rename = System.rename

    def look(old: str, new: str) -> None:
        seen.append(files.state.all_outboxes())
        rename(old, new)
        seen.append(files.state.all_outboxes())
        with pytest.raises(OutboxError, match="a session has it"):
            Outbox(files)

    monkeypatch.setattr(System, "rename", staticmethod(look))
    journal = Journal(files)

    assert seen == [[], [files]]
    assert tree(files) == [SEGMENT, "contents", "writer"]
    journal.close()


def test_a_directory_that_cannot_be_made_is_an_error_of_ours() -> None:
    with pytest.raises(OutboxError, match="outbox /proc/outbox/session: No such file"):
        Journal(files_at(Path("/proc/outbox/session")))


def test_a_file_in_the_place_of_the_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()

    with pytest.raises(OutboxError, match="exists"):
        Journal(files_at(tmp_path / "outbox" / "session"))


@pytest.mark.parametrize("call", ["open", "fstat", "lockf", "rename"])
def test_a_journal_that_cannot_be_made_leaves_nothing(call: str, files: OutboxFiles) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))

    with failing(call, errno.EMFILE), pytest.raises(OutboxError, match="Too many open files"):
        Journal(files)

    assert list(files.state.outboxes.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors + (call == "fstat")


def test_a_session_that_wrote_nothing_leaves_nothing(files: OutboxFiles) -> None:
    journal = Journal(files)

    journal.close()
    journal.close()

    assert list(files.state.outboxes.iterdir()) == []


@pytest.mark.parametrize("frame", [begun("a"), content(ONE, [b"ab"])[0]], ids=["record", "piece"])
def test_a_session_that_wrote_anything_leaves_it(frame: Any, files: OutboxFiles) -> None:
    journal = Journal(files)
    journal.append([frame])

    journal.close()

    assert files.path.exists()


def test_an_outbox_that_a_reader_has_is_left_to_it(files: OutboxFiles) -> None:
    journal = Journal(files)
    outbox = Outbox(files, beside_writer=True)

    journal.close()

    assert files.path.exists()
    outbox.close(delete=True)
    assert list(files.state.outboxes.iterdir()) == []


# Frames


def test_a_call_is_one_write(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = System.write
    monkeypatch.setattr(System, "write", staticmethod(lambda file, data: written.append(data) or write(file, data)))

    ends.journal.append([begun("a"), numbered(1), numbered(2)])

    assert len(written) == 1
    assert ends.outbox.follow() == 2


def test_what_is_appended_is_there_for_the_reader_as_it_was(ends: Ends) -> None:
    ends.put(numbered(1, b'{"id":"x"}', contents=[ONE]))

    assert take_all(ends.outbox) == [numbered(1, b'{"id":"x"}', contents=[ONE])]


def test_a_line_for_the_summary_is_not_kept(ends: Ends) -> None:
    ends.put(Frame(NoteHead("hello")))

    assert Path(ends.files.segment(1)).stat().st_size == 0


@pytest.mark.parametrize("after", range(4))
def test_a_call_that_fails_leaves_nothing_of_its_frames(
    after: int, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes a few bytes, once or more often, and then no more."""
    write = System.write
    ends.put(numbered(1))
    calls = 0

    def fill(file: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[:130])

    with monkeypatch.context() as patch:
        patch.setattr(System, "write", staticmethod(fill))
        with pytest.raises(OutboxError, match=r"session: No space left on device"):
            ends.journal.append([numbered(2), numbered(3), begun("a", b"x" * 500)])
        assert ends.outbox.follow() == 0
    assert "No space left" in ends.journal.trouble

    ends.put(numbered(4), begun("b"))

    for outbox in (ends.outbox, ends.end()):
        assert ids(take_all(outbox)) == ["id-1", "id-4"]
        assert (outbox.running(), outbox.damage) == ([("b", b"")], {})
        outbox.close()


def test_a_write_that_was_cut_short_goes_on(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    write = System.write
    monkeypatch.setattr(System, "write", staticmethod(lambda file, data: write(file, data[:7])))

    assert ends.put(numbered(1), numbered(2)) == 2
    assert ends.journal.trouble == ""


def test_on_a_disk_that_is_really_full_nothing_of_a_call_is_there(ends: Ends) -> None:
    ends.put(numbered(1))

    with full_disk(Path(ends.files.segment(1)).stat().st_size + 100), pytest.raises(OutboxError, match="too large"):
        ends.journal.append([numbered(2), numbered(3)])
    ends.put(numbered(4))

    assert ids(take_all(ends.outbox)) == ["id-1", "id-4"]


@pytest.mark.usefixtures("short_segments")
def test_where_no_segment_can_be_begun_the_next_call_tries_again(ends: Ends) -> None:
    ends.put(numbered(1))
    with failing("open", errno.EMFILE), pytest.raises(OutboxError, match="Too many open files"):
        ends.journal.append([numbered(2)])

    ends.put(numbered(3))

    assert ids(take_all(ends.outbox)) == ["id-1", "id-3"]
    assert Path(ends.files.segment(2)).exists()


def test_a_segment_is_full_some_time(ends: Ends) -> None:
    for number in range(6):
        ends.put(numbered(number, b"x" * 1_500_000))

    assert ends.files.segments() == [1, 2]
    assert len(take_all(ends.outbox)) == 6


# Contents


def parts(files: OutboxFiles) -> list[str]:
    return sorted(path.name for path in files.contents.iterdir())


def test_a_content_has_its_name_when_it_is_whole(ends: Ends) -> None:
    frames = content(ONE, [b"ab", b"cd"])
    ends.put(*frames[:2])
    assert (parts(ends.files), ends.outbox.contents.waiting(ONE)) == ([f"{ONE}.part"], None)

    ends.put(frames[2])

    assert (parts(ends.files), content_of(ends.outbox, ONE)) == ([ONE], b"abcd")


@pytest.mark.parametrize("turns", ["ABABAB", "AABBAB", "AAABBB", "ABBBAA"])
def test_equal_content_of_two_workers_is_kept_once(turns: str, ends: Ends) -> None:
    workers = {name: iter(content(ONE, [b"ab", b"cd"])) for name in "AB"}
    for name in turns:
        ends.put(next(workers[name]))
    size = Path(ends.files.segment(1)).stat().st_size

    ends.put(*content(ONE, [b"ab", b"cd"]))

    assert content_of(ends.outbox, ONE) == b"abcd"
    assert (parts(ends.files), Path(ends.files.segment(1)).stat().st_size) == ([ONE], size)


def test_a_content_without_bytes_is_whole(ends: Ends) -> None:
    digest, frames = attachment(b"")

    ends.put(*frames)

    head = ends.outbox.contents.waiting(digest)
    assert head is not None
    assert ends.outbox.contents.is_whole(head)
    assert content_of(ends.outbox, digest) == b""


@pytest.mark.parametrize("missing", [0, 1])
def test_a_content_of_which_a_part_is_missing_is_not_whole(missing: int, ends: Ends) -> None:
    frames = content(ONE, [b"ab", b"cd"])
    del frames[missing]

    ends.put(*frames)

    head = ends.outbox.contents.waiting(ONE)
    assert head is not None
    assert not ends.outbox.contents.is_whole(head)
    with pytest.raises(FileNotFoundError):
        ends.outbox.contents.open(head)
    assert parts(ends.files) == []


def test_a_content_that_comes_again_after_its_upload_takes_no_room(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab", b"cd"]))
    ends.outbox.contents.acknowledge(ONE, "remote")

    ends.put(*content(ONE, [b"ab", b"cd"]))

    assert parts(ends.files) == []


def test_a_content_that_the_disk_did_not_take_can_go_another_way(ends: Ends) -> None:
    frames = content(ONE, [b"ab", b"cd", b"ef"])
    ends.put(frames[0])
    with failing("write", errno.ENOSPC), pytest.raises(OutboxError) as raised:
        ends.journal.append([frames[1]])

    ends.outbox.accept([*ends.journal.unfinished(), frames[1]], str(raised.value))
    for frame in frames[2:]:
        with pytest.raises(OutboxError, match="No space left"):
            ends.journal.append([numbered(1), frame])
        ends.outbox.accept([frame], "")

    assert content_of(ends.outbox, ONE) == b"abcdef"
    assert parts(ends.files) == []
    assert ends.outbox.follow() == 0


def test_a_content_that_was_whole_when_the_journal_failed_is_still_there(ends: Ends) -> None:
    frames = content(ONE, [b"ab", b"cd"])
    ends.put(*frames[:2])
    with failing("write", errno.ENOSPC), pytest.raises(OutboxError):
        ends.journal.append([frames[2], numbered(1)])

    assert ends.journal.unfinished() == []
    ends.outbox.accept([frames[2], numbered(1)], "full")

    assert content_of(ends.outbox, ONE) == b"abcd"


def test_a_call_that_failed_may_be_made_again(ends: Ends) -> None:
    frames = [*content(ONE, [b"ab"]), numbered(1)]
    with failing("write", errno.EIO, after=1), pytest.raises(OutboxError):
        ends.journal.append(frames)

    ends.put(*frames)

    assert (content_of(ends.outbox, ONE), ids(take_all(ends.outbox))) == (b"ab", ["id-1"])


def test_pieces_that_cannot_be_read_again_are_lost_and_no_exception(ends: Ends) -> None:
    ends.put(content(ONE, [b"ab", b"cd"])[0])

    with failing("open", errno.EIO):
        assert ends.journal.unfinished() == []


# What tests do to the process


def test_where_a_test_closes_all_descriptors_its_own_files_stay_as_they_are(ends: Ends, tmp_path: Path) -> None:
    ends.put(numbered(1))
    foreign = tmp_path / "foreign"
    lock, descriptor = ends.journal._lock._descriptor, ends.journal._descriptor
    assert lock is not None
    numbers = [lock.number, descriptor.number]
    with foreign.open("wb", buffering=0) as file:
        for number in numbers:
            os.close(number)
            os.dup2(file.fileno(), number)

        ends.put(numbered(2))

        for number in numbers:
            os.fstat(number)
            os.close(number)
    assert foreign.read_bytes() == b""
    assert ids(take_all(ends.outbox)) == ["id-1", "id-2"]
    assert ends.journal._lock.is_held


@pytest.mark.process
def test_a_lock_that_a_test_closed_is_taken_again(ends: Ends, child: Callable[..., Child]) -> None:
    assert ends.journal._lock._descriptor is not None
    os.close(ends.journal._lock._descriptor.number)
    ends.put(numbered(1))

    looking = child(
        """
        try:
            Outbox(files_at(Path(sys.argv[1])))
        except OutboxError as error:
            print(error)
        """,
        ends.files.path,
    )

    assert looking.line().endswith("a session has it")


@pytest.mark.process
def test_a_session_whose_outbox_another_process_took_writes_no_more(ends: Ends, child: Callable[..., Child]) -> None:
    ends.outbox.close()
    assert ends.journal._lock._descriptor is not None
    os.close(ends.journal._lock._descriptor.number)
    taker = child("outbox = Outbox(files_at(Path(sys.argv[1])))\nready()", ends.files.path)
    assert taker.line() == "ready"

    with (
        mock.patch("famacase_xdist.state.journal.PATIENCE", 0.0),
        pytest.raises(OutboxError, match="a session has it"),
    ):
        ends.journal.append([numbered(1)])

    taker.finish()
    ends.put(numbered(2))
    with contextlib.closing(Outbox(ends.files, beside_writer=True)) as outbox:
        assert ids(take_all(outbox)) == ["id-2"]


def test_where_the_files_are_gone_there_is_an_error_of_ours(ends: Ends) -> None:
    os.close(ends.journal._descriptor.number)
    os.unlink(ends.files.segment(1))

    with pytest.raises(OutboxError, match="No such file"):
        ends.journal.append([numbered(1)])


@pytest.mark.process
def test_a_forked_child_writes_and_ends_nothing(ends: Ends) -> None:
    ends.put(numbered(1), *content(ONE, [b"ab"])[:1])
    before = tree(ends.files)
    pid = os.fork()
    if not pid:
        try:
            ends.journal.append([numbered(2), *content(ONE, [b"ab"])])
            ends.journal.unfinished()
            ends.journal.close()
            ends.outbox.close(delete=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)

    assert tree(ends.files) == before
    assert ends.put(numbered(3), *content(ONE, [b"ab"])[1:]) == 1
    assert content_of(ends.outbox, ONE) == b"ab"


@pytest.mark.parametrize("system", [OSType.LINUX, OSType.WINDOWS, OSType.MACOS])
@pytest.mark.usefixtures("short_segments")
def test_a_file_system_that_a_test_fakes_gets_nothing(system: OSType, ends: Ends) -> None:
    with Patcher() as patcher:
        patcher.fs.os = system
        ends.put(numbered(1))
        ends.put(*content(ONE, [b"ab"]), numbered(2))
        assert content_of(ends.outbox, ONE) == b"ab"
        ends.outbox.acknowledge(take_all(ends.outbox))
        ends.outbox.sync()

    assert ends.outbox.undelivered() == 0
    assert ends.files.segments() == [2]


@pytest.mark.parametrize(
    "target",
    [
        "os.open",
        "os.write",
        "os.close",
        "os.path.join",
        "os.fstat",
        "os.getpid",
        "os.rename",
        "os.unlink",
        "os.stat",
        "os.fsync",
        "fcntl.lockf",
        "pathlib.Path.__truediv__",
        "builtins.open",
        "time.sleep",
        "time.time",
    ],
)
@pytest.mark.usefixtures("short_segments")
def test_what_a_test_patches_is_not_what_is_called(target: str, ends: Ends) -> None:
    with mock.patch(target, side_effect=AssertionError):
        ends.put(begun("t.py::test_1"), numbered(1))
        ends.put(*content(ONE, [b"ab"]), numbered(2))
        read = content_of(ends.outbox, ONE)
        ends.outbox.acknowledge(take_all(ends.outbox))
        ends.outbox.sync()

    assert (read, ends.outbox.undelivered(), ends.outbox.seen) == (b"ab", 0, 2)
