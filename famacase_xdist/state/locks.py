"""Locks in a state directory that jobs share: one around a run key, and one for each session that lives.

Each is flock, which the system drops with the process, or filelock's lease: a file whose holder refreshes it, which
who waits may take after `LEASE_SECONDS` of his own clock without a refresh. `file_system` says which.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from famacase_xdist import clock
from famacase_xdist.errors import LockTimeout
from famacase_xdist.log import log

from .directory import RunKeyFiles
from .file_system import LEASE

#: Seconds without a refresh after which a lease may be taken.
LEASE_SECONDS = 30.0
#: Seconds between two tries to get a lock.
POLL = 0.05


def new_lock(path: Path, kind: str) -> BaseFileLock:
    """Make a lock of a kind; any thread may take and release it."""
    if kind == LEASE:
        return SoftFileLease(path, lease_duration=LEASE_SECONDS, thread_local=False)
    # No silent change to a soft lock: who shares the directory would not see it.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


class KeyLock:
    """The lock around one run key's record, in the key's own directory.

    Args:
        key: The key's files; their directory is made where it is not there, and swept with the lock held.
        kind: `FLOCK` or `LEASE`.
    """

    def __init__(self, key: RunKeyFiles, kind: str) -> None:
        self._key = key
        self._kind = kind
        self._is_waiting = False

    @property
    def waits_for(self) -> str:
        """Who holds the lock that this process waits for: pid, host, since; empty where it does not wait."""
        return self._holder() if self._is_waiting else ""

    @contextmanager
    def hold(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Hold the lock.

        Raises:
            LockTimeout: It did not come within `timeout` seconds, or `give_up` said so.
            OSError: The directory cannot be used.
        """
        lock = self._acquire(timeout, give_up)
        try:
            self._say_who()
            yield
        finally:
            lock.release()

    def _acquire(self, timeout: float, give_up: Callable[[], bool]) -> BaseFileLock:
        begun = clock.monotonic()
        self._is_waiting = True
        try:
            while True:
                self._key.path.mkdir(mode=0o700, exist_ok=True)
                lock = new_lock(self._key.lock, self._kind)
                left = max(0.0, begun + timeout - clock.monotonic())
                try:
                    lock.acquire(timeout=left, poll_interval=POLL, cancel_check=give_up)
                    log.debug("lock %s after %d ms", self._key.path, 1000 * (clock.monotonic() - begun))
                    return lock
                except FileNotFoundError:
                    if not left:
                        raise
                    # Swept between two lines: once more, in a new directory.
                except Timeout:
                    raise LockTimeout(f"waited {clock.monotonic() - begun:.0f} s for {self._holder()}") from None
        finally:
            self._is_waiting = False

    def _say_who(self) -> None:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"pid": os.getpid(), "host": platform.node(), "since": since}
        # For people only; a full disk is said where it matters.
        with contextlib.suppress(OSError):
            self._key.holder.write_text(json.dumps(holder))

    def _holder(self) -> str:
        try:
            holder = json.loads(self._key.holder.read_text())
            return f"pid {holder['pid']} on {holder['host']}, which has the lock since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "a process that has not said who it is"


class Lease:
    """Says that a session lives: a lock that is held until the process ends or says goodbye."""

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._lock = new_lock(path, kind)

    def hold(self) -> None:
        """Take it; nobody else ever does, but to see whether somebody lives.

        Raises:
            OSError: It cannot be made.
        """
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        if not self._lock.is_locked:
            self._lock.acquire(timeout=1.0)

    def drop(self) -> None:
        """Let go of it. May be called twice."""
        if self._lock.is_locked:
            self._lock.release()
        self._path.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        """Whether another session holds it. Asked under the key's lock, so nobody is about to take it.

        A lease that is not refreshed any more counts as alive until it was watched for `LEASE_SECONDS`.
        """
        if not self._path.exists():
            return False
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return True
        self._lock.release()
        return False
