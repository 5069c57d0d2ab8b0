"""What happens in a session, as the books hear of it: from recorders, from pytest, and from xdist."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Received:
    """A frame that a recorder sent."""

    worker: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Began:
    """pytest says that a test begins."""

    nodeid: str


@dataclass(frozen=True, slots=True)
class Reported:
    """pytest's report of one phase."""

    worker: str
    report: pytest.TestReport


@dataclass(frozen=True, slots=True)
class Crashed:
    """A worker died in a test; `exit` says how, where that is known."""

    worker: str
    nodeid: str
    exit: str
    stacktrace: str


@dataclass(frozen=True, slots=True)
class NotCollected:
    """A module that could not be collected, or was skipped as a whole."""

    report: pytest.CollectReport


Event = Received | Began | Reported | Crashed | NotCollected


def size_of(event: Event) -> int:
    """Give about how many bytes an event holds; only frames are ever large."""
    return len(event.frame) if isinstance(event, Received) else 1000
