"""The journal of an outbox: frames that are accepted and not yet in the database, in a plain file beside it.

Appending to a file costs a hundredth of a transaction, and both outlive the process. In a session of one process, the
thread of the tests accepts what came before each attempt, so a slower way would slow down the tests.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from famacase_xdist.results.frames import AnyFrame, decode

#: Largest body of a frame in the journal. Larger ones, of attachments, go straight to the database: once, not twice.
MOST_BYTES = 64 * 1024

_LENGTH = struct.Struct(">I")


class Journal:
    """A file of frames, each of them after its length. The caller of each method has the outbox's lock.

    Args:
        path: The file.

    Attributes:
        size: Bytes of all frames and their lengths.

    Raises:
        OSError: The file cannot be made or read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size

    def frames(self) -> list[AnyFrame]:
        """Return the frames that a process that died left here, without the frame that it was still writing.

        That frame was not accepted.
        """
        content = os.pread(self._file, self.size, 0)
        found: list[AnyFrame] = []
        start = 0
        while start + _LENGTH.size <= len(content):
            (length,) = _LENGTH.unpack_from(content, start)
            frame = content[start + _LENGTH.size : start + _LENGTH.size + length]
            if len(frame) < length:
                break
            with contextlib.suppress(ValueError):
                found.append(decode(frame))
            start += _LENGTH.size + length
        return found

    def append(self, frames: Sequence[AnyFrame]) -> bool:
        """Write frames, all or none.

        Returns:
            Whether they are written; False if one is too large for the journal, or the disk is full or fails.
        """
        parts: list[bytes] = []
        for frame in frames:
            if len(frame.body) > MOST_BYTES:
                return False
            parts += (_LENGTH.pack(len(frame.encoded)), frame.encoded)
        content = b"".join(parts)
        try:
            is_whole = os.write(self._file, content) == len(content)
        except OSError:
            is_whole = False
        if is_whole:
            self.size += len(content)
        else:
            self._cut(self.size)
        return is_whole

    def clear(self) -> None:
        """Remove all frames, because they are in the database now."""
        self.size = 0
        self._cut(0)

    def _cut(self, size: int) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, size)

    def close(self) -> None:
        """Close the file, and delete it if it is empty."""
        with contextlib.suppress(OSError):
            if not os.fstat(self._file).st_size:
                os.unlink(self._path)
        os.close(self._file)
