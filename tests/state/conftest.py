"""An outbox in a state directory of its own, and processes that open one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.outboxes import Child, files_at

from famacase_xdist.state.outbox import Outbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox" / "session.sqlite3"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    opened = Outbox(files_at(path))
    yield opened
    opened.close()


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(code: str, *args: object) -> Child:
        children.append(Child(code, *args))
        return children[-1]

    yield start
    for each in children:
        each.close()
