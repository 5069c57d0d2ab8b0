"""The reading end of an outbox: the only queue, from which only the server's acknowledgement deletes.

The journal itself is the queue. In memory are the places of the results that wait, and no bodies of results that are on
disk. What an acknowledgement means for a later process is noted beside the journal, and a segment of the journal is
deleted when nothing in it is needed any more. The batches that are taken are known in memory only, so a process that
comes later finds all results waiting.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    IgnoredHead,
    PieceHead,
    ResultFrame,
    ResultHead,
    decode,
    is_result,
)
from famacase_xdist.results.text import encodable, to_json
from famacase_xdist.system import Origin, System

from .directory import OutboxFiles
from .facts import SessionFacts
from .file_system import LEASE, is_lease
from .outbox_contents import OutboxContents
from .outbox_notes import OutboxNotes, Past, Place
from .process_lock import ProcessLock
from .records import Records, append_to, pack, payload_of, read_from, sync_file

#: Seconds to wait until the system has released the lock of a session that has just died.
PATIENCE = 1.0

if TYPE_CHECKING:
    from filelock import BaseFileLock


@dataclass(slots=True)
class _Segment:
    """A segment of the journal: how far it is read, and what in it is still needed."""

    number: int
    position: int = 0
    is_finished: bool = False
    is_damaged: bool = False
    results: int = 0
    running: int = 0
    contents: list[str] = field(default_factory=list)


class _Entry(NamedTuple):
    """A result that the server has not acknowledged; there may be very many, which are sent in this order.

    Attributes:
        segment: The segment that it is in, or after which it came.
        offset: The offset in this segment.
        length: The length of its record, or a count of the results in memory.
        id: The id of the result.
        status: Its status.
        frame: The result if it is in memory, or None.
    """

    segment: int
    offset: int
    length: int
    id: str
    status: str
    frame: ResultFrame | None


class Outbox:
    """Results that the server has not acknowledged yet. All methods may be called from any thread.

    Args:
        files: Its files, which a `Journal` made. None keeps everything in memory.
        beside_writer: Whether the session lives and this object delivers for it. Otherwise it must have ended.
        patience: Seconds to wait for each lock.

    Attributes:
        files: Its files; None if everything is in memory.
        contents: The contents of attachments.
        trouble: Why some results are in memory only, or empty. Those of them that are left at the end are lost.
        seen: The number of results that were found so far, by this object and by earlier ones, and are not lost.

    Raises:
        OutboxError: A process has the files, or they cannot be read or written.
    """

    def __init__(self, files: OutboxFiles | None, *, beside_writer: bool = False, patience: float = 0.0) -> None:
        self.files = files
        self.trouble = ""
        self.seen = 0
        self._lock = threading.RLock()
        self._notes = OutboxNotes(None if files is None else str(files.notes))
        self.contents = OutboxContents(files, self._notes, self._lock)
        self._facts: dict[str, object] = {}
        self._past = Past()
        self._segments: dict[int, _Segment] = {}
        self._last = 0
        self._unsynced: set[int] = set()
        self._entries: dict[str, _Entry] = {}
        #: The results that wait, as a heap; also some that do not wait any more.
        self._waiting: list[_Entry] = []
        self._taken: set[str] = set()
        self._refused: dict[str, tuple[str, str]] = {}
        self._running: dict[str, tuple[_Segment | None, bytes]] = {}
        self._in_memory = 0
        self._damage: Counter[str] = Counter()
        #: Why a segment cannot be read at present, by its number.
        self._failing: dict[int, str] = {}
        self._is_open = True
        self._origin = Origin()
        self._lease: BaseFileLock | None = None
        self._writer = ProcessLock("" if files is None else str(files.writer))
        self._reader = ProcessLock("" if files is None else str(files.reader))
        if files is not None:
            try:
                self._open(files, beside_writer, patience)
            except (OSError, OutboxError) as error:
                self._unlock()
                if isinstance(error, OutboxError):
                    raise
                raise OutboxError(f"outbox {files.path}: {error.strerror or error}") from error

    def _open(self, files: OutboxFiles, beside_writer: bool, patience: float) -> None:
        # The writer's lock comes first: whoever only looks must not keep the reader of a living session out.
        if not beside_writer:
            self._writer.acquire(patience)
        self._reader.acquire(patience)
        self._lease = acquire_lease(files, patience)
        for note in self._notes.read():
            try:
                self._recall(json.loads(note))
            except (ValueError, TypeError, RecursionError):
                self._damage["unknown note"] += 1
        self._segments = {number: _Segment(number) for number in files.segments()}
        self._last = max([0, *self._segments, *self._past.done])
        self.seen = sum(len(done) for number, done in self._past.done.items() if number not in self._segments)
        self.follow()

    @property
    def path(self) -> Path | None:
        """The directory of the files; None if everything is in memory."""
        return None if self.files is None else self.files.path

    @property
    def damage(self) -> Counter[str]:
        """How many records could not be read, by the reason; a segment that cannot be read at present counts once."""
        with self._lock:
            return self._damage + self._notes.damage + Counter(self._failing.values())

    def _recall(self, note: dict[str, Any]) -> None:
        past = self._past
        match note:
            case {"done": [int(segment), list(offsets)]}:
                past.done.setdefault(segment, set()).update(offsets)
            case {"copy": [int(segment), int(offset)]}:
                past.copies.add((segment, offset))
            case {"refused": [int(segment), int(offset), str(nodeid), str(words)]}:
                past.refused[segment, offset] = (nodeid, words)
            case {"forgiven": _}:
                past.refused.clear()
                self.contents.forgive()
            case {"ended": [str(nodeid), int(segment), int(offset)]}:
                past.ended[nodeid] = (segment, offset)
            case {"facts": dict(facts)}:
                self._facts.update(facts)
            case _ if not self.contents.recall(note):
                raise ValueError(note)

    # Reading

    def follow(self) -> int:
        """Read what the writer has appended since the last time, and return the number of new results.

        What cannot be read is counted in `damage`; a segment that cannot be read is tried again the next time.
        """
        with self._lock:
            before = self.seen
            if self.files is not None and self._is_open:
                # A segment gets nothing more when there is a next one, so that is looked for first.
                while self._exists(self._last + 1):
                    self._last += 1
                    self._segments[self._last] = _Segment(self._last)
                for segment in self._segments.values():
                    if not segment.is_finished:
                        self._read(segment)
                self._delete_segments()
            return self.seen - before

    def _path(self, segment: int) -> str:
        assert self.files is not None
        return self.files.segment(segment)

    def _exists(self, segment: int) -> bool:
        with contextlib.suppress(OSError):
            System.stat(self._path(segment))
            return True
        return False

    def _read(self, segment: _Segment) -> None:
        try:
            content = read_from(self._path(segment.number), segment.position)
        except OSError as error:
            self._failing[segment.number] = str(error.strerror)
            return
        self._failing.pop(segment.number, None)
        records = Records(content)
        for offset, record in records:
            try:
                frame = decode(payload_of(record) or b"")
            except ValueError:
                self._spoil(segment, "not a frame")
                continue
            self._learn(frame, segment, segment.position + offset, len(record))
        for reason in records.damage.elements():
            self._spoil(segment, reason)
        segment.position += records.end
        segment.is_finished = segment.number < self._last
        if content:
            self._unsynced.add(segment.number)

    def _spoil(self, segment: _Segment, reason: str) -> None:
        """Count a record that cannot be read. Its segment is kept."""
        segment.is_damaged = True
        self._damage[reason] += 1

    def _learn(self, frame: AnyFrame, segment: _Segment | None = None, offset: int = 0, length: int = 0) -> None:
        """Learn a frame from a place in a segment, or one that is in memory."""
        head, body = frame.head, frame.body
        place = (segment.number, offset) if segment is not None else self._end
        if isinstance(head, ResultHead):
            self._end_test(head.nodeid, segment, place)
            self._add_result(cast("ResultFrame", frame), segment, place, length)
        elif isinstance(head, IgnoredHead):
            self._end_test(head.nodeid, segment, place)
            if segment is None:
                self._notes.add(ended=[encodable(head.nodeid), *place])
        elif isinstance(head, BegunHead):
            self._begin_test(encodable(head.nodeid), body, segment, place)
        elif isinstance(head, ContentHead):
            self.contents.add(head)
            if segment is not None:
                segment.contents.append(head.digest)
        elif isinstance(head, PieceHead):
            self.contents.add_piece(head, body)

    @property
    def _end(self) -> Place:
        """The place of what comes now in another way than by the journal."""
        last = self._segments.get(self._last)
        return self._last, last.position if last is not None else 0

    def _begin_test(self, nodeid: str, body: bytes, segment: _Segment | None, place: Place) -> None:
        if segment is not None and place < self._past.ended.get(nodeid, (0, 0)):
            return
        if nodeid in self._running:
            first, description = self._running[nodeid]
            self._running[nodeid] = (first, body or description)
            return
        self._running[nodeid] = (segment, body)
        if segment is not None:
            segment.running += 1

    def _end_test(self, nodeid: str, segment: _Segment | None, place: Place) -> None:
        nodeid = encodable(nodeid)
        begun, _ = self._running.pop(nodeid, (None, b""))
        if begun is not None:
            begun.running -= 1
        if segment is not None and begun not in (None, segment):
            # This segment may be deleted before that one, which would then tell of a test that never ended.
            self._notes.add(ended=[nodeid, *place])
        if self._failing:
            # It may have begun in a segment that will be read later.
            self._past.ended[nodeid] = place

    def _add_result(self, frame: ResultFrame, segment: _Segment | None, place: Place, length: int) -> None:
        head = frame.head
        if place in self._past.copies and segment is not None:
            return
        if head.id in self._entries:
            if segment is not None:
                self._notes.add(copy=place)
            return
        self.seen += 1
        if segment is None:
            self._in_memory += 1
            entry = _Entry(*place, self._in_memory, head.id, intern(head.status), frame)
        elif place[1] in self._past.done.get(segment.number, ()):
            return
        else:
            entry = _Entry(*place, length, head.id, intern(head.status), None)
            segment.results += 1
            if place in self._past.refused:
                self._refused[head.id] = self._past.refused[place]
        self._entries[head.id] = entry
        heappush(self._waiting, entry)

    def accept(self, frames: Sequence[AnyFrame], reason: str) -> None:
        """Keep frames in memory, which came another way than by the journal.

        Args:
            frames: The frames.
            reason: Why they are not in the journal; the first reason is `trouble`.
        """
        with self._lock:
            self.trouble = self.trouble or reason
            # What was written before comes first: a test that ended in memory may have begun on disk.
            self.follow()
            for frame in frames:
                self._learn(frame)

    def add(self, frames: Sequence[AnyFrame]) -> None:
        """Add results of our own, to the journal if the session has ended and the disk takes them, else to memory."""
        with self._lock:
            self.follow()
            if self._append(frames):
                self.follow()
            else:
                for frame in frames:
                    self._learn(frame)

    def _append(self, frames: Sequence[AnyFrame]) -> bool:
        if self.files is None or not frames or not self._is_open:
            return False
        is_borrowed = not self._writer.is_held
        try:
            if is_borrowed:
                self._writer.acquire(PATIENCE)
            append_to(self._path(self._last + 1), pack([frame.encoded for frame in frames]))
        except (OSError, OutboxError):
            return False
        finally:
            # A resend would take this process for a session that lives, and would not wait for its end.
            if is_borrowed:
                self._writer.release()
        return True

    # Batches

    def take(self, most: int, most_bytes: int) -> list[ResultFrame]:
        """Take a batch of the oldest results; they are not taken again until `give_back`.

        Args:
            most: Largest number of results.
            most_bytes: Largest number of bytes of their bodies; a single result may be larger.
        """
        batch: list[ResultFrame] = []
        unread: list[_Entry] = []
        size = 0
        with self._lock:
            while self._waiting and len(batch) < most:
                entry = heappop(self._waiting)
                if not self._is_waiting(entry):
                    continue
                is_failing = any(each.segment == entry.segment for each in unread[-1:])
                frame = None if is_failing else self._load(entry)
                if frame is None:
                    unread += [entry] if entry.id in self._entries else []
                    continue
                size += len(frame.body)
                if batch and size > most_bytes:
                    heappush(self._waiting, entry)
                    break
                batch.append(frame)
                self._taken.add(entry.id)
            for entry in unread:
                heappush(self._waiting, entry)
        return batch

    def _is_waiting(self, entry: _Entry) -> bool:
        return self._entries.get(entry.id) is entry and entry.id not in self._taken and entry.id not in self._refused

    def _load(self, entry: _Entry) -> ResultFrame | None:
        """Return the frame of a result; None if it cannot be read, now or ever."""
        if entry.frame is not None:
            return entry.frame
        try:
            record = read_from(self._path(entry.segment), entry.offset, entry.length)
        except OSError as error:
            self._failing[entry.segment] = str(error.strerror)
            return None
        self._failing.pop(entry.segment, None)
        with contextlib.suppress(ValueError):
            frame = decode(payload_of(record) or b"")
            if is_result(frame) and frame.head.id == entry.id:
                return frame
        self._spoil(self._segments[entry.segment], "changed record")
        del self._entries[entry.id]
        self.seen -= 1
        return None

    def give_back(self, batch: Iterable[ResultFrame]) -> None:
        """Give a batch back, so that its results wait again. Results that are not taken are ignored."""
        with self._lock:
            for each in batch:
                if each.head.id in self._taken:
                    self._taken.discard(each.head.id)
                    heappush(self._waiting, self._entries[each.head.id])

    def acknowledge(self, batch: Sequence[ResultFrame]) -> None:
        """Delete results that the server has acknowledged."""
        done: dict[int, list[int]] = {}
        with self._lock:
            for each in batch:
                entry = self._entries.pop(each.head.id, None)
                self._taken.discard(each.head.id)
                self._refused.pop(each.head.id, None)
                if entry is None:
                    continue
                if entry.frame is None:
                    done.setdefault(entry.segment, []).append(entry.offset)
                    self._segments[entry.segment].results -= 1
                else:
                    # The journal tells only that the test began.
                    self._notes.add(ended=[encodable(each.head.nodeid), entry.segment, entry.offset])
            for segment, offsets in done.items():
                self._notes.add(done=[segment, offsets])
            self._delete_segments()

    def _delete_segments(self) -> None:
        """Delete the segments of which nothing is needed any more. What is needed of their contents is noted."""
        if not self._is_open:
            return
        for segment in list(self._segments.values()):
            if segment.is_finished and not (segment.results or segment.running or segment.is_damaged):
                self.contents.keep(segment.contents)
                with contextlib.suppress(OSError):
                    System.unlink(self._path(segment.number))
                del self._segments[segment.number]
                self._past.done.pop(segment.number, None)

    def refuse(self, result: ResultFrame, words: str) -> None:
        """Keep a result that the server refuses, with the server's words."""
        with self._lock:
            entry = self._entries.get(result.head.id)
            self._taken.discard(result.head.id)
            if entry is None:
                return
            nodeid, words = encodable(result.head.nodeid), encodable(words)
            self._refused[entry.id] = (nodeid, words)
            if entry.frame is None:
                self._notes.add(refused=[entry.segment, entry.offset, nodeid, words])

    def forgive(self) -> None:
        """Let refused results and attachments wait again, as a resend does."""
        with self._lock:
            for result_id in self._refused:
                heappush(self._waiting, self._entries[result_id])
            self._refused.clear()
            self.contents.forgive()
            self._notes.add(forgiven=True)

    # What is there

    def refusals(self) -> Counter[str]:
        """Return how many results are refused, by the server's words."""
        with self._lock:
            return Counter(words for _, words in self._refused.values())

    def refused(self) -> list[tuple[str, str]]:
        """Return the node id of each refused result, and the server's words."""
        with self._lock:
            return [self._refused[each] for each in sorted(self._refused, key=self._entries.__getitem__)]

    def undelivered(self) -> int:
        """Return how many results the server has not acknowledged."""
        with self._lock:
            return len(self._entries)

    def left_by_status(self) -> Counter[str]:
        """Return how many results the server has not acknowledged, by their status."""
        with self._lock:
            return Counter(entry.status for entry in self._entries.values())

    def left(self) -> int:
        """Return how many results are still to be sent, including those of tests that began and did not end."""
        with self._lock:
            return len(self._entries) + len(self._running)

    def running(self) -> list[tuple[str, bytes]]:
        """Return the tests that began and did not end: node id, and description as far as it was known."""
        with self._lock:
            return [(nodeid, body) for nodeid, (_, body) in self._running.items()]

    def remember(self, **facts: Unpack[SessionFacts]) -> None:
        """Keep facts of the session for a later resend; other facts of earlier calls stay."""
        with self._lock:
            self._facts.update(json.loads(to_json(facts)))
            self._notes.add(facts=facts)

    def session(self) -> SessionFacts:
        """Return all facts of the session that `remember` kept."""
        with self._lock:
            return cast("SessionFacts", dict(self._facts))

    def sync(self) -> None:
        """Make everything that was read survive a power failure, and the notes; waits for the disk."""
        with self._lock:
            segments, self._unsynced = self._unsynced, set()
        for segment in segments:
            sync_file(self._path(segment))
        self.contents.sync()
        self._notes.sync()

    # The end

    def close(self, *, delete: bool = False) -> None:
        """Close and unlock the files. May be called twice; a forked child changes nothing of its parent.

        Args:
            delete: Whether to delete the files. They stay if something could not be read, or came in the last moment.
        """
        with self._lock:
            if not self._is_open or not self._origin.is_here:
                return
            is_gone = delete and not self.follow() and not self.damage
            self._is_open = False
            self._notes.close()
            if is_gone and self.files is not None:
                with contextlib.suppress(OSError):
                    self._remove(self.files)
            self._unlock()

    def _remove(self, files: OutboxFiles) -> None:
        """Delete all files. The notes go after the segments, which would be sent again without them."""
        for path in (*map(Path, map(files.segment, files.segments())), *files.contents.glob("*"), files.notes):
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            files.contents.rmdir()
        if self._lease is not None:
            self._lease.release()
        for path in (files.lease, files.reader, files.writer):
            path.unlink(missing_ok=True)
        files.path.rmdir()

    def _unlock(self) -> None:
        if self._lease is not None:
            self._lease.release()
        self._reader.release()
        self._writer.release()


def acquire_lease(files: OutboxFiles, patience: float) -> BaseFileLock | None:
    """Acquire the lease on an outbox, if its locks do not reach other machines.

    Args:
        files: The outbox.
        patience: Seconds to wait for a process that has the lease.

    Returns:
        The lease, to be released; None if the locks are enough.

    Raises:
        OutboxError: A process, on this machine or another one, has the lease or had it a moment ago.
        OSError: The lease cannot be made.
    """
    if not is_lease(files.state):
        return None
    from filelock import Timeout

    from .locks import new_lock

    lease = new_lock(files.lease, LEASE)
    try:
        lease.acquire(timeout=patience)
    except Timeout:
        raise OutboxError(f"outbox {files.path}: a session has it") from None
    return lease
