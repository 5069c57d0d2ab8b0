"""What DEBUG tells: what the controller does, line by line, for the end of the session and for a file.

The logger is none of `logging.getLogger`: tests capture, configure and disable those, in our process and in our
threads, and a line of ours in somebody's caplog would change what a test sees.
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

#: Level of a logger that nobody listens to.
SILENT = logging.CRITICAL + 1
#: Lines kept for the terminal; the file has all.
MOST_LINES = 1000
#: Seconds after which a file is removed.
KEPT_SECONDS = 7 * 24 * 3600.0

log = logging.Logger("famacase_xdist", SILENT)


class LogCollector(logging.Handler):
    """Takes the lines of one session from `start` to `stop`; called by any thread, never raises.

    Args:
        masked: Takes the token out of a text.

    Attributes:
        lines: The last ones.
        trouble: Why there is no file; empty while all is well.
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
        """Begin."""
        log.addHandler(self)
        log.setLevel(logging.DEBUG)

    def stop(self) -> None:
        """End; a second call does nothing."""
        log.removeHandler(self)
        if not log.handlers:
            log.setLevel(SILENT)
        with self._locked():
            self._drop_file()
        self.close()

    def write_to(self, path: Path) -> None:
        """Write into a file from now on, and what there is already."""
        with self._locked():
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sweep(path.parent)
                self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a")
                self._write("".join(f"{line}\n" for line in self.lines))
            except OSError as error:
                self.trouble = f"{path}: {error.strerror or error}"

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        # Not with logging's own way for errors, which prints a traceback.
        with contextlib.suppress(Exception):
            line = self._masked(self.format(record))
            self.lines.append(line)
            self._count += 1
            self._write(f"{line}\n")

    def section(self) -> Iterator[str]:
        """Give the lines for the terminal."""
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
    """Remove the files of sessions long ago."""
    oldest = time.time() - KEPT_SECONDS
    for path in directory.glob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
