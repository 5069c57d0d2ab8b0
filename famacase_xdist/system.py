"""The functions of the operating system that we call in the process of the tests, bound at import.

A test may replace them: ``mock.patch("os.write")`` changes a module, pyfakefs and freezegun change the globals of all
modules, ours too. None of them changes the attributes of a class, so these stay what they were when pytest started.
"""

from __future__ import annotations

import fcntl
import os
import subprocess


class System:
    """A namespace; see `os`, `fcntl` and `subprocess`."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    pread = staticmethod(os.pread)
    fchmod = staticmethod(os.fchmod)
    fstat = staticmethod(os.fstat)
    fsync = staticmethod(os.fsync)
    ftruncate = staticmethod(os.ftruncate)
    stat = staticmethod(os.stat)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)
    pipe = staticmethod(os.pipe)
    set_blocking = staticmethod(os.set_blocking)
    kill = staticmethod(os.kill)
    getpid = staticmethod(os.getpid)
    urandom = staticmethod(os.urandom)
    lockf = staticmethod(fcntl.lockf)
    popen = subprocess.Popen[bytes]
    poll = staticmethod(subprocess.Popen[bytes].poll)


class Descriptor:
    """A file descriptor that knows whether it is still ours: a test may close it, and its number gets another file.

    Args:
        number: The descriptor, just opened.

    Attributes:
        number: The descriptor.
    """

    __slots__ = ("_file", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        status = System.fstat(number)
        self._file = (status.st_dev, status.st_ino)

    @property
    def is_ours(self) -> bool:
        """Whether the descriptor is open and has the file that it had at first."""
        try:
            status = System.fstat(self.number)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def close(self) -> None:
        """Close the descriptor, if it is still ours."""
        if self.is_ours:
            System.close(self.number)


class Origin:
    """The process that an object was made in. A forked child has a copy of it, which has to do nothing there."""

    __slots__ = ("_forks",)

    #: How many forks lie between this process and the one that loaded this module.
    forks = 0

    def __init__(self) -> None:
        self._forks = Origin.forks

    @property
    def is_here(self) -> bool:
        """Whether this is the process that the object was made in; without a system call."""
        return self._forks == Origin.forks


def _count_fork() -> None:
    Origin.forks += 1


os.register_at_fork(after_in_child=_count_fork)
