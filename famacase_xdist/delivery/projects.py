"""The destination that is several projects on one server. Each has its own destination, run and outbox.

Each project's results are as durable as they would be alone, and a project that is refused does not stop the others. If
the session dies between two journals, the test still runs in the second one, and its result there says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from famacase_xdist import clock
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.results.outcome import Outcome

from .destination import Say
from .project import START_PATIENCE, ProjectDestination


class ProjectsDestination:
    """Delivers the results of each project.

    Args:
        destinations: The destinations, by the project's code.
    """

    #: There are several.
    run = None

    def __init__(self, destinations: Mapping[str, ProjectDestination]) -> None:
        self._destinations = destinations

    @property
    def is_idle(self) -> bool:
        """Whether all destinations are idle."""
        return all(each.is_idle for each in self._destinations.values())

    def start(self, say: Say) -> None:
        """Open all runs side by side; see `ProjectDestination.start`.

        Args:
            say: Shows a line to the person who waits.
        """
        deadline = clock.monotonic() + START_PATIENCE
        for destination in self._destinations.values():
            destination.begin()
        for destination in self._destinations.values():
            destination.wait(say, deadline)

    def header(self) -> list[str]:
        """Return the lines that name each project and its run."""
        return [line for destination in self._destinations.values() for line in destination.header()]

    def follow(self) -> None:
        """Take what was added to each journal."""
        for destination in self._destinations.values():
            destination.follow()

    def accept(self, code: str, frames: Sequence[AnyFrame], reason: str) -> None:
        """Hand frames to the destination of their project; see `Destination.accept`."""
        self._destinations[code].accept(code, frames, reason)

    def sync(self) -> None:
        """Make what is in all outboxes survive a power failure."""
        for destination in self._destinations.values():
            destination.sync()

    def left(self) -> int:
        """Return how many results of all projects are still to be delivered."""
        return sum(destination.left() for destination in self._destinations.values())

    def request_stop(self, accepted: Mapping[str, Counter[str]], *, is_finished: bool) -> None:
        """Stop all destinations; see `Destination.request_stop`."""
        for destination in self._destinations.values():
            destination.request_stop(accepted, is_finished=is_finished)

    def bury(self) -> None:
        """Stop all destinations of a session that died; see `ProjectDestination.bury`."""
        for destination in self._destinations.values():
            destination.bury()

    def close(self) -> Outcome:
        """Deliver nothing more, and return what became of the results."""
        outcomes = {code: each.close() for code, each in self._destinations.items()}
        causes = Counter(
            {f"{reason} ({code})": count for code, each in outcomes.items() for reason, count in each.causes.items()}
        )
        return Outcome(
            delivered=sum((each.delivered for each in outcomes.values()), Counter()),
            undelivered=sum(each.undelivered for each in outcomes.values()),
            causes=causes,
            problems=tuple(f"project {code}: {line}" for code, each in outcomes.items() for line in each.problems),
            outboxes=tuple(path for each in outcomes.values() for path in each.outboxes),
            where=tuple(line for code, each in outcomes.items() for line in _where(code, each)),
        )

    def release(self) -> None:
        """Close all outboxes; see `Destination.release`."""
        for destination in self._destinations.values():
            destination.release()


def _where(code: str, outcome: Outcome) -> Iterator[str]:
    first, *more = outcome.where
    yield f"{code}: {first}, delivered {outcome.delivered.total()}, undelivered {outcome.undelivered}"
    yield from (f"{code}: {line}" for line in more)
