"""The destination of a session's results, as the controller sees it, and the outcome that it returns at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from famacase_xdist.results.frames import AnyFrame

#: Shows a line to the person who waits.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a session's results.

    Attributes:
        delivered: How many results reached the destination, by status.
        undelivered: How many results did not.
        causes: Why they did not, and how many for each reason.
        problems: Lines about other failures.
        outboxes: The files with the undelivered results; none if no result is left, or if all were in memory.
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


class Destination(Protocol):
    """The place where a session's results go: a project, several projects, or files.

    Attributes:
        secret: The token, which must not be written anywhere; empty if there is none.
    """

    secret: str

    def start(self, say: Say) -> None:
        """Get ready. Returns within a few seconds.

        Args:
            say: Shows a line to the person who waits.

        Raises:
            FamacaseError: Nothing can be reported.
        """

    def header(self) -> list[str]:
        """Return the lines of the session's header."""

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Take frames, which must not get lost from now on. Only one thread at a time calls this.

        Raises:
            FamacaseError: They are lost.
        """

    def sync(self) -> None:
        """Make what was kept survive a power failure. Called about once a second, on a thread of its own."""

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Bring the rest to the destination, and close everything.

        Args:
            timeout: Seconds to wait for others.
            is_finished: Whether all tests ran that were to run.
        """
