"""The books of a session: how many tests were collected, how many results came in."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from . import wire


class Ledger:
    """Counts what happened. The inbox's thread and pytest's own write into it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.collected = 0
        self.received: Counter[str] = Counter()

    def receive(self, frames: Iterable[wire.Frame]) -> int:
        """Enter the results among some stored frames, and say how many there are."""
        statuses = [head.status for head, _ in frames if isinstance(head, wire.ResultHead)]
        with self._lock:
            self.received.update(statuses)
        return len(statuses)
