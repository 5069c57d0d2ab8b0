"""Outboxes by the path of their database, and processes that hold one."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from famacase_xdist.results.frames import ResultFrame
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.outbox import Outbox

ONE = "1" * 64
HUGE = b"x" * 400_000


def files_at(database: Path) -> OutboxFiles:
    """Return the files of the outbox with this database; the state directory is two levels up."""
    files = StateDirectory(database.parent.parent).outbox(database.stem)
    assert files.database == database
    return files


def ids(batch: list[ResultFrame]) -> list[str]:
    """Return the ids of the results of a batch."""
    return [each.head.id for each in batch]


def take_all(outbox: Outbox) -> list[ResultFrame]:
    """Take all results that no batch has."""
    return outbox.take(1_000_000, 1_000_000_000)


def content_of(outbox: Outbox, digest: str) -> bytes:
    """Return the content of an attachment, its pieces joined."""
    pieces: list[bytes] = []
    while (piece := outbox.contents.piece(digest, len(pieces))) is not None:
        pieces.append(piece)
    return b"".join(pieces)


#: Runs before the code of a `Child`, which uses these names.
PRELUDE = f"""\
import os, sys
from pathlib import Path

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from famacase_xdist.errors import OutboxError
from famacase_xdist.state.outbox import Outbox
from harness.outboxes import files_at
from harness.results import numbered


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


"""


class Child:
    """A process that runs code. The code calls `ready`, which prints "ready" and waits for a line on stdin."""

    def __init__(self, code: str, *args: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Wait for the next line that the process prints, and return it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """Kill the process, and wait until it has ended."""
        self.process.kill()
        self.process.communicate(timeout=10)

    def close(self) -> None:
        """Kill the process if it still runs, and close its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def finish(self) -> int:
        """Send the line that `ready` waits for, and return the exit status."""
        self.process.communicate("\n", timeout=20)
        return self.process.returncode


#: Code of a child that puts fifty results and keeps the outbox open.
HOLDING = """
    outbox = Outbox(files_at(Path(sys.argv[1])))
    for number in range(50):
        outbox.put([numbered(number)])
    ready()
"""


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the present size of a database, its log not counted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
