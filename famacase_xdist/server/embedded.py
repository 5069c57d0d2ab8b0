"""The embedded server as a child process: the parent's end, which needs the standard library only.

The child's end is `__main__`, ``python -m famacase_xdist.server``. It reads the token from the first line of its stdin
and tells its URL in one JSON line on its stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from famacase_xdist.errors import FamacaseError, ServerStartError

NO_SERVER_EXTRA = "the server is not installed ({missing} is missing): install famacase-xdist[server]"
_STATE_DIRECTORY = ".famacase"
_SHOWN_LINES = 15


def new_token() -> str:
    """Return a random token in the form of the contract."""
    return f"rep_{secrets.token_urlsafe(32)}"


def prepare_database_directory(database: Path) -> None:
    """Make the directory of `database` if it is a ``.famacase``, with a ``.gitignore`` that hides all of it.

    Any other directory is the user's own and is left alone; nothing is ever overwritten.

    Raises:
        FamacaseError: it cannot be made.
    """
    directory = database.absolute().parent
    if directory.name != _STATE_DIRECTORY:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), open(directory / ".gitignore", "x") as ignore:
            ignore.write("*\n")
    except OSError as error:
        raise FamacaseError(f"cannot make the directory {directory}: {error.strerror or error}") from error


class EmbeddedServer:
    """A server of one session on a free loopback port. Not for use by several threads at once.

    Attributes:
        url: Where it answers; empty before `start`.
        token: What the API calls must bring.
        pid: Of the child; None before `start`.
    """

    def __init__(self, database: Path, project: str) -> None:
        self.database = database.absolute()
        self.project = project
        self.url = ""
        self.token = new_token()
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def __repr__(self) -> str:
        """Show everything but the token."""
        database = str(self.database)
        return f"EmbeddedServer(url={self.url!r}, pid={self.pid}, database={database!r}, token='rep_***')"

    def start(self, timeout: float = 30) -> None:
        """Start the child and wait, `timeout` seconds at most, until it answers.

        Raises:
            ServerStartError: it did not; nothing is left running.
            FamacaseError: the directory of the database cannot be made.
        """
        if self.pid is not None:
            raise ServerStartError("this server was started before; make a new one")
        prepare_database_directory(self.database)
        deadline = time.monotonic() + timeout
        # A file, not a pipe: nobody reads it while the child runs, and it can never be full.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = self._spawn(self._stderr)
            self.pid = self._process.pid
            self.url = self._handshake(self._process, deadline)
        except BaseException as error:
            self._end_process(timeout=0.5)
            if isinstance(error, (OSError, ServerStartError)):
                raise ServerStartError(f"{error}{_last_lines(self._stderr)}") from error
            raise
        finally:
            if self._process is None:
                self._stderr.close()

    def stop(self, timeout: float = 5) -> None:
        """Ask the child to finish and close its files, wait `timeout` seconds, then end it by force.

        A second call does nothing.
        """
        self._end_process(timeout)
        if self._stderr:
            self._stderr.close()

    def _end_process(self, timeout: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _ask_to_stop(process)
        for force, seconds in ((None, timeout), (process.terminate, 1.0), (process.kill, 5.0)):
            if force:
                force()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
        if process.stdout:
            process.stdout.close()

    def _spawn(self, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        # -P: a module in the user's working directory must not stand in for one of ours or of the library.
        # A new session: Ctrl-C in the terminal must not reach the child before the results have.
        return subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-P", "-m", "famacase_xdist.server"),
                *("--database", str(self.database), "--project", self.project, "--parent", str(os.getpid())),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            start_new_session=True,
        )

    def _handshake(self, process: subprocess.Popen[bytes], deadline: float) -> str:
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{self.token}\n".encode())
        for line in _lines(process.stdout.fileno(), deadline):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                return str(json.loads(line)["url"])
        raise ServerStartError("the embedded server did not start")


def _last_lines(stderr: IO[bytes]) -> str:
    """Only once the child is gone: it shares the position in the file."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
    return "".join(f"\n  {line}" for line in lines)


def _ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    """Say it, then close: a process forked from this one may hold the pipe open, so its end may not come."""
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.write(b"stop\n")
    with contextlib.suppress(OSError):
        process.stdin.close()


def _lines(descriptor: int, deadline: float) -> Iterator[bytes]:
    """Yield the whole lines that come before `deadline` (monotonic seconds) and the end of the pipe."""
    pending = b""
    while is_readable(descriptor, deadline - time.monotonic()):
        received = os.read(descriptor, 4096)
        if not received:
            return
        *whole, pending = (pending + received).split(b"\n")
        yield from whole
    raise ServerStartError("the embedded server did not start in time")


def is_readable(descriptor: int, seconds: float) -> bool:
    """Return whether something can be read within so many seconds, the end included."""
    # Not select.select: it fails on descriptors over 1023, and a test session may have that many.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, seconds)))
