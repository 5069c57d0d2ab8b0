"""The embedded server as a child process of the pytest controller.

The parent side, which the controller imports, needs the standard library only. The child side is
``python -m famacase_xdist.server.process``: it reads the token from the first line of its stdin, tells its
URL in one JSON line on its stdout, and ends when stdin says so, or ends, or the parent is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from famacase_xdist.errors import FamacaseError

if TYPE_CHECKING:
    from .serving import ServerThread

NO_SERVER_EXTRA = "the server is not installed ({missing} is missing): install famacase-xdist[server]"
_STATE_DIRECTORY = ".famacase"
_LOOK_SECONDS = 1.0
_SHOWN_LINES = 15


class ServerStartError(FamacaseError):
    """The embedded server did not start; the message ends with what it wrote to stderr."""


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
                *(sys.executable, "-P", "-m", "famacase_xdist.server.process"),
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
    while _readable(descriptor, deadline - time.monotonic()):
        received = os.read(descriptor, 4096)
        if not received:
            return
        *whole, pending = (pending + received).split(b"\n")
        yield from whole
    raise ServerStartError("the embedded server did not start in time")


def _readable(descriptor: int, seconds: float) -> bool:
    # Not select.select: it fails on descriptors over 1023, and a test session may have that many.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, seconds)))


# The child


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    parser = argparse.ArgumentParser(prog="famacase_xdist.server.process")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    # Unbuffered: what follows the first line must stay in the pipe for select to see.
    token = io.FileIO(0, closefd=False).readline().decode().strip()
    try:
        _serve(options.database, options.project, token, lambda server: _watch(server, options.parent))
    except ImportError as error:
        return _failed(NO_SERVER_EXTRA.format(missing=error.name))
    except FamacaseError as error:
        return _failed(str(error))
    return 0


def _serve(database: Path, project: str, token: str, wait: Callable[[ServerThread], None]) -> None:
    from . import app, records, serving, store

    if not token:
        raise ServerStartError("no token came over stdin")
    if not records.PROJECT_CODE.fullmatch(project):
        raise ServerStartError(f"{project!r} is no project code (letters, digits, - and _, 32 at most)")
    with store.Store(database) as opened:
        opened.add_project(project)
        listener = serving.listen("127.0.0.1", 0)
        server = serving.ServerThread(app.create_app(opened, token=token), listener)
        url = serving.url_of(listener)
        server.start()
        try:
            _tell(url)
            wait(server)
        finally:
            server.stop()


def _tell(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    # Nobody reads stdout from here on, and a full pipe would block.
    os.dup2(2, 1)


def _watch(server: ServerThread, parent: int) -> None:
    while server.is_alive() and os.getppid() == parent:
        if _readable(0, _LOOK_SECONDS):
            return


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _failed(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
