"""The attachments in an outbox: their contents, and what the server made of each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from io import BufferedReader, BytesIO, FileIO
from typing import Any, BinaryIO

from famacase_xdist.results.frames import ContentHead, PieceHead
from famacase_xdist.results.text import encodable
from famacase_xdist.system import System

from .directory import OutboxFiles
from .outbox_notes import OutboxNotes
from .records import open_to_read, sync_file


class OutboxContents:
    """The contents of attachments, each known by its digest. All methods may be called from any thread.

    Args:
        files: The files of the outbox; None if everything is in memory.
        notes: The notes of the outbox.
        lock: The lock of the outbox.
    """

    def __init__(self, files: OutboxFiles | None, notes: OutboxNotes, lock: threading.RLock) -> None:
        self._files = files
        self._notes = notes
        self._lock = lock
        self._heads: dict[str, ContentHead] = {}
        self._remote_ids: dict[str, object] = {}
        self._refusals: dict[str, str] = {}
        #: The pieces that are in memory, by digest and number.
        self._pieces: dict[str, dict[int, bytes]] = {}
        self._unsynced: list[str] = []

    def add(self, head: ContentHead) -> None:
        """Accept a content, whose pieces are there. One that was there already changes nothing."""
        if head.digest not in self._remote_ids and head.digest not in self._heads:
            self._heads[head.digest] = head
            self._unsynced.append(head.digest)

    def add_piece(self, head: PieceHead, body: bytes) -> None:
        """Keep a piece in memory, unless it is there already or the content was whole before."""
        if head.digest not in self._remote_ids and head.digest not in self._heads:
            self._pieces.setdefault(head.digest, {}).setdefault(head.number, body)

    def recall(self, note: dict[str, Any]) -> bool:
        """Learn what an earlier process noted, and return whether the note is about contents."""
        match note:
            case {"content": [str(digest), str(name), str(mime), int(size)]}:
                self.add(ContentHead(digest, name, mime, size))
            case {"uploaded": [str(digest), remote_id]}:
                self._remote_ids[digest] = remote_id
                self._heads.pop(digest, None)
            case {"unfit": [str(digest), str(words)]}:
                self._refusals[digest] = words
            case _:
                return False
        return True

    def keep(self, digests: Iterable[str]) -> None:
        """Note the contents that are still to be uploaded, because their segment will be deleted."""
        for head in (self._heads[digest] for digest in digests if digest in self._heads):
            self._notes.add(content=[head.digest, head.name, head.mime, head.size])

    def forgive(self) -> None:
        """Let refused contents wait again."""
        self._refusals.clear()

    def waiting(self, digest: str) -> ContentHead | None:
        """Return a content that waits to be uploaded; None if it is missing, uploaded or refused."""
        with self._lock:
            return None if digest in self._refusals else self._heads.get(digest)

    def is_whole(self, content: ContentHead) -> bool:
        """Return whether all bytes of a content are there."""
        if self._in_memory(content) is not None:
            return True
        with contextlib.suppress(OSError):
            return self._files is not None and System.stat(self._files.content(content.digest)).st_size == content.size
        return False

    def _in_memory(self, content: ContentHead) -> bytes | None:
        with self._lock:
            pieces = sorted(self._pieces.get(content.digest, {}).items())
        return b"".join(body for _, body in pieces) if sum(len(body) for _, body in pieces) == content.size else None

    def open(self, content: ContentHead) -> BinaryIO:
        """Open a content to read.

        Raises:
            OSError: It is missing or cannot be read.
        """
        body = self._in_memory(content)
        if body is not None:
            return BytesIO(body)
        if self._files is None:
            raise FileNotFoundError(content.digest)
        return BufferedReader(FileIO(open_to_read(self._files.content(content.digest))))

    def acknowledge(self, digest: str, remote_id: object) -> None:
        """Keep the server's id of an attachment, and delete its content."""
        with self._lock:
            self._remote_ids[digest] = remote_id
            self._heads.pop(digest, None)
            self._pieces.pop(digest, None)
            self._notes.add(uploaded=[digest, remote_id])
            if self._files is not None and self._notes.is_open:
                with contextlib.suppress(OSError):
                    System.unlink(self._files.content(digest))

    def refuse(self, digest: str, words: str) -> None:
        """Note that an attachment cannot be uploaded.

        Args:
            digest: The digest of its content.
            words: The reason, in the server's words or in ours.
        """
        with self._lock:
            head = self._heads.get(digest)
            if head is not None:
                self._refusals[digest] = encodable(f"{head.name}: {words}")
                self._notes.add(unfit=[digest, self._refusals[digest]])

    def remote_ids(self, digests: Iterable[str]) -> dict[str, object]:
        """Return the server's ids, by digest, of those attachments that have one."""
        with self._lock:
            return {digest: self._remote_ids[digest] for digest in digests if digest in self._remote_ids}

    def refusals(self, digests: Iterable[str]) -> list[str]:
        """Return the names of the refused attachments, each with the reason."""
        with self._lock:
            return [self._refusals[digest] for digest in digests if digest in self._refusals]

    def sync(self) -> None:
        """Make the contents that came since the last time survive a power failure; waits for the disk."""
        with self._lock:
            digests, self._unsynced = self._unsynced, []
        if self._files is not None:
            for digest in digests:
                sync_file(self._files.content(digest))
