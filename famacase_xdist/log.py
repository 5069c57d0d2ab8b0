"""The log of DEBUG: the controller's actions, line by line, for the end of the session and for a file.

Nothing of `logging` is in it, because tests capture, configure and disable that for the whole process, also for our
threads. A line of ours in a test's caplog would change what the test sees.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock, current_thread
from time import localtime, strftime

from . import clock
from .system import Descriptor, Origin, System

#: Most lines that are kept for the terminal; the file has all.
MOST_LINES = 1000
#: The age in seconds at which a file is removed.
KEPT_SECONDS = 7 * 24 * 3600.0


class _Log:
    """Passes lines on to the collectors. Any thread may log; neither method raises."""

    def __init__(self) -> None:
        self.collectors: tuple[LogCollector, ...] = ()

    def info(self, text: str, *args: object) -> None:
        """Log a line; `args` are for the ``%`` in the text, which is not made if nothing listens."""
        for collector in self.collectors:
            collector.take(text, args)

    debug = info


log = _Log()


class LogCollector:
    """Collects the lines of one session from `start` to `stop`; in a forked child it takes none.

    Args:
        masked: Returns a text without the token.

    Attributes:
        lines: The last lines, at most `MOST_LINES`.
        trouble: The reason why the file is missing or incomplete; empty if there is none.
    """

    def __init__(self, masked: Callable[[str], str]) -> None:
        self._masked = masked
        self._origin = Origin()
        self._lock = Lock()
        self._file: Descriptor | None = None
        self._count = 0
        self.lines: deque[str] = deque(maxlen=MOST_LINES)
        self.trouble = ""

    def start(self) -> None:
        """Begin to collect lines."""
        if self not in log.collectors:
            log.collectors = (*log.collectors, self)

    def stop(self) -> None:
        """Stop collecting lines, and close the file; a second call does nothing."""
        log.collectors = tuple(each for each in log.collectors if each is not self)
        if self._origin.is_here:
            with self._lock:
                self._drop_file()

    def write_to(self, path: Path) -> None:
        """Write the lines so far, and all that follow, to a file; trouble with it does not raise."""
        with self._lock:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sweep(path.parent)
                self._file = Descriptor(System.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            except OSError as error:
                self.trouble = f"{path}: {error.strerror or error}"
            self._write("".join(f"{line}\n" for line in self.lines))

    def take(self, text: str, args: tuple[object, ...]) -> None:
        """Keep a line."""
        if not self._origin.is_here:
            return
        # A mistake in a line must not become one of the code that logs it.
        with contextlib.suppress(Exception):
            now = clock.now()
            time = f"{strftime('%H:%M:%S', localtime(now))}.{int(now % 1 * 1000):03d}"
            line = self._masked(f"{time} {current_thread().name}: {text % args if args else text}")
            with self._lock:
                self.lines.append(line)
                self._count += 1
                self._write(f"{line}\n")

    def section(self) -> Iterator[str]:
        """Yield the lines for the terminal."""
        if self._count > len(self.lines):
            yield f"({self._count - len(self.lines)} earlier lines are left out)"
        yield from list(self.lines)

    def _write(self, text: str) -> None:
        if self._file is None:
            return
        try:
            if not self._file.is_ours:
                raise OSError("the file was closed by a test")
            rest = text.encode("utf-8", "replace")
            while rest:
                rest = rest[System.write(self._file.number, rest) :]
        except OSError as error:
            self.trouble = str(error)
            self._drop_file()

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def _sweep(directory: Path) -> None:
    """Remove the files of old sessions."""
    oldest = clock.now() - KEPT_SECONDS
    for path in directory.glob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
