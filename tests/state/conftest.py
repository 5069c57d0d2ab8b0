"""Both ends of an outbox in a state directory of its own, and processes that open one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.outboxes import Child, Ends, files_at

from famacase_xdist.state import journal
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.outbox import Outbox


@pytest.fixture
def files(tmp_path: Path) -> OutboxFiles:
    return files_at(tmp_path / "state" / "outbox" / "session")


@pytest.fixture
def ends(files: OutboxFiles) -> Iterator[Ends]:
    opened = Ends(files)
    yield opened
    opened.close()


@pytest.fixture
def outbox(ends: Ends) -> Outbox:
    """The reading end of `ends`."""
    return ends.outbox


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each append have a segment of its own."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(code: str, *args: object) -> Child:
        children.append(Child(code, *args))
        return children[-1]

    yield start
    for each in children:
        each.close()
