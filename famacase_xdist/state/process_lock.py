"""The locks of an outbox: POSIX record locks, which the system releases together with their process.

A forked child does not inherit them. But they count for a process as a whole, and closing any descriptor of the file
releases them, so this module knows the files that this process has locked, and opens none of them a second time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading

from famacase_xdist import clock
from famacase_xdist.errors import OutboxError
from famacase_xdist.system import Descriptor, System

from .records import open_to_append

#: Seconds between two tries.
POLL = 0.02

#: Process, device and inode of each file that is locked here.
_locked: set[tuple[int, int, int]] = set()
_guard = threading.Lock()


class ProcessLock:
    """A lock that one process has until it releases it or ends. Any thread may acquire and release it.

    Args:
        path: The file of the lock; it is made if it is missing, and stays.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: Descriptor | None = None
        self._key = (0, 0, 0)

    @property
    def is_held(self) -> bool:
        """Whether this object has the lock: a test that closes descriptors releases it."""
        return self._descriptor is not None and self._descriptor.is_ours

    def acquire(self, patience: float = 0.0) -> None:
        """Acquire the lock.

        Args:
            patience: Seconds to wait for a process that has it.

        Raises:
            OutboxError: Another process, or another object of this one, has the lock, or its file cannot be made.
        """
        directory = self.path.rpartition("/")[0]
        deadline = clock.monotonic() + patience
        self.release()
        while True:
            try:
                if self._try():
                    return
            except OSError as error:
                raise OutboxError(f"outbox {directory}: {error.strerror}") from None
            if clock.monotonic() >= deadline:
                raise OutboxError(f"outbox {directory}: a session has it")
            threading.Event().wait(POLL)

    def _try(self) -> bool:
        with _guard:
            with contextlib.suppress(FileNotFoundError):
                if self._key_of(System.stat(self.path)) in _locked:
                    return False
            number = open_to_append(self.path)
            descriptor = Descriptor(number)
            key = self._key_of(System.fstat(number))
            try:
                System.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever had the lock may have removed the file, and a new one may be in its place.
                is_locked = self._key_of(System.stat(self.path)) == key
            except OSError as error:
                descriptor.close()
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                raise
            if not is_locked:
                descriptor.close()
                return False
            self._descriptor, self._key = descriptor, key
            _locked.add(key)
            return True

    @staticmethod
    def _key_of(status: os.stat_result) -> tuple[int, int, int]:
        return System.getpid(), status.st_dev, status.st_ino

    def release(self) -> None:
        """Release the lock. May be called twice; a forked child releases nothing of its parent."""
        with _guard:
            _locked.discard(self._key)
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                descriptor.close()
