"""The embedded server's own process: the child's end of `embedded`.

It reads the token from the first line of its stdin and writes its URL as one JSON line to its stdout. It ends when
another line or the end of stdin comes, or when the parent is gone.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from famacase_xdist.errors import FamacaseError, ServerStartError

from .embedded import NO_SERVER_EXTRA, is_readable

if TYPE_CHECKING:
    from .http import ServerThread

#: Seconds between two checks that the parent is alive.
_LOOK_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the parent asks to stop, and return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    parser = argparse.ArgumentParser(prog="famacase_xdist.server")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    # Unbuffered: a buffer would take what follows the first line out of the pipe, where `_watch` has to find it.
    token = io.FileIO(0, closefd=False).readline().decode().strip()
    try:
        _serve(options.database, options.project, token, lambda server: _watch(server, options.parent))
    except ImportError as error:
        return _failed(NO_SERVER_EXTRA.format(missing=error.name))
    except FamacaseError as error:
        return _failed(str(error))
    return 0


def _serve(database: Path, project: str, token: str, wait: Callable[[ServerThread], None]) -> None:
    from . import app, http, records, store

    if not token:
        raise ServerStartError("no token came over stdin")
    if not records.PROJECT_CODE.fullmatch(project):
        raise ServerStartError(records.NO_PROJECT_CODE.format(code=project))
    with store.Store(database) as opened:
        opened.add_project(project)
        listener = http.listen("127.0.0.1", 0)
        server = http.ServerThread(app.create_app(opened, token=token), listener)
        url = http.url_of(listener)
        server.start()
        try:
            _tell(url)
            wait(server)
        finally:
            server.shutdown()


def _tell(url: str) -> None:
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    # The parent does not read stdout from here on. A full pipe would block, so stdout goes where stderr goes.
    os.dup2(2, 1)


def _watch(server: ServerThread, parent: int) -> None:
    while server.is_alive() and os.getppid() == parent:
        if is_readable(0, _LOOK_SECONDS):
            return


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _failed(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
