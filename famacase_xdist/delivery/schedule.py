"""When the sender's thread has to work: other threads announce results, and the thread waits until a cycle is due."""

from __future__ import annotations

import threading

from famacase_xdist import clock


class Schedule:
    """Decides when a cycle of the sender's thread is due. Only that thread waits; any thread may call the rest.

    Args:
        batch_size: How many results fill a batch. A full batch is due at once.
        max_age: Seconds after which the oldest result is due even if it is alone.
    """

    def __init__(self, batch_size: int, max_age: float) -> None:
        self._batch_size = batch_size
        self._max_age = max_age
        self._changed = threading.Condition()
        self._waiting = 0
        self._since = 0.0
        self._rest_until = 0.0
        self._is_stopping = False

    @property
    def waiting(self) -> int:
        """How many of the announced results wait."""
        with self._changed:
            return self._waiting

    @property
    def is_stopping(self) -> bool:
        """Whether everything is due at once, because the session ends."""
        return self._is_stopping

    def announce(self, results: int) -> None:
        """Note that more results wait.

        Args:
            results: How many.
        """
        if not results:
            return
        with self._changed:
            is_first = self._waiting == 0
            self._waiting += results
            if is_first:
                self._since = clock.monotonic()
            # Waking the thread costs time of the running test, so it is woken only to work or to wait for an age.
            if is_first or self._waiting >= self._batch_size:
                self._changed.notify()

    def stop(self) -> None:
        """Make everything due at once, from now on."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def rest(self, seconds: float) -> None:
        """Let no cycle be due for some seconds, unless the session ends."""
        with self._changed:
            self._rest_until = clock.monotonic() + seconds

    def settle(self, results: int) -> bool:
        """Note that a cycle has dealt with results.

        Args:
            results: How many.

        Returns:
            Whether the next cycle is due at once.
        """
        with self._changed:
            self._waiting = max(0, self._waiting - results)
            self._since = clock.monotonic()
            return self._is_stopping or self._waiting >= self._batch_size

    def wait(self, *, is_run_open: bool) -> None:
        """Wait until a cycle is due.

        Args:
            is_run_open: Whether the run is open. A run that is not open is reason enough for a cycle.
        """
        with self._changed:
            while not self._is_stopping and (pause := self._pause(is_run_open)) != 0:
                self._changed.wait(pause)

    def _pause(self, is_run_open: bool) -> float | None:
        """Return the seconds until a cycle is due; None if that needs a result first."""
        now = clock.monotonic()
        if now < self._rest_until:
            return self._rest_until - now
        if not self._waiting:
            return None if is_run_open else 0
        if self._waiting >= self._batch_size:
            return 0
        return max(0.0, self._since + self._max_age - now)
