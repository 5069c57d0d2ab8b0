"""A sender that does not wait between two tries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.senders import Connect, Line
from harness.server import Backend

from famacase_xdist.delivery import sender as module


@pytest.fixture
def connect(tmp_path: Path, backend: Backend, waits: list[float]) -> Iterator[Connect]:
    """Return a function that makes a line to the backend or to another address, and shut all lines down at the end."""
    lines: list[Line] = []

    def connect(url: str = backend.url, **settings: Any) -> Line:
        lines.append(Line(url, tmp_path / "outbox" / str(len(lines)), **settings))
        return lines[-1]

    yield connect
    backend.released.set()
    for line in lines:
        line.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between two tries, which the sender does not wait."""
    waits: list[float] = []
    monkeypatch.setattr(module, "sleep_using_event", lambda event: waits.append)
    return waits
