"""The log of DEBUG: the controller's actions, line by line, for the end of the session and for a file.

The logger does not come from `logging.getLogger`, because tests capture, configure and disable those loggers, also in
our threads. A line of ours in a test's caplog would change what the test sees.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

#: The level of the logger while no collector listens.
SILENT = logging.CRITICAL + 1
#: Most lines that are kept for the terminal; the file has all.
MOST_LINES = 1000
#: The age in seconds at which a file is removed.
KEPT_SECONDS = 7 * 24 * 3600.0


class _Logger(logging.Logger):
    """A logger outside the tree of loggers."""

    def isEnabledFor(self, level: int) -> bool:  # logging's own name
        # logging keeps its answer, and forgets it only for loggers of its tree; it also obeys `logging.disable`.
        return level >= self.level


log = _Logger("famacase_xdist", SILENT)


class LogCollector(logging.Handler):
    """Collects the lines of one session from `start` to `stop`. Any thread may log; logging never raises.

    Args:
        masked: Returns a text without the token.

    Attributes:
        lines: The last lines, at most `MOST_LINES`.
        trouble: The reason why the file is missing or incomplete; empty if there is none.
    """

    def __init__(self, masked: Callable[[str], str]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(threadName)s: %(message)s", "%H:%M:%S"))
        self._masked = masked
        self._file: TextIO | None = None
        self._count = 0
        self.lines: deque[str] = deque(maxlen=MOST_LINES)
        self.trouble = ""

    def start(self) -> None:
        """Begin to collect lines."""
        log.addHandler(self)
        log.setLevel(logging.DEBUG)

    def stop(self) -> None:
        """Stop collecting lines, and close the file; a second call does nothing."""
        log.removeHandler(self)
        if not log.handlers:
            log.setLevel(SILENT)
        with self._locked():
            self._drop_file()
        self.close()

    def write_to(self, path: Path) -> None:
        """Write the lines so far, and all that follow, to a file; trouble with it does not raise."""
        with self._locked():
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sweep(path.parent)
                self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")
                self._write("".join(f"{line}\n" for line in self.lines))
            except OSError as error:
                self.trouble = f"{path}: {error.strerror or error}"

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of a record."""
        # Not `handleError`, which is logging's own way: it prints a traceback.
        with contextlib.suppress(Exception):
            line = self._masked(self.format(record))
            self.lines.append(line)
            self._count += 1
            self._write(f"{line}\n")

    def section(self) -> Iterator[str]:
        """Yield the lines for the terminal."""
        if self._count > len(self.lines):
            yield f"({self._count - len(self.lines)} earlier lines are left out)"
        yield from list(self.lines)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _write(self, text: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(text)
            self._file.flush()
        except (OSError, ValueError) as error:
            self.trouble = str(error)
            self._drop_file()

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError, ValueError):
                file.close()


def _sweep(directory: Path) -> None:
    """Remove the files of old sessions."""
    oldest = time.time() - KEPT_SECONDS
    for path in directory.glob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
