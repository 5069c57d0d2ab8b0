"""The destination that is several projects on one server: a delivery for each, with its own run and its own outbox.

Each project's results are as durable as they would be alone, and one that is refused stops no other. Who dies between
two outboxes has the test still running in the second one: `resend` says there that it did not end.
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

#: Test case ids by project; None for those that a result has already.
Targets = Mapping[str, Sequence[int] | None]


class ProjectsDestination:
    """Delivers each result to the projects that it belongs to."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self.secret = server.token
        projects = settings.of_each_project()
        self._default = settings.testops_multi.default if settings.testops_multi else ""
        self._deliveries = {code: ProjectDestination(own, server) for code, own in projects.items()}
        self._running: dict[str, set[str]] = {}
        self._unknown: Counter[str] = Counter()
        self._outcomes: dict[str, Outcome] = {}

    def start(self, say: Say) -> None:
        """Open all runs side by side; see `ProjectDestination.start`."""
        deadline = clock.monotonic() + START_PATIENCE
        for delivery in self._deliveries.values():
            delivery.begin()
        for delivery in self._deliveries.values():
            delivery.wait(say, deadline)

    def header(self) -> list[str]:
        """Name each project and its run."""
        return [line for delivery in self._deliveries.values() for line in delivery.header()]

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Put frames into the outboxes of the projects that they are for.

        Raises:
            OutboxError: One of them could not take its frames; the others have theirs.
        """
        batches: dict[str, list[AnyFrame]] = {}
        for frame in frames:
            for code, own in self._routed(frame):
                batches.setdefault(code, []).append(own)
        errors = []
        for code, batch in batches.items():
            try:
                self._deliveries[code].keep(batch)
            except FamacaseError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def sync(self) -> None:
        """Make all outboxes survive a power failure."""
        for delivery in self._deliveries.values():
            delivery.sync()

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Finish all deliveries under one deadline."""
        deadline = clock.monotonic() + timeout
        left = {code: each for code, each in self._deliveries.items() if code not in self._outcomes}
        for delivery in left.values():
            delivery.request_stop(is_finished=is_finished)
        for code, delivery in left.items():
            seconds = max(0.0, deadline - clock.monotonic())
            self._outcomes[code] = delivery.finish(seconds, is_finished=is_finished)
        return self._outcome()

    def _outcome(self) -> Outcome:
        each = self._outcomes.items()
        causes = Counter({f"{reason} ({code})": n for code, out in each for reason, n in out.causes.items()})
        unknown = (
            f"{count} results name project {code}, which is not in testops_multi"
            for code, count in self._unknown.items()
        )
        return Outcome(
            sum((out.delivered for _, out in each), Counter()),
            sum(out.undelivered for _, out in each),
            causes,
            (*(f"project {code}: {problem}" for code, out in each for problem in out.problems), *unknown),
            tuple(path for _, out in each for path in out.outboxes),
            tuple(line for code, out in each for line in _where(code, out)),
        )

    def _routed(self, frame: AnyFrame) -> Iterator[tuple[str, AnyFrame]]:
        """Give, by project, what to keep of one frame."""
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
            # Ahead of the results that will say whose it is.
            yield from ((code, frame) for code in self._deliveries)

    def _began(self, head: BegunHead, body: bytes) -> Iterator[tuple[str, AnyFrame]]:
        if not body:
            # pytest's news may come after the recorder's, which knows more.
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
        """Let the projects that a test turns out not to be of forget that it runs."""
        for code in self._running.pop(nodeid, set()) - targets:
            yield code, Frame(IgnoredHead(nodeid))

    def _targets(self, projects: Mapping[str, Sequence[int]], *, is_counted: bool) -> Targets:
        """Give the projects that a test goes to; one that nobody has set up leaves it to the default one."""
        known = {code: ids for code, ids in projects.items() if code in self._deliveries}
        if is_counted:
            self._unknown.update(projects.keys() - known.keys())
        return known or {self._default: [] if projects else None}


def _where(code: str, outcome: Outcome) -> Iterator[str]:
    first, *more = outcome.where
    yield f"{code}: {first}, delivered {outcome.delivered.total()}, undelivered {outcome.undelivered}"
    yield from (f"{code}: {line}" for line in more)
