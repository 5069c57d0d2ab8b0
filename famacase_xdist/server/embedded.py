"""The embedded server as a child process: the parent's end, which imports only the standard library.

The child's end is `__main__`, run by ``python -m famacase_xdist.server``. It reads the token from the first line of its
stdin and writes its URL as one JSON line to its stdout.
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
    """Return a random token in the form that `docs/reporter-api.md` describes."""
    return f"rep_{secrets.token_urlsafe(32)}"


def prepare_database_directory(database: Path) -> None:
    """Make the directory of a database if its name is ``.famacase``, with a ``.gitignore`` that hides its content.

    A directory of another name belongs to the user and is not touched. No file is ever overwritten.

    Raises:
        FamacaseError: The directory cannot be made.
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
    """The server of one session, on a free loopback port. Only one thread may use it at a time.

    Attributes:
        database: The absolute path of the server's SQLite file.
        project: The code of a project that the server has from its start.
        url: Where the server answers; empty before `start`.
        token: What the API calls must bring.
        pid: The id of the child process; None before `start`.
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
        """Return everything but the token."""
        database = str(self.database)
        return f"EmbeddedServer(url={self.url!r}, pid={self.pid}, database={database!r}, token='rep_***')"

    def start(self, timeout: float = 30) -> None:
        """Start the child and wait until it answers.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ServerStartError: The server did not start in time, or was started before. No new process is left running.
            FamacaseError: The directory of the database cannot be made.
        """
        if self.pid is not None:
            raise ServerStartError("this server was started before; make a new one")
        prepare_database_directory(self.database)
        deadline = time.monotonic() + timeout
        # A file, not a pipe: a pipe that is not read while the child runs could become full, and the child would block.
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

    def shutdown(self, timeout: float = 5) -> None:
        """Ask the child to finish and to close its files. A second call does nothing.

        Args:
            timeout: Seconds to wait for the child; after them it is ended by force.
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
        # -P: a module in the user's working directory must not be imported in place of ours or of the standard library.
        # A new session: Ctrl-C in the terminal must not end the child before the last results have reached it.
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
    """Return what the child wrote last; call it after the child has ended, which shares the position in the file."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
    return "".join(f"\n  {line}" for line in lines)


def _ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    # A line and not only the end of the pipe: a process that was forked from this one may hold the pipe open, and then
    # the child would wait for an end that does not come.
    assert process.stdin
    with contextlib.suppress(OSError):
        process.stdin.write(b"stop\n")
    with contextlib.suppress(OSError):
        process.stdin.close()


def _lines(descriptor: int, deadline: float) -> Iterator[bytes]:
    """Yield each whole line until the pipe ends.

    Raises:
        ServerStartError: The deadline, in seconds of the monotonic clock, came first.
    """
    pending = b""
    while is_readable(descriptor, deadline - time.monotonic()):
        received = os.read(descriptor, 4096)
        if not received:
            return
        *whole, pending = (pending + received).split(b"\n")
        yield from whole
    raise ServerStartError("the embedded server did not start in time")


def is_readable(descriptor: int, seconds: float) -> bool:
    """Return whether data, or the end of the pipe, can be read within some seconds."""
    # Not select.select, which fails for a descriptor over 1023: a test session may have that many files open.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, seconds)))
