"""The intake of the controller: takes events from any thread and hands them on in order, a batch at a time.

execnet's receiver threads only enqueue here. One thread, ``famacase-inbox``, hands on what is there; in a session
of one process the test's own thread does so too, whenever an attempt begins, so that all before it is on disk.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Event = TypeVar("Event")

#: Most events in one batch; a piece of an attachment is one, so this bounds the memory of a batch.
BATCH = 100
#: Seconds after which what is on disk is made to survive a power failure too.
TICK = 1.0


class Inbox(Generic[Event]):
    """A queue that is drained in order.

    Args:
        store: Takes a batch of events; must not raise.
        sync: Called after stores, when there is time.
        is_immediate: Whether `settle` is called by who puts; then the thread is no faster than `TICK`.
    """

    def __init__(
        self, store: Callable[[Sequence[Event]], None], sync: Callable[[], None], *, is_immediate: bool
    ) -> None:
        self._store = store
        self._sync = sync
        self._is_immediate = is_immediate
        self._events: deque[Event] = deque()
        self._draining = threading.Lock()
        self._wake = threading.Event()
        self._is_sealed = False
        self._thread = threading.Thread(target=self._work, name="famacase-inbox", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Take one event; any thread, never waits."""
        self._events.append(event)
        if not self._is_immediate:
            self._wake.set()

    def settle(self) -> None:
        """Hand on all that is there, on this thread."""
        with self._draining:
            while self._events:
                count = min(len(self._events), BATCH)
                self._store([self._events.popleft() for _ in range(count)])

    def seal(self) -> None:
        """Hand on all that is there, and end the thread."""
        self._is_sealed = True
        self._wake.set()
        self._thread.join(TICK)
        self.settle()

    def _work(self) -> None:
        while not self._is_sealed:
            is_woken = self._wake.wait(TICK)
            self._wake.clear()
            if is_woken or self._events:
                self.settle()
            self._sync()
