"""The intake of the controller: takes events from any thread and hands them on in order, a batch at a time.

In a session of one process the test's own thread hands on what it puts. Under xdist, execnet's receiver threads enqueue
here, and one thread, ``famacase-inbox``, hands on what is there; pytest's thread does so too at the end of each test,
mostly to find that it is done. Nothing here ever waits for the server.

execnet has no flow control: a receiver thread that takes whatever comes, while the disk is slower than the workers,
fills the memory. So beyond `MOST_BYTES` a receiver thread waits until there is room, which holds up its own worker
(the socket fills, the worker's next send waits, and with it xdist's reports and its call for more tests), and no other
worker. Each thread waits for about one batch and never hands on itself: a thread that hands on while others bring more
is held for as long as they do. The thread that made the inbox, on which pytest and xdist's loop run, never waits: it
would hold up all workers, and the events that it brings follow from those of the receiver threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Event = TypeVar("Event")

#: Most events, and about how many bytes, in one batch.
BATCH = 500
BATCH_BYTES = 4 * 1024 * 1024
#: Bytes that may wait, so that memory stays flat: seconds of a very busy session, minutes of a usual one.
MOST_BYTES = 16 * 1024 * 1024
#: Seconds that the end of a session waits for the thread to hand on what it has.
PATIENCE = 1.0


class ImmediateInbox(Generic[Event]):
    """The inbox of a session of one process. Whoever puts what has to be on disk settles it.

    Args:
        store: Takes a batch of events; must not raise.
    """

    def __init__(self, store: Callable[[Iterable[Event]], None]) -> None:
        self._store = store
        self._events: deque[Event] = deque()
        self._storing = threading.Lock()

    def put(self, event: Event) -> None:
        """Take one event; any thread."""
        self._events.append(event)

    def settle(self) -> None:
        """Hand on all that is there, on the calling thread."""
        with self._storing:
            if self._events:
                self._store(self._taken())

    def _taken(self) -> Iterator[Event]:
        """Yield the events one by one, so that a timeout or Ctrl-C, which may break off anything, costs few of them."""
        while self._events:
            yield self._events.popleft()

    def seal(self) -> None:
        """Hand on all that is there."""
        self.settle()


class QueuedInbox(Generic[Event]):
    """The inbox of an xdist controller, whose events come from the receiver threads of its workers.

    Args:
        store: Takes a batch of events; must not raise.
        size_of: Returns the bytes of an event.
    """

    def __init__(
        self, store: Callable[[Iterable[Event]], None], size_of: Callable[[Event], int] = lambda event: 0
    ) -> None:
        self._store = store
        self._size_of = size_of
        self._events: deque[Event] = deque()
        self._bytes_put = 0
        self._bytes_taken = 0
        self._maker = threading.get_ident()
        self._counting = threading.Lock()
        self._room = threading.Condition(self._counting)
        self._draining = threading.Lock()
        self._wake = threading.Event()
        self._is_sealed = False
        self._thread = threading.Thread(target=self._work, name="famacase-inbox", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take one event; any thread. Waits for room where there is none, see above."""
        enough = self._enqueue(event)
        # The thread clears this before it looks for events. To set what is set takes a lock for long.
        if not self._wake.is_set():
            self._wake.set()
        if self._bytes_taken < enough and threading.get_ident() != self._maker:
            self._wait_until_taken(enough)

    def settle(self) -> None:
        """Hand on all that is there, on the calling thread."""
        with self._draining:
            while self._events:
                self._store(self._batch())

    def seal(self) -> None:
        """Hand on all that is there, and end the thread."""
        with self._room:
            self._is_sealed = True
            self._room.notify_all()
        self._wake.set()
        self._thread.join(PATIENCE)
        self.settle()

    def _wait_until_taken(self, enough: int) -> None:
        """Wait until so many bytes have been taken in all.

        Not until there is room for another event: of two hundred threads that wait for that, the same few would be in
        time.
        """
        with self._room:
            self._room.wait_for(lambda: self._bytes_taken >= enough or self._is_sealed)

    def _enqueue(self, event: Event) -> int:
        """Add an event; return how many bytes have to be taken in all before another one has room."""
        size = self._size_of(event)
        self._events.append(event)
        # Hold it for a short time: a thread that loses the interpreter meanwhile makes all others wait for its turn.
        with self._counting:
            self._bytes_put += size
            return self._bytes_put - MOST_BYTES

    def _batch(self) -> list[Event]:
        batch: list[Event] = []
        size = 0
        while self._events and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._events.popleft())
            size += self._size_of(batch[-1])
        with self._counting:
            self._bytes_taken += size
            self._room.notify_all()
        return batch

    def _work(self) -> None:
        while not self._is_sealed:
            self._wake.wait()
            self._wake.clear()
            self.settle()
