"""The destination that is several projects on one server. Each has its own destination, run and outbox.

Each project's results are as durable as they would be alone, and a project that is refused does not stop the others. If
the process dies between two outboxes, the test still runs in the second one, and a resend says there that it did not
end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from famacase_xdist import clock
from famacase_xdist.client.server import Server
from famacase_xdist.errors import FamacaseError
from famacase_xdist.results.body import begun, description_in, description_of, in_project
from famacase_xdist.results.frames import AnyFrame, BegunHead, Frame, IgnoredHead, is_result
from famacase_xdist.settings.settings import Settings

from .destination import Outcome, Say
from .project import START_PATIENCE, ProjectDestination

#: Test case ids by project; None to keep the ids that the result has already.
Targets = Mapping[str, Sequence[int] | None]


class ProjectsDestination:
    """Delivers each result to the projects that it belongs to.

    Args:
        settings: The settings of the session.
        server: The server that has all projects.

    Attributes:
        secret: The token.
    """

    def __init__(self, settings: Settings, server: Server) -> None:
        self.secret = server.token
        projects = settings.of_each_project()
        self._default = settings.testops_multi.default if settings.testops_multi else ""
        self._destinations = {code: ProjectDestination(own, server) for code, own in projects.items()}
        self._running: dict[str, set[str]] = {}
        self._unknown: Counter[str] = Counter()
        self._outcomes: dict[str, Outcome] = {}

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

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Put frames into the outboxes of their projects.

        Raises:
            OutboxError: An outbox could not take its frames. The other outboxes have theirs.
        """
        batches: dict[str, list[AnyFrame]] = {}
        for frame in frames:
            for code, own in self._routed(frame):
                batches.setdefault(code, []).append(own)
        errors = []
        for code, batch in batches.items():
            try:
                self._destinations[code].keep(batch)
            except FamacaseError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def sync(self) -> None:
        """Make what all outboxes accepted survive a power failure."""
        for destination in self._destinations.values():
            destination.sync()

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Finish all destinations under one deadline; see `ProjectDestination.finish`."""
        deadline = clock.monotonic() + timeout
        left = {code: each for code, each in self._destinations.items() if code not in self._outcomes}
        for destination in left.values():
            destination.request_stop(is_finished=is_finished)
        for code, destination in left.items():
            seconds = max(0.0, deadline - clock.monotonic())
            self._outcomes[code] = destination.finish(seconds, is_finished=is_finished)
        return self._outcome()

    def _outcome(self) -> Outcome:
        outcomes = self._outcomes.items()
        causes = Counter(
            {f"{reason} ({code})": count for code, each in outcomes for reason, count in each.causes.items()}
        )
        unknown = (
            f"{count} results name project {code}, which is not in testops_multi"
            for code, count in self._unknown.items()
        )
        return Outcome(
            delivered=sum((each.delivered for _, each in outcomes), Counter()),
            undelivered=sum(each.undelivered for _, each in outcomes),
            causes=causes,
            problems=(*(f"project {code}: {line}" for code, each in outcomes for line in each.problems), *unknown),
            outboxes=tuple(path for _, each in outcomes for path in each.outboxes),
            where=tuple(line for code, each in outcomes for line in _where(code, each)),
        )

    def _routed(self, frame: AnyFrame) -> Iterator[tuple[str, AnyFrame]]:
        """Yield what to keep of a frame, with the project that keeps it."""
        head = frame.head
        if is_result(frame):
            targets = self._targets(frame.head.projects, is_counted=True)
            yield from self._ended(frame.head.nodeid, set(targets))
            for code, ids in targets.items():
                yield code, frame if ids is None else in_project(frame, code, ids)
        elif isinstance(head, BegunHead):
            yield from self._began(head, frame.body)
        elif isinstance(head, IgnoredHead):
            yield from self._ended(head.nodeid, set())
        else:
            # A content comes before the results that tell its project, so every project gets it.
            yield from ((code, frame) for code in self._destinations)

    def _began(self, head: BegunHead, body: bytes) -> Iterator[tuple[str, AnyFrame]]:
        if not body:
            # A begun frame without a description comes from pytest's report. It may arrive after the recorder's frame,
            # which knows the projects.
            for code in self._running.setdefault(head.nodeid, {self._default}):
                yield code, Frame(head)
            return
        described, projects = description_of(body)
        targets = self._targets(projects, is_counted=False)
        yield from self._ended(head.nodeid, set(targets))
        self._running[head.nodeid] = set(targets)
        for code, ids in targets.items():
            yield code, begun(head.nodeid, described if ids is None else description_in(described, code, ids))

    def _ended(self, nodeid: str, targets: set[str]) -> Iterator[tuple[str, AnyFrame]]:
        """Yield frames that end a test in those projects that it was thought to belong to and does not."""
        for code in self._running.pop(nodeid, set()) - targets:
            yield code, Frame(IgnoredHead(nodeid))

    def _targets(self, projects: Mapping[str, Sequence[int]], *, is_counted: bool) -> Targets:
        """Return the projects of a test. If it names none that is set up, that is the default project.

        Args:
            projects: Test case ids by project, as the test names them.
            is_counted: Whether to count projects that are not set up.
        """
        known = {code: ids for code, ids in projects.items() if code in self._destinations}
        if is_counted:
            self._unknown.update(projects.keys() - known.keys())
        return known or {self._default: [] if projects else None}


def _where(code: str, outcome: Outcome) -> Iterator[str]:
    first, *more = outcome.where
    yield f"{code}: {first}, delivered {outcome.delivered.total()}, undelivered {outcome.undelivered}"
    yield from (f"{code}: {line}" for line in more)
