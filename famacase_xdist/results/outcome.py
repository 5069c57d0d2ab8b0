"""What became of a session's results; the terminal tells it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a session's results.

    Attributes:
        delivered: How many results reached the destination, by status.
        undelivered: How many results did not.
        causes: Why they did not, and how many for each reason.
        problems: Lines about other failures.
        outboxes: The directories with the undelivered results; none if no result is left, or if all were in memory.
        where: Lines that tell where the results can be seen.
        words: What the terminal calls the results of `delivered` and of `undelivered`.
        notes: Lines about marks of the tests that have no effect.
        nothing_because: Why nothing was reported at all; None if the session reported.
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
        """Return the outcome of a session that reported nothing, for this reason."""
        return cls(Counter(), 0, Counter(), nothing_because=reason)

    @property
    def is_lossy(self) -> bool:
        """Whether results did not reach the destination."""
        return bool(self.undelivered) or self.nothing_because is not None
