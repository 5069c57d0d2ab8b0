"""What happens in a session, as the ledger hears of it: from recorders, from pytest, and from xdist.

The events that each test has are not frozen, because frozen ones take three times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from famacase_xdist import clock
from famacase_xdist.results.frames import AnyFrame


@dataclass(slots=True)
class Recorded:
    """A frame of the recorder in this process."""

    worker: str
    frame: AnyFrame


@dataclass(slots=True)
class Received:
    """A message of a worker, which should be a frame."""

    worker: str
    message: bytes


@dataclass(slots=True)
class Began:
    """pytest says that a test begins."""

    nodeid: str


@dataclass(slots=True)
class Reported:
    """pytest's reports of a test: all its phases, or those up to where they broke off.

    Attributes:
        since: When the first one came, on the monotonic clock.
    """

    worker: str
    nodeid: str
    reports: list[pytest.TestReport]
    since: float = field(default_factory=clock.monotonic)


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


Event = Recorded | Received | Began | Reported | Crashed | NotCollected


def size_of(event: Event) -> int:
    """Return about how many bytes an event holds; only frames are ever large."""
    if isinstance(event, Received):
        return len(event.message)
    return 1000 + (len(event.frame.body) if isinstance(event, Recorded) else 0)
