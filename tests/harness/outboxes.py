"""Outboxes as tests name them, what is put into them, and processes that hold one."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from famacase_xdist.results.frames import AnyFrame, BegunHead, ContentHead, Frame, PieceHead, ResultFrame, ResultHead
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.outbox import Outbox

ONE = "1" * 64
HUGE = b"x" * 400_000


def files_at(database: Path) -> OutboxFiles:
    """Return the files of the outbox whose database is this one, in a state directory above it."""
    files = StateDirectory(database.parent.parent).outbox(database.stem)
    assert files.database == database
    return files


def result(number: int, body: bytes = b"{}", *contents: str) -> AnyFrame:
    """Make the frame of a result."""
    return Frame(ResultHead(f"id-{number}", f"t.py::test_{number}", "passed", contents=contents), body)


def content(digest: str, body: bytes, pieces: int = 2) -> list[AnyFrame]:
    """Make the frames of an attachment."""
    size = -(-len(body) // pieces)
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    frames: list[AnyFrame] = [Frame(PieceHead(digest, at), part) for at, part in enumerate(parts)]
    return [*frames, Frame(ContentHead(digest, "a.txt", "text/plain", len(body)))]


def begun(nodeid: str, body: bytes = b"") -> AnyFrame:
    """Make the frame of a test that begins."""
    return Frame(BegunHead(nodeid), body)


def ids(batch: list[ResultFrame]) -> list[str]:
    """Give the ids of a batch."""
    return [each.head.id for each in batch]


def take_all(outbox: Outbox) -> list[ResultFrame]:
    """Lease all that nobody has leased."""
    return outbox.take(1_000_000, 1_000_000_000)


def content_of(outbox: Outbox, digest: str) -> bytes:
    """Give all pieces of a content, joined."""
    pieces: list[bytes] = []
    while (piece := outbox.piece(digest, len(pieces))) is not None:
        pieces.append(piece)
    return b"".join(pieces)


class Child:
    """A process of its own that runs code, says "ready", and waits to be told to go on."""

    def __init__(self, code: str, *args: object) -> None:
        prelude = (
            "import os, sys\nfrom pathlib import Path\nfrom famacase_xdist.results.frames import Frame, ResultHead\n"
        )
        prelude += "from famacase_xdist.errors import OutboxError\nfrom famacase_xdist.state.outbox import Outbox\n"
        prelude += "from famacase_xdist.state.directory import StateDirectory\n"
        prelude += "def files_at(path):\n    return StateDirectory(path.parent.parent).outbox(path.stem)\n"
        prelude += "def result(number):\n    return Frame(ResultHead(f'id-{number}', 't', 'passed'), b'{}')\n"
        prelude += "def ready():\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """Wait for what it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it at once, as the kernel does."""
        self.process.kill()
        self.process.communicate(timeout=10)

    def close(self) -> None:
        """End it if it lives, and let go of its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def finish(self) -> int:
        """Let it go on, and wait until it has ended."""
        self.process.communicate("\n", timeout=20)
        return self.process.returncode


HOLDING = """
    outbox = Outbox(files_at(Path(sys.argv[1])))
    for number in range(50):
        outbox.put([result(number)])
    ready()
"""


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file grow beyond the size that this database has without its log."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
