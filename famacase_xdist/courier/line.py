"""The line between the two processes: a pipe each way, on which whole messages travel."""

from __future__ import annotations

import pickle
import select
import struct
import threading

from famacase_xdist import clock
from famacase_xdist.system import Descriptor, System

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1024 * 1024


class Line:
    """One end of the line. One thread receives; any thread sends.

    Messages are pickled, because both ends are the same version of this package and nobody else can write to the pipes.

    Args:
        reading: The descriptor to read from.
        writing: The descriptor to write to.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = Descriptor(reading)
        self._writing = Descriptor(writing)
        self._sending = threading.Lock()
        self._pending = b""
        # Made now, because a test may replace what is in `select`.
        self._poll = select.poll()
        self._poll.register(reading, select.POLLIN)
        self._dumps = pickle.dumps
        self._loads = pickle.loads

    @property
    def is_ours(self) -> bool:
        """Whether both pipes are still open: a test may close all descriptors that it does not know."""
        return self._reading.is_ours and self._writing.is_ours

    def send(self, message: object) -> None:
        """Send one message.

        Raises:
            OSError: The other end is gone, or our end was closed.
        """
        content = self._dumps(message)
        left = memoryview(_LENGTH.pack(len(content)) + content)
        with self._sending:
            while left:
                if not self._writing.is_ours:
                    raise OSError("the line was closed")
                left = left[System.write(self._writing.number, left) :]

    def receive(self, timeout: float | None) -> object:
        """Return the next message; None if none comes in time.

        Args:
            timeout: In seconds; None to wait for as long as it takes.

        Raises:
            EOFError: The other end is gone, or our end was closed.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout
        while not self._is_whole():
            left = None if deadline is None else max(0.0, deadline - clock.monotonic())
            if not self._poll.poll(None if left is None else 1000 * left):
                return None
            received = System.read(self._reading.number, _READ_BYTES) if self._reading.is_ours else b""
            if not received:
                raise EOFError
            self._pending += received
        end = _LENGTH.size + self._length()
        content, self._pending = self._pending[_LENGTH.size : end], self._pending[end:]
        message: object = self._loads(content)
        return message

    def _length(self) -> int:
        return int(_LENGTH.unpack_from(self._pending)[0])

    def _is_whole(self) -> bool:
        return len(self._pending) >= _LENGTH.size and len(self._pending) >= _LENGTH.size + self._length()

    def close(self) -> None:
        """Close both pipes, as far as they are still ours."""
        self._reading.close()
        self._writing.close()
