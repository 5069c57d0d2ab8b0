"""Locks in a state directory that jobs share: one around each run key, and a lease for each session that lives.

Both come in two kinds, see `file_system`. A flock is released by the system together with the process. The kind
``lease`` is filelock's: a file that its owner refreshes. A process that waits may take it after `LEASE_SECONDS` of its
own clock without a refresh.
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

#: Seconds without a refresh after which a lock of the kind `LEASE` may be taken.
LEASE_SECONDS = 30.0
#: Seconds between two tries to get a lock.
POLL = 0.05


def new_lock(path: Path, kind: str) -> BaseFileLock:
    """Return a lock of a kind, `FLOCK` or `LEASE`; any thread may acquire and release it."""
    if kind == LEASE:
        return SoftFileLease(path, lease_duration=LEASE_SECONDS, thread_local=False)
    # No silent change to a soft lock, because the other users of the directory would not see it.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


class KeyLock:
    """The lock around one run key's record, in the key's own directory.

    Args:
        key: The key's files; their directory is made if it is missing, and removed by a process that has the lock.
        kind: `FLOCK` or `LEASE`.
        pid: The process that people are told of; None for this one.
    """

    def __init__(self, key: RunKeyFiles, kind: str, pid: int | None = None) -> None:
        self._key = key
        self._kind = kind
        self._pid = os.getpid() if pid is None else pid
        self._is_waiting = False

    @property
    def waits_for(self) -> str:
        """The process that has the lock: pid, host and since when; empty while this process does not wait for it."""
        return self._holder() if self._is_waiting else ""

    @contextmanager
    def hold(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Have the lock within a block.

        Args:
            timeout: Seconds to wait for it.
            give_up: Asked again and again while the lock is waited for; True ends the waiting.

        Raises:
            LockTimeout: The lock did not come in time, or `give_up` returned True.
            OSError: The directory cannot be used.
        """
        lock = self._acquire(timeout, give_up)
        try:
            self._note_holder()
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
                    # Another process removed the directory between two lines: try once more, in a new directory.
                except Timeout:
                    raise LockTimeout(f"waited {clock.monotonic() - begun:.0f} s for {self._holder()}") from None
        finally:
            self._is_waiting = False

    def _note_holder(self) -> None:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"pid": self._pid, "host": platform.node(), "since": since}
        # The file is for people only. If the disk is full, the write that matters fails as well and says so.
        with contextlib.suppress(OSError):
            self._key.holder.write_text(json.dumps(holder))

    def _holder(self) -> str:
        try:
            holder = json.loads(self._key.holder.read_text())
            return f"pid {holder['pid']} on {holder['host']}, which has had the lock since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "a process that has not said who it is"


class Lease:
    """The claim of a session that lives: a lock that its process has until it ends or leaves the run.

    Args:
        path: The file of the lock.
        kind: `FLOCK` or `LEASE`.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self._lock = new_lock(path, kind)

    def hold(self) -> None:
        """Acquire the lock. Another process acquires it only for a moment, to see whether this session lives.

        Raises:
            OSError: The file cannot be made.
        """
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        if not self._lock.is_locked:
            self._lock.acquire(timeout=1.0)

    def drop(self) -> None:
        """Release the lock and remove its file. May be called twice."""
        if self._lock.is_locked:
            self._lock.release()
        self._path.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        """Return whether another session has the lock.

        The caller has the key's lock, so no session is about to acquire this one. A lock of the kind `LEASE` that is
        not refreshed any more counts as alive until this object has watched it for `LEASE_SECONDS`.
        """
        if not self._path.exists():
            return False
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return True
        self._lock.release()
        return False
