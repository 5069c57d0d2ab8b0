"""A process that is killed before any one of its calls to the system: nothing is lost, and nothing is sent again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.outboxes import Ends, content_of, files_at, ids
from harness.results import attachment, begun, numbered

from famacase_xdist.state import journal
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.system import System

CALLS = ("open", "close", "write", "fchmod", "rename", "unlink", "fsync", "lockf", "pread", "stat")
CONTENT, FRAMES = attachment(b"content", pieces=2)


def session(files: OutboxFiles, say: Callable[[str], None]) -> None:
    """Do what a session and its delivery do, and say what is accepted, sent and acknowledged."""
    ends = Ends(files)
    for number in range(4):
        name = f"id-{number}"
        ends.put(begun(f"t.py::test_{number}", b"{}"))
        ends.put(*(FRAMES if number == 1 else ()), numbered(number, contents=[CONTENT] if number == 1 else []))
        say(f"accepted {name}")
        if number == 2:
            deliver(ends.outbox, say)
    ends.outbox.sync()
    outbox = ends.end()
    outbox.add([numbered(4)])
    say("accepted id-4")
    deliver(outbox, say)
    outbox.close(delete=True)


def deliver(outbox: Outbox, say: Callable[[str], None]) -> None:
    while batch := outbox.take(2, 1000):
        if outbox.contents.waiting(CONTENT):
            say("sent content")
            outbox.contents.acknowledge(CONTENT, 7)
        for result_id in ids(batch):
            say(f"sent {result_id}")
        outbox.acknowledge(batch)
        for result_id in ids(batch):
            say(f"acknowledged {result_id}")


def killed_before(call: int, work: Callable[[Callable[[str], None]], None]) -> tuple[bool, dict[str, set[str]]]:
    """Do some work in a child, which is killed before one of its calls, and return whether it was, and what it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        count = 0

        def counted(works: Any) -> Any:
            def at(*args: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count > call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return works(*args, **options)

            return staticmethod(at)

        for name in CALLS:
            setattr(System, name, counted(getattr(System, name)))
        try:
            work(lambda word: os.write(writing, f"{word}\n".encode()) and None)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        words = [line.split() for line in file]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = {kind: {what for each, what in words if each == kind} for kind in ("accepted", "sent", "acknowledged")}
    return status == -signal.SIGKILL, said


@pytest.mark.process
def test_wherever_a_session_is_killed_nothing_is_lost_and_nothing_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 300)
    call = -1
    was_killed = True
    while was_killed:
        call += 1
        files = files_at(tmp_path / str(call) / "outbox" / "session")
        was_killed, said = killed_before(call, lambda say, files=files: session(files, say))
        left: set[str] = set()
        for each in files.state.all_outboxes():
            outbox = Outbox(each)
            left.update(ids(outbox.take(100, 10_000)))
            assert outbox.damage == {}, call
            assert outbox.seen >= len(said["accepted"]), call
            assert len(outbox.running()) <= 1, call
            if "id-1" in left and "content" not in said["sent"]:
                assert content_of(outbox, CONTENT) == b"content", call
            outbox.acknowledge([numbered(number) for number in range(5)])
            assert outbox.undelivered() == 0, call
            outbox.close(delete=True)
        assert said["accepted"] <= left | said["sent"], call
        assert said["acknowledged"].isdisjoint(left), call
        assert files.state.all_outboxes() == [], call

    assert call > 100
    assert said["acknowledged"] == said["accepted"] == {f"id-{number}" for number in range(5)}
