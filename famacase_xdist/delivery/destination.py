"""Where results go: what the controller asks of a destination, and what becomes of a session's results there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from famacase_xdist.results.frames import AnyFrame

#: Says a line to the person who waits.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a session's results.

    Attributes:
        delivered: Results that reached their place, by status.
        undelivered: Results that did not.
        causes: Why, and how many for each reason.
        problems: What else went wrong, a line each.
        outboxes: The files that hold what was not delivered; none where nothing is left, or all was in memory.
        where: Where the results are to be seen, a line each.
        words: What to call the results that are there and those that are not.
        notes: What the tests' own marks give reason to say, a line each.
        nothing_because: Why nothing was reported at all; None where the session reports.
    """

    delivered: Counter[str]
    undelivered: int
    causes: Counter[str]
    problems: tuple[str, ...] = ()
    outboxes: tuple[Path, ...] = ()
    where: tuple[str, ...] = ()
    words: tuple[str, str] = ("delivered", "undelivered")
    notes: tuple[str, ...] = ()
    nothing_because: str | None = None

    @classmethod
    def nothing(cls, reason: str) -> Outcome:
        """Return the outcome of a session that reported nothing."""
        return cls(Counter(), 0, Counter(), nothing_because=reason)

    @property
    def is_lossy(self) -> bool:
        """Whether results did not reach their place."""
        return bool(self.undelivered) or self.nothing_because is not None


class Destination(Protocol):
    """Where a session's results go.

    Attributes:
        secret: What must not be written down anywhere; empty where there is no secret.
    """

    secret: str

    def start(self, say: Say) -> None:
        """Get ready; returns in bounded time.

        Raises:
            FamacaseError: Nothing can be reported.
        """

    def header(self) -> list[str]:
        """Give the lines of the session's header."""

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Take frames that must not get lost; one thread at a time.

        Raises:
            FamacaseError: They are lost.
        """

    def sync(self) -> None:
        """Make what was kept last; called about once a second, on another thread than `keep`."""

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Bring the rest to its place and close everything; see `Pipeline.finish`."""
