"""Outboxes by the path of their directory, with both ends, and processes that hold one."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from famacase_xdist.results.frames import AnyFrame, ContentHead, ResultFrame
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

ONE = "1" * 64


def files_at(directory: Path) -> OutboxFiles:
    """Return the files of the outbox with this directory; the state directory is two levels up."""
    files = StateDirectory(directory.parent.parent).outbox(directory.name)
    assert files.path == directory
    return files


def ids(batch: list[ResultFrame]) -> list[str]:
    """Return the ids of the results of a batch."""
    return [each.head.id for each in batch]


def take_all(outbox: Outbox) -> list[ResultFrame]:
    """Take all results that no batch has."""
    return outbox.take(1_000_000, 1_000_000_000)


def content_of(outbox: Outbox, digest: str) -> bytes:
    """Return the content of an attachment that waits; empty if there is none."""
    head = outbox.contents.waiting(digest) or ContentHead(digest, "", "", -1)
    try:
        with outbox.contents.open(head) as file:
            return file.read()
    except OSError:
        return b""


class Ends:
    """Both ends of an outbox: the journal of a session that lives, and the outbox beside it.

    Args:
        files: The files; made if they are missing.
    """

    def __init__(self, files: OutboxFiles) -> None:
        self.files = files
        self.journal = Journal(files)
        self.outbox = Outbox(files, beside_writer=True)

    def put(self, *frames: AnyFrame) -> int:
        """Append frames to the journal, and return how many new results the outbox found."""
        self.journal.append(frames)
        return self.outbox.follow()

    def end(self) -> Outbox:
        """End the session and what delivers for it, and open the outbox as a resend does."""
        self.close()
        return Outbox(self.files)

    def close(self) -> None:
        """Close both ends."""
        self.outbox.close()
        self.journal.close()


def left_behind(files: OutboxFiles, frames: Sequence[AnyFrame] = (), **facts: Any) -> None:
    """Make the outbox that a session leaves that ends with these frames undelivered."""
    ends = Ends(files)
    ends.put(*frames)
    if facts:
        ends.outbox.remember(**facts)
    ends.close()


#: Runs before the code of a `Child`, which uses these names.
PRELUDE = f"""\
import os, sys
from pathlib import Path

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from famacase_xdist.errors import OutboxError
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.state.process_lock import ProcessLock
from harness.outboxes import Ends, files_at
from harness.results import begun, numbered


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

    def go(self) -> None:
        """Send the line that `ready` waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

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


#: Code of a child that writes fifty results and keeps the journal open.
HOLDING = """
    journal = Journal(files_at(Path(sys.argv[1])))
    for number in range(50):
        journal.append([numbered(number)])
    ready()
"""


@contextmanager
def failing(call: str, error: int, *, after: int = 0) -> Iterator[list[tuple[Any, ...]]]:
    """Let a call of `System` fail, from one call on.

    Args:
        call: Its name.
        error: The number of the error.
        after: How many calls succeed before.

    Yields:
        The arguments of the calls that failed.
    """
    works: Callable[..., Any] = getattr(System, call)
    count = 0
    failed: list[tuple[Any, ...]] = []

    def fail(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > after:
            failed.append(args)
            raise OSError(error, os.strerror(error))
        return works(*args, **options)

    with mock.patch.object(System, call, staticmethod(fail)):
        yield failed


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
