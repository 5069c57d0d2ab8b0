"""The intake of the controller: takes frames from any thread and hands them to the outbox in its own.

execnet's receiver threads and the test's own thread only enqueue here; one thread, ``famacase-inbox``, writes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from . import wire

#: Most frames in one transaction.
DRAIN = 500


class Inbox:
    """A queue that is drained by one thread.

    Args:
        store: Takes a list of frames, all or none; called on the inbox's thread.
    """

    def __init__(self, store: Callable[[Sequence[wire.Frame]], None]) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._drain, name="famacase-inbox", daemon=True)
        self.unreadable = 0
        self._thread.start()

    def put(self, frame: bytes) -> None:
        """Take one frame; any thread, never waits."""
        self._queue.put(frame)

    def seal(self, timeout: float) -> bool:
        """Take nothing more and wait at most `timeout` seconds until all that came before is stored."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # An inbox is also the sink of a session of one process.
    send = put

    def close(self) -> None:
        """Do nothing: the controller seals the inbox when every sink is done."""

    def _drain(self) -> None:
        while (first := self._queue.get()) is not None:
            frames = [first]
            sealed = False
            while len(frames) < DRAIN and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    sealed = True
                    break
                frames.append(following)
            self._store([frame for each in frames if (frame := self._read(each)) is not None])
            if sealed:
                return

    def _read(self, frame: bytes) -> wire.Frame | None:
        try:
            return wire.decode(frame)
        except ValueError:
            self.unreadable += 1
            return None
