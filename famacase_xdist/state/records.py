"""Records, of which the journal and the notes of an outbox consist, and the calls that read and write files of them.

::

    record = size (4 bytes, big-endian) + CRC-32 of size and payload (4 bytes) + payload

The highest bit of the size says that more records of the same group follow. A group counts only if it is whole, so that
a process that dies while it writes, or a full disk, leaves nothing of a group.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from zlib import crc32

from famacase_xdist.system import System

#: Largest payload in bytes.
MOST_BYTES = 2**30

_HEADER = struct.Struct(">II")
_MORE = 2**31
#: How payloads begin: a frame with the head's length below 64 KiB, or an object of JSON. It is looked for after damage.
_PAYLOAD = re.compile(rb'[RPCBIN]\0\0..\{|\{"', re.DOTALL)
_READING, _APPENDING = os.O_RDONLY | os.O_CLOEXEC, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


def pack(payloads: Sequence[bytes]) -> bytes:
    """Return a group of records.

    Raises:
        OSError: A payload is too large.
    """
    parts: list[bytes] = []
    for left, payload in zip(range(len(payloads) - 1, -1, -1), payloads, strict=True):
        if len(payload) > MOST_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        size = len(payload) | (_MORE if left else 0)
        parts += (_HEADER.pack(size, crc32(payload, size)), payload)
    return b"".join(parts)


class Records:
    """The records in a part of a file. Iterating yields each record of whole groups: its offset, and its bytes.

    Args:
        content: The part, from the end of a group.

    Attributes:
        end: The offset of what is not whole yet, known when all records have been yielded.
        damage: How many records could not be read, by the reason.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._view = memoryview(content)
        self.end = 0
        self.damage: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        group: list[tuple[int, int]] = []
        position = 0
        while (found := self._record(position)) is not None:
            end, is_last, problem = found
            if problem:
                self.damage[problem] += 1
            else:
                group.append((position, end))
            position = end
            # The rest of a group with a damaged record counts, because the damaged one may have been the last.
            if is_last:
                yield from ((start, self._content[start:end]) for start, end in group)
                group.clear()
                self.end = position

    def _record(self, start: int) -> tuple[int, bool, str] | None:
        """Return the end of the record at an offset, whether its group ends, and why it cannot be read, if so."""
        body, whole = start + _HEADER.size, len(self._content)
        if body > whole:
            return None
        size, checksum = _HEADER.unpack_from(self._content, start)
        length = size & ~_MORE
        end = body + length
        if self._is_sound(start):
            return end, not size & _MORE, ""
        for match in _PAYLOAD.finditer(self._content, body + 1):
            if self._is_sound(match.start() - _HEADER.size):
                return match.start() - _HEADER.size, True, "damaged record"
        if not 0 < length <= MOST_BYTES:
            return whole, True, "absurd length"
        if end <= whole:
            return end, True, "wrong checksum"
        # What a process that died was still writing is no damage, but here only the length is wrong.
        if any(crc32(self._view[body:], (whole - body) | more) == checksum for more in (0, _MORE)):
            return whole, True, "wrong length"
        return None

    def _is_sound(self, start: int) -> bool:
        size, checksum = _HEADER.unpack_from(self._content, start)
        length: int = size & ~_MORE
        body = start + _HEADER.size
        if not 0 < length <= len(self._content) - body:
            return False
        return crc32(self._view[body : body + length], size) == int(checksum)


def payload_of(record: bytes) -> bytes | None:
    """Return the payload of one record, whatever its group; None if it is damaged."""
    if len(record) < _HEADER.size or not Records(record)._is_sound(0):
        return None
    return record[_HEADER.size :]


def open_to_append(path: str, flags: int = os.O_CREAT) -> int:
    """Open a file to append to; a new one is the user's alone, whatever the umask.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = System.open(path, _APPENDING | flags, 0o600)
    if flags & os.O_CREAT:
        # A test's umask may take rights from the owner. Some file systems have no modes.
        with contextlib.suppress(OSError):
            System.fchmod(descriptor, 0o600)
    return descriptor


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all of some bytes.

    Raises:
        OSError: It cannot be written; a part may be.
    """
    written = System.write(descriptor, content)
    while written < len(content):
        written += System.write(descriptor, content[written:])


def append_to(path: str, content: bytes, flags: int = os.O_CREAT) -> None:
    """Append all of some bytes to a file; see `open_to_append`.

    Raises:
        OSError: It cannot be written; a part may be.
    """
    descriptor = open_to_append(path, flags)
    try:
        write_whole(descriptor, content)
    finally:
        System.close(descriptor)


def open_to_read(path: str) -> int:
    """Open a file to read.

    Raises:
        OSError: It cannot be opened.
    """
    return System.open(path, _READING)


def read_from(path: str, offset: int, most: int | None = None) -> bytes:
    """Return the bytes of a file from an offset to its end, or at most so many.

    Raises:
        OSError: It cannot be read.
    """
    descriptor = open_to_read(path)
    try:
        left = max(0, System.fstat(descriptor).st_size - offset)
        left = left if most is None else min(left, most)
        parts: list[bytes] = []
        while left and (part := System.pread(descriptor, left, offset)):
            parts.append(part)
            offset += len(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        System.close(descriptor)


def sync_file(path: str) -> None:
    """Make a file survive a power failure, as far as the disk lets it; waits for the disk."""
    with contextlib.suppress(OSError):
        descriptor = open_to_read(path)
        try:
            System.fsync(descriptor)
        finally:
            System.close(descriptor)
