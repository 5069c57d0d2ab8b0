"""The line between the two processes: a pipe each way, on which whole messages travel.

Where both ends are threads of one process, it is a `LocalLine`.
"""

from __future__ import annotations

import pickle
import queue
import select
import struct
import threading
from typing import Final

from famacase_xdist import clock
from famacase_xdist.system import Descriptor, System

_LENGTH = struct.Struct(">I")
_READ_BYTES = 1024 * 1024


class Line:
    """One end of the line. One thread at a time receives; any thread sends.

    Messages are pickled, because both ends are the same version of this package and nobody else can write to the pipes.

    Args:
        reading: The descriptor to read from.
        writing: The descriptor to write to.
    """

    # Bound at import, because a test may replace them, and a second line may be made while it runs.
    _new_poll = staticmethod(select.poll)
    _dumps = staticmethod(pickle.dumps)
    _loads = staticmethod(pickle.loads)

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = Descriptor(reading)
        self._writing = Descriptor(writing)
        # Else a write would wait for an end that is stopped, for ever.
        System.set_blocking(writing, False)
        self._sending = threading.Lock()
        self._pending = b""

    @property
    def is_cut(self) -> bool:
        """Whether the other end is gone, or a pipe was closed here: a test may close the descriptors that it sees.

        What the other end said before can still be received.
        """
        is_ours = self._reading.is_ours and self._writing.is_ours
        return not is_ours or bool(self._wait(self._reading, select.POLLIN, 0.0) & ~select.POLLIN)

    def _wait(self, descriptor: Descriptor, event: int, seconds: float | None) -> int:
        """Wait until a pipe is ready, and return the events; 0 if there are none in time."""
        poll = self._new_poll()
        poll.register(descriptor.number, event)
        found = poll.poll(None if seconds is None else 1000 * seconds)
        return found[0][1] if found else 0

    def send(self, message: object, patience: float | None = None) -> None:
        """Send one message. One that cannot be sent as a whole ends the line.

        Args:
            message: The message.
            patience: Seconds to wait for the other end to read on; None to wait for as long as it takes.

        Raises:
            OSError: The other end is gone or does not read, or our end was closed.
        """
        content = self._dumps(message)
        left = memoryview(_LENGTH.pack(len(content)) + content)
        with self._sending:
            try:
                while left:
                    self._await_room(patience)
                    left = left[self._write(left) :]
            except OSError:
                self._writing.close()
                raise

    def _await_room(self, patience: float | None) -> None:
        if not self._writing.is_ours:
            raise OSError("the line was closed")
        events = self._wait(self._writing, select.POLLOUT, patience)
        if not events:
            raise TimeoutError("the other end does not read")
        # Looked at before each write, because a test may have made SIGPIPE fatal.
        if events & ~select.POLLOUT:
            raise BrokenPipeError("the other end is gone")

    def _write(self, content: memoryview) -> int:
        try:
            return System.write(self._writing.number, content)
        except BlockingIOError:
            return 0

    def receive(self, timeout: float | None) -> object:
        """Return the next message; None if none comes in time.

        Args:
            timeout: In seconds; None to wait for as long as it takes.

        Raises:
            EOFError: The other end is gone, or our end was closed.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout
        while not self._is_whole():
            # Looked at before and after, because the number may be that of somebody else's file by now.
            if not self._reading.is_ours:
                raise EOFError
            left = None if deadline is None else max(0.0, deadline - clock.monotonic())
            if not self._wait(self._reading, select.POLLIN, left):
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


class _End:
    """What a local line ends with."""


_END: Final = _End()


class LocalLine:
    """One end of a line between two threads. It has no descriptors, so that a test can close none. See `Line`.

    Args:
        incoming: What the other end sends.
        outgoing: What this end sends.
    """

    is_cut = False

    def __init__(self, incoming: queue.SimpleQueue[object], outgoing: queue.SimpleQueue[object]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    @classmethod
    def pair(cls) -> tuple[LocalLine, LocalLine]:
        """Return both ends of a new line."""
        one: queue.SimpleQueue[object] = queue.SimpleQueue()
        other: queue.SimpleQueue[object] = queue.SimpleQueue()
        return cls(one, other), cls(other, one)

    def send(self, message: object, patience: float | None = None) -> None:
        """Send one message; `patience` is not needed."""
        self._outgoing.put(message)

    def receive(self, timeout: float | None) -> object:
        """Return the next message; None if none comes in time.

        Args:
            timeout: In seconds; None to wait for as long as it takes.

        Raises:
            EOFError: The other end is closed.
        """
        try:
            message = self._incoming.get(timeout=timeout)
        except queue.Empty:
            return None
        if message is _END:
            self._incoming.put(_END)
            raise EOFError
        return message

    def close(self) -> None:
        """Tell the other end that nothing more comes."""
        self._outgoing.put(_END)
