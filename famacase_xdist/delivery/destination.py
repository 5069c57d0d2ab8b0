"""The destination of a session's results, as the courier sees it: a project, several projects, or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.run_reference import RunId

#: Shows a line to the person who waits.
Say = Callable[[str], None]


class Destination(Protocol):
    """Brings what is in the outboxes of a session to its place. One thread calls it."""

    @property
    def run(self) -> tuple[RunId, str] | None:
        """Id and address of the run; None before it is open, and where there is none or several."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing more to do, after `request_stop`."""

    def start(self, say: Say) -> None:
        """Get ready. Returns within a few seconds.

        Args:
            say: Shows a line to the person who waits.

        Raises:
            FamacaseError: Nothing can be reported.
        """

    def header(self) -> list[str]:
        """Return the lines of the session's header."""

    def follow(self) -> None:
        """Take what was added to the journals."""

    def accept(self, code: str, frames: Sequence[AnyFrame], reason: str) -> None:
        """Take frames that the disk did not take.

        Args:
            code: The project's code; empty for files.
            frames: The frames.
            reason: What the disk said.
        """

    def sync(self) -> None:
        """Make what is in the outboxes survive a power failure. Waits for the disk."""

    def left(self) -> int:
        """Return how many results are still to be delivered."""

    def request_stop(self, accepted: Mapping[str, Counter[str]], *, is_finished: bool) -> None:
        """Begin to deliver the rest, and to leave the run. Returns at once.

        Args:
            accepted: How many results the session accepted, by the project's code and by status.
            is_finished: Whether all tests ran that were to run.
        """

    def bury(self) -> None:
        """As `request_stop`, for a session that died: the tests that were running get results."""

    def close(self) -> Outcome:
        """Deliver nothing more, and return what became of the results."""

    def release(self) -> None:
        """Close the outboxes, after `close`, and delete those of which everything is delivered.

        Called when the session knows the outcome: without its outbox, another process could not tell it any more.
        """
