"""Files that are damaged, or on a disk that fails: no exception, nothing else is lost, and the numbers are true."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from harness.outboxes import ONE, Ends, content_of, failing, files_at, full_disk, ids, left_behind, take_all
from harness.results import begun, content, numbered, opaque
from hypothesis import given, settings
from hypothesis import strategies as st

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.state.records import pack
from famacase_xdist.system import System

#: The parts of a journal that tests spoil.
CALLS: list[list[AnyFrame]] = [
    [begun("t.py::test_0", b"{}"), numbered(0)],
    [numbered(1, b"x" * 50), numbered(2)],
    *([numbered(number)] for number in range(3, 7)),
]
SIZES = [len(pack([frame.encoded for frame in call])) for call in CALLS]


def spoiled(change: Callable[[bytes], bytes], name: str = "00000001.journal") -> tuple[list[str], Outbox]:
    """Return the results that are left when a file of an outbox has changed, and the closed outbox."""
    with TemporaryDirectory() as directory:
        files = files_at(Path(directory, "outbox", "session"))
        ends = Ends(files)
        for call in CALLS:
            ends.put(*call)
        ends.outbox.acknowledge(ends.outbox.take(1, 1))
        ends.close()
        path = files.path / name
        path.write_bytes(change(path.read_bytes()))
        outbox = Outbox(files)
        left = ids(take_all(outbox))
        outbox.close(delete=True)
        assert files.path.exists() == bool(outbox.damage)
        return left, outbox


ALL = [f"id-{number}" for number in range(1, 7)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 8 * sum(SIZES) - 1))
def test_a_flipped_bit_costs_one_record_which_is_counted_and_kept(bit: int) -> None:
    def flip(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    left, outbox = spoiled(flip)

    assert outbox.damage.total() >= 1
    assert len([each for each in ALL if each not in left]) <= 1
    assert left == sorted(left)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, sum(SIZES)), st.binary(max_size=80))
def test_a_torn_or_garbage_tail_costs_nothing_that_was_before(cut: int, garbage: bytes) -> None:
    left, outbox = spoiled(lambda content: content[:cut] + garbage)

    whole = [frame for number, call in enumerate(CALLS) if sum(SIZES[: number + 1]) <= cut for frame in call]
    expected = [f"id-{number}" for number in range(1, 7) if numbered(number).head in [each.head for each in whole]]
    assert left[: len(expected)] == expected
    assert garbage or not outbox.damage


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_garbage_anywhere_is_no_exception(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["00000001.journal", "notes"]))

    def change(content: bytes) -> bytes:
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(content)))
            garbage = data.draw(st.binary(max_size=30))
            content = content[:start] + garbage + content[start + data.draw(st.integers(0, 30)) :]
        return content

    left, _ = spoiled(change, name)

    assert name != "notes" or left[-6:] == ALL


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"done":[1]}',
        b'{"done":"x"}',
        b"[]",
        b'{"unknown":[1]}',
        b"{'",
        b'{"refused":[1,2,3,4]}',
        b'{"done":[1,[[]]]}',
        b'{"facts":7}',
        b'{"ended":["a","b",0]}',
        b'{"content":["a"]}',
        b"\xff",
    ],
)
def test_a_note_that_is_not_understood_is_damage(payload: bytes) -> None:
    left, outbox = spoiled(lambda content: content + pack([payload]), "notes")

    assert (left, outbox.damage.total()) == (ALL, 1)


def test_a_frame_that_is_none_is_damage(files: OutboxFiles) -> None:
    left, outbox = spoiled(lambda content: content + pack([b"no frame"]))

    assert (left, outbox.damage) == (ALL, {"not a frame": 1})


def test_a_torn_note_is_not_in_the_way_of_the_next(files: OutboxFiles) -> None:
    left_behind(files, [numbered(1), numbered(2)], host="h")
    with files.notes.open("ab") as file:
        file.write(b"\0\0\0\x30\0")
    outbox = Outbox(files)
    outbox.acknowledge(outbox.take(1, 1))
    outbox.close()

    again = Outbox(files)

    assert (ids(take_all(again)), again.session(), again.damage) == (["id-2"], {"host": "h"}, {})
    again.close()


@pytest.mark.usefixtures("short_segments")
def test_what_could_not_be_read_is_kept_when_all_else_is_delivered(ends: Ends) -> None:
    for number in range(3):
        ends.put(numbered(number))
    ends.close()
    path = Path(ends.files.segment(2))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    outbox = Outbox(ends.files)

    outbox.acknowledge(take_all(outbox))

    assert (outbox.undelivered(), outbox.damage) == (0, {"wrong checksum": 1})
    outbox.close(delete=True)
    assert ends.files.segments() == [2, 3]


def test_a_result_that_is_damaged_between_its_reading_and_its_sending_is_counted(ends: Ends) -> None:
    ends.put(numbered(1), numbered(2, b"good"), numbered(3))
    path = Path(ends.files.segment(1))
    path.write_bytes(path.read_bytes().replace(b"good", b"evil"))

    assert ids(take_all(ends.outbox)) == ["id-1", "id-3"]
    assert (ends.outbox.undelivered(), ends.outbox.damage) == (2, {"changed record": 1})
    assert take_all(ends.outbox) == []


# A disk that fails


def test_a_segment_that_cannot_be_read_is_tried_again(ends: Ends) -> None:
    ends.journal.append([numbered(1)])
    with failing("pread", errno.EIO):
        assert ends.outbox.follow() == 0
        assert ends.outbox.damage == {"Input/output error": 1}

    assert ends.outbox.follow() == 1
    assert ends.outbox.damage == {}


@pytest.mark.parametrize(("call", "error"), [("open", errno.EMFILE), ("pread", errno.EIO), ("fstat", errno.EIO)])
def test_where_a_disk_cannot_be_read_nothing_is_lost(call: str, error: int, ends: Ends) -> None:
    ends.put(numbered(1), numbered(2))
    with failing(call, error):
        assert take_all(ends.outbox) == []
        assert (ends.outbox.undelivered(), ends.outbox.damage) == (2, {os.strerror(error): 1})

    assert (ids(take_all(ends.outbox)), ends.outbox.damage) == (["id-1", "id-2"], {})


def test_an_outbox_that_could_not_be_read_is_not_deleted(ends: Ends) -> None:
    ends.journal.append([numbered(1)])
    with failing("pread", errno.EIO):
        ends.outbox.close(delete=True)

    outbox = ends.end()
    assert outbox.undelivered() == 1
    outbox.close()


@pytest.mark.usefixtures("short_segments")
def test_what_is_behind_a_segment_that_cannot_be_read_is_delivered(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    for frame in (begun("t.py::test_2"), numbered(1), numbered(2)):
        ends.journal.append([frame])
    opens = System.open

    def fail(path: str, *args: Any) -> int:
        if path == ends.files.segment(1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opens(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(System, "open", staticmethod(fail))
        assert ends.outbox.follow() == 2
        ends.outbox.acknowledge(take_all(ends.outbox))
        assert ends.files.segments() == [1, 3]
    ends.outbox.follow()

    assert (ends.outbox.running(), ends.outbox.damage) == ([], {})


CHANGES: dict[str, tuple[Callable[[Outbox], object], Callable[[Outbox], object]]] = {
    "acknowledge": (lambda outbox: outbox.acknowledge(outbox.take(1, 1)), Outbox.undelivered),
    "refuse": (lambda outbox: outbox.refuse(outbox.take(1, 1)[0], "no"), Outbox.refusals),
    "forgive": (Outbox.forgive, Outbox.refused),
    "uploaded": (lambda outbox: outbox.contents.acknowledge(ONE, 7), lambda outbox: outbox.contents.remote_ids([ONE])),
    "unfit": (lambda outbox: outbox.contents.refuse(ONE, "no"), lambda outbox: outbox.contents.refusals([ONE])),
    "remember": (lambda outbox: outbox.remember(run_id=7), Outbox.session),
}


@pytest.mark.parametrize("where", [("write", errno.ENOSPC), ("open", errno.EMFILE), ("open", errno.EROFS)], ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_a_note_that_cannot_be_written_is_known_and_written_later(
    change: str, where: tuple[str, int], files: OutboxFiles
) -> None:
    left_behind(files, [numbered(1), numbered(2), *content(ONE, [b"ab"])])
    work, state = CHANGES[change]
    outbox = Outbox(files)
    if where[0] == "write":
        with failing(*where):
            work(outbox)
    else:
        batch = outbox.take(1, 1)  # it has to be read before
        outbox.give_back(batch)
        outbox.take = lambda most, most_bytes: batch  # type: ignore[method-assign]
        with failing(*where):
            work(outbox)
    known = state(outbox)
    outbox.close()

    again = Outbox(files)

    assert state(again) == known
    assert again.damage == {}
    again.close()


def test_on_a_disk_that_is_really_full_notes_are_kept_until_there_is_room(files: OutboxFiles) -> None:
    left_behind(files, [numbered(1), numbered(2)])
    outbox = Outbox(files)
    with full_disk(3):
        outbox.remember(host="h")
        outbox.acknowledge(outbox.take(1, 1))
        assert files.notes.stat().st_size == 0
    outbox.remember(pid=7)
    with full_disk(3):
        outbox.close()

    again = Outbox(files)

    assert (again.undelivered(), again.session(), again.damage) == (1, {"host": "h", "pid": 7}, {})
    again.close()


@pytest.mark.usefixtures("short_segments")
def test_on_a_full_disk_what_is_acknowledged_is_deleted_all_the_same(ends: Ends) -> None:
    ends.put(numbered(1), *content(ONE, [b"ab"]))
    ends.put(numbered(2))
    with failing("write", errno.ENOSPC):
        ends.outbox.contents.acknowledge(ONE, 7)
        ends.outbox.acknowledge(take_all(ends.outbox))

        assert (ends.files.segments(), os.listdir(ends.files.contents)) == ([2], [])
        assert ends.outbox.undelivered() == 0
        ends.outbox.close(delete=True)

    assert not ends.files.path.exists()


def test_on_a_disk_that_takes_nothing_results_of_our_own_are_in_memory(files: OutboxFiles) -> None:
    left_behind(files, [begun("t.py::test_1"), numbered(0)])
    outbox = Outbox(files)
    with failing("write", errno.ENOSPC):
        outbox.add([numbered(1)])

    assert (ids(take_all(outbox)), outbox.running()) == (["id-0", "id-1"], [])
    outbox.close()
    again = Outbox(files)
    assert (ids(take_all(again)), again.running(), again.damage) == (["id-0"], [("t.py::test_1", b"")], {})
    again.close()


@pytest.mark.parametrize(("call", "error"), [("open", errno.EROFS), ("open", errno.EMFILE), ("pread", errno.EIO)])
@pytest.mark.parametrize("after", range(5))
def test_an_outbox_that_cannot_be_opened_is_left_alone(after: int, call: str, error: int, files: OutboxFiles) -> None:
    left_behind(files, [numbered(1), numbered(2)], host="h")
    descriptors = len(os.listdir("/proc/self/fd"))

    with failing(call, error, after=after) as failed, contextlib.suppress(OutboxError):
        outbox = Outbox(files)
        assert not failed or outbox.damage
        outbox.close(delete=bool(failed))

    assert len(os.listdir("/proc/self/fd")) == descriptors
    again = Outbox(files)
    assert (again.undelivered(), again.session(), again.damage) == (2, {"host": "h"}, {})
    again.close()


def test_looking_into_an_outbox_on_a_full_disk_takes_nothing_away(files: OutboxFiles) -> None:
    left_behind(files, [opaque(b"x" * 2000, id=f"id-{number}") for number in range(20)], host="h")

    with full_disk(1):
        outbox = Outbox(files)
        assert outbox.left() == 20
        outbox.close()

    again = Outbox(files)
    assert (len(take_all(again)), again.session()) == (20, {"host": "h"})
    again.close()


def test_a_segment_that_is_missing_is_no_exception(files: OutboxFiles) -> None:
    left_behind(files, [numbered(1)], host="h")
    shutil.move(files.segment(1), files.segment(3))
    outbox = Outbox(files)

    assert ids(take_all(outbox)) == ["id-1"]
    outbox.add([numbered(2)])

    assert files.segments() == [3, 4]
    outbox.close()


def test_a_content_that_cannot_be_read_is_an_error_for_the_upload_only(ends: Ends) -> None:
    ends.put(*content(ONE, [b"ab"]))
    with failing("open", errno.EIO):
        assert content_of(ends.outbox, ONE) == b""

    assert content_of(ends.outbox, ONE) == b"ab"
