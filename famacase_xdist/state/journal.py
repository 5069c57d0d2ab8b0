"""The journal of a session, the writing end of an outbox: segments to which accepted frames are appended.

It is used in the process that runs tests, by one thread at a time, while a test may have replaced what Python offers or
closed our descriptors; a child that a test forks must not use it. Hence each call is one of `System`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import AnyFrame, ContentHead, Frame, NoteHead, PieceHead
from famacase_xdist.system import Descriptor, Origin, System

from .directory import PRIVATE, OutboxFiles
from .process_lock import ProcessLock
from .records import append_to, open_to_append, pack, read_from, write_whole

#: Bytes of a segment after which the next one begins.
SEGMENT_BYTES = 4 * 1024 * 1024
#: Seconds to wait for a process that looks into the outbox, if a test has closed the descriptor of the lock.
PATIENCE = 1.0


class Journal:
    """The journal of a session that lives, with the lock that says so.

    Args:
        files: The files of a new outbox, made by this object.

    Attributes:
        files: The files.
        trouble: Why some frames are not on disk; empty as long as all are.

    Raises:
        OutboxError: The files cannot be made.
    """

    def __init__(self, files: OutboxFiles) -> None:
        self.files = files
        self.trouble = ""
        self._origin = Origin()
        self._number = 1
        self._size = 0
        self._is_torn = False
        self._is_open = True
        #: The sizes of the pieces of each content that has begun and not ended.
        self._pieces: dict[str, list[int]] = {}
        #: Contents whose file is whole or will never be, those whose frame is written, and those that went another way.
        self._closed: set[str] = set()
        self._written: set[str] = set()
        self._elsewhere: set[str] = set()
        self._lock = ProcessLock(str(files.new / files.writer.name))
        try:
            self._descriptor = self._make()
        except OSError as error:
            self._discard(files.new)
            raise OutboxError(f"outbox {files.path}: {error.strerror}") from None
        except OutboxError:
            self._discard(files.new)
            raise

    def _make(self) -> Descriptor:
        """Make the directory under another name, because nobody may see it while its lock is free."""
        new = self.files.new
        self.files.state.outboxes.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        for directory in (new, new / self.files.contents.name):
            directory.mkdir(mode=PRIVATE)
            directory.chmod(PRIVATE)
        self._lock.acquire()
        descriptor = Descriptor(open_to_append(str(new / os.path.basename(self.files.segment(1)))))
        try:
            System.rename(str(new), str(self.files.path))
        except OSError:
            descriptor.close()
            raise
        self._lock.path = str(self.files.writer)
        return descriptor

    def append(self, frames: Sequence[AnyFrame]) -> None:
        """Accept frames, all or none.

        Raises:
            OutboxError: They could not be written, and nothing of them is in the journal. The caller keeps them another
                way, and the frames of `unfinished` as well.
        """
        if not self._is_ours:
            return
        try:
            self._regain()
            chosen = [frame for frame in frames if self._belongs(frame)]
            if chosen:
                self._write(pack([frame.encoded for frame in chosen]))
        except OSError as error:
            self.trouble = f"outbox {self.files.path}: {error.strerror}"
            raise OutboxError(self.trouble) from None
        except OutboxError as error:
            self.trouble = str(error)
            raise
        self._written.update(frame.head.digest for frame in chosen if isinstance(frame.head, ContentHead))

    @property
    def _is_ours(self) -> bool:
        return self._is_open and self._origin.is_here

    def _regain(self) -> None:
        """Open again what a test has closed."""
        if not self._lock.is_held:
            self._lock.acquire(PATIENCE)
        if not self._descriptor.is_ours:
            self._descriptor = Descriptor(open_to_append(self.files.segment(self._number), 0))

    def _belongs(self, frame: AnyFrame) -> bool:
        """Return whether a frame belongs into the journal; pieces of contents go into their files."""
        head = frame.head
        if isinstance(head, PieceHead):
            self._add_piece(head, frame.body)
        elif isinstance(head, ContentHead):
            self._end_content(head)
            return head.digest not in self._written
        return not isinstance(head, (PieceHead, NoteHead))

    def _add_piece(self, head: PieceHead, body: bytes) -> None:
        if head.digest in self._closed:
            return
        self._refuse_elsewhere(head.digest)
        sizes = self._pieces.setdefault(head.digest, [])
        # A second worker may send the same content at the same time.
        if head.number != len(sizes):
            return
        try:
            append_to(self.files.part(head.digest), body)
        except OSError:
            self._elsewhere.add(head.digest)
            raise
        sizes.append(len(body))

    def _end_content(self, head: ContentHead) -> None:
        if head.digest in self._closed:
            return
        self._refuse_elsewhere(head.digest)
        part = self.files.part(head.digest)
        # Of a content that is not whole there is no file, and so the reader refuses it.
        if 0 < sum(self._pieces.get(head.digest, ())) == head.size:
            System.rename(part, self.files.content(head.digest))
        else:
            with contextlib.suppress(OSError):
                System.unlink(part)
        self._pieces.pop(head.digest, None)
        self._closed.add(head.digest)

    def _refuse_elsewhere(self, digest: str) -> None:
        if digest in self._elsewhere:
            raise OutboxError(self.trouble)

    def _write(self, content: bytes) -> None:
        if self._is_torn or self._size >= SEGMENT_BYTES:
            self._begin_segment()
        try:
            write_whole(self._descriptor.number, content)
        except OSError:
            # What is there of the group counts for nothing, and nothing may follow it. It is not cut off, because the
            # reader may be reading it.
            self._is_torn = True
            with contextlib.suppress(OSError):
                self._is_torn = System.fstat(self._descriptor.number).st_size != self._size
            raise
        self._size += len(content)

    def _begin_segment(self) -> None:
        path = self.files.segment(self._number + 1)
        descriptor = Descriptor(open_to_append(path, os.O_CREAT | os.O_EXCL))
        self._descriptor.close()
        self._descriptor, self._number, self._size, self._is_torn = descriptor, self._number + 1, 0, False

    def unfinished(self) -> list[AnyFrame]:
        """Return the pieces of the contents that have begun and not ended, as far as they can be read, after an error.

        The caller keeps them another way, and `append` takes no more of these contents.
        """
        frames: list[AnyFrame] = []
        pieces, self._pieces = self._pieces, {}
        for digest, sizes in pieces.items() if self._is_ours else ():
            self._elsewhere.add(digest)
            path = self.files.part(digest)
            with contextlib.suppress(OSError):
                offset = 0
                for number, size in enumerate(sizes):
                    frames.append(Frame(PieceHead(digest, number), read_from(path, offset, size)))
                    offset += size
                System.unlink(path)
        return frames

    def close(self) -> None:
        """Close and unlock the files; they stay, unless nothing was ever written or read. May be called twice."""
        if not self._is_ours:
            return
        self._is_open = False
        self._descriptor.close()
        is_unused = self._number == 1 and not self._size and not self._written and not self._pieces
        if is_unused and not self.files.reader.exists():
            self._discard(self.files.path)
        self._lock.release()

    def _discard(self, directory: Path) -> None:
        """Remove the directory of an outbox without records."""
        names = (os.path.basename(self.files.segment(1)), self.files.writer.name)
        for path in (directory / self.files.contents.name, *(directory / name for name in names), directory):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        self._lock.release()
