"""The notes of an outbox: what the process that delivers must know again if another one goes on in its place."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from famacase_xdist.results.text import to_json
from famacase_xdist.system import System

from .records import Records, append_to, open_to_append, pack, payload_of, read_from, sync_file

#: A segment and an offset in it.
Place = tuple[int, int]


class OutboxNotes:
    """The notes, each a JSON object. One that cannot be written is kept in memory and tried again with the next one.

    Args:
        path: The file; None keeps nothing.

    Attributes:
        damage: How many notes could not be read, by the reason.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._waiting: list[bytes] = []
        self._size = 0
        self._is_dirty = False
        self.damage: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether notes are written."""
        return self._path is not None

    def read(self) -> Iterator[bytes]:
        """Yield all notes as JSON, the oldest first, and cut off one that was still being written.

        Raises:
            OSError: The file cannot be read or written.
        """
        if self._path is None:
            return
        System.close(open_to_append(self._path))
        content = read_from(self._path, 0)
        records = Records(content)
        yield from (payload_of(record) or b"" for _, record in records)
        self.damage += records.damage
        self._size = records.end
        if records.end < len(content):
            self._cut()

    def add(self, **note: object) -> None:
        """Write a note."""
        if self._path is not None:
            self._waiting.append(pack([to_json(note)]))
            self.flush()

    def flush(self) -> None:
        """Write the notes that could not be written before."""
        if self._path is None or not self._waiting:
            return
        content = b"".join(self._waiting)
        try:
            append_to(self._path, content, 0)
        except OSError:
            self._cut()
            return
        self._waiting.clear()
        self._size += len(content)
        self._is_dirty = True

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            descriptor = open_to_append(str(self._path), 0)
            try:
                System.ftruncate(descriptor, self._size)
            finally:
                System.close(descriptor)

    def close(self) -> None:
        """Write what could not be written before, and nothing later."""
        self.flush()
        self._path = None

    def sync(self) -> None:
        """Make the notes survive a power failure; waits for the disk."""
        is_dirty, self._is_dirty = self._is_dirty, False
        if self._path is not None and is_dirty:
            sync_file(self._path)


@dataclass(slots=True)
class Past:
    """What the notes say of records that are still in the journal.

    Attributes:
        done: The offsets of the acknowledged results of each segment.
        copies: Results that were there already.
        refused: The refused results, each with its node id and the server's words.
        ended: The place up to which a test that began has ended, by node id.
    """

    done: dict[int, set[int]] = field(default_factory=dict)
    copies: set[Place] = field(default_factory=set)
    refused: dict[Place, tuple[str, str]] = field(default_factory=dict)
    ended: dict[str, Place] = field(default_factory=dict)
