"""Deliver what earlier sessions left in their outboxes. A session that still lives has its outbox locked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from famacase_xdist.client.server import Server, connect
from famacase_xdist.errors import FamacaseError, OutboxError, SettingsError
from famacase_xdist.results import synthetic
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.results.status import INVALID
from famacase_xdist.runs.record import Ending
from famacase_xdist.runs.run import Home, Run
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.facts import SessionFacts
from famacase_xdist.state.file_system import is_lease
from famacase_xdist.state.outbox import Outbox

from .embedded import serving
from .sender import Sender
from .wording import resend_command

#: Seconds, a little more than a lease holds without being refreshed (`locks.LEASE_SECONDS`).
LEASE_PATIENCE = 35.0
DIED = "the process ended while this test was running"
#: Told how many of how many results have been delivered.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Leftover:
    """What one outbox holds.

    Attributes:
        results: Results that were not delivered, the tests that were running included.
        problem: Why it cannot be read; it may belong to a live session.
    """

    files: OutboxFiles
    host: str = ""
    project: str = ""
    run_id: RunId | None = None
    results: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.files.database.name


@dataclass(frozen=True, slots=True)
class Resent:
    """What became of one outbox."""

    leftover: Leftover
    delivered: int = 0
    left: int = 0
    run_url: str = ""
    completed: bool = False
    why_open: str = ""
    problem: str = ""


def leftovers(settings: Settings, patience: float = 0.0) -> list[Leftover]:
    """Look into all outboxes, the oldest first; wait `patience` seconds for each that somebody has open."""
    with contextlib.suppress(OSError):
        return [_look(files, patience) for files in StateDirectory.of(settings).all_outboxes()]
    return []


def patience_of(settings: Settings) -> float:
    """Give the seconds after which a lease that nobody refreshes is free; 0 where a lock is free at once."""
    return LEASE_PATIENCE if is_lease(StateDirectory.of(settings)) else 0.0


def leftover_line(settings: Settings) -> str:
    """Say in one line what earlier sessions left; empty where that is nothing."""
    found = [each for each in leftovers(settings) if each.results]
    if not found:
        return ""
    count = sum(each.results for each in found)
    return (
        f"famacase: {count} results of {len(found)} earlier sessions were not delivered;"
        f" to send them: {resend_command(settings)}"
    )


def _look(files: OutboxFiles, patience: float) -> Leftover:
    try:
        outbox = Outbox(files, patience=patience)
    except OutboxError as error:
        return Leftover(files, problem=str(error))
    with contextlib.closing(outbox):
        try:
            facts = outbox.session()
            return Leftover(files, facts.get("host", ""), facts.get("project", ""), facts.get("run_id"), outbox.left())
        except (OutboxError, ValueError) as error:
            return Leftover(files, problem=f"damaged: {error}")


def send(leftover: Leftover, settings: Settings, progress: Progress) -> Resent:
    """Deliver one outbox, complete its run if that is all that is missing, and delete it when it is empty.

    What the server refused before is tried once more. A second call finds nothing.
    """
    if leftover.problem:
        return Resent(leftover, problem=leftover.problem)
    try:
        outbox = Outbox(leftover.files)
    except OutboxError as error:
        return Resent(leftover, left=leftover.results, problem=str(error))
    is_empty = False
    try:
        facts = outbox.session()
        if not facts:
            is_empty = not outbox.undelivered()
            return Resent(leftover)
        with _server(facts, settings) as server:
            resent = _Resend(leftover, outbox, facts, server, settings).run(progress)
        is_empty = not resent.left and not resent.problem
        return resent
    except FamacaseError as error:
        return Resent(leftover, left=leftover.results, problem=str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Resent(leftover, left=leftover.results, problem=f"damaged: {error!r}")
    finally:
        outbox.close(delete=is_empty)


@contextmanager
def _server(facts: SessionFacts, settings: Settings) -> Iterator[Server]:
    """Give the server of an outbox; an embedded one is started for its database."""
    if facts["database"] is None:
        if settings.host and settings.host != facts["host"]:
            raise SettingsError(
                f"it belongs to {facts['host']}, and {settings.sources.get('api_url', 'the host')} says otherwise"
            )
        if not settings.token:
            raise SettingsError("FAMACASE_TESTOPS_API_TOKEN is not set")
        yield Server(facts["host"], settings.token)
        return
    with serving(Path(facts["database"]), facts["project"]) as server:
        yield server


class _Resend:
    """Delivers one open outbox."""

    def __init__(
        self, leftover: Leftover, outbox: Outbox, facts: SessionFacts, server: Server, settings: Settings
    ) -> None:
        self._leftover = leftover
        self._outbox = outbox
        self._facts = facts
        self._settings = settings
        self._api = connect(server, facts["project"], settings.timeout)
        home = Home(leftover.files, server.scope(facts["project"]))
        self._run = Run.from_facts(facts, home, settings.lock_timeout)
        self._sender = Sender(self._api, outbox, self._run, settings)

    def run(self, progress: Progress) -> Resent:
        """Deliver all that is there."""
        self._outbox.put([self._died(nodeid, body) for nodeid, body in self._outbox.running()])
        self._outbox.forgive()
        total = self._outbox.undelivered()
        self._sender.notify(total)
        self._sender.start()
        self._sender.request_stop(self._ending)
        while not self._sender.is_idle:
            progress(self._sent, total)
            self._sender.join(0.1)
        progress(self._sent, total)
        left = self._outbox.undelivered()
        problem = self._problem()
        self._api.close()
        return Resent(
            self._leftover,
            self._sent,
            left,
            self._api.run_url(self._run.opened) if self._run.is_open else "",
            self._run.completed,
            self._run.why_open,
            problem,
        )

    def _died(self, nodeid: str, described: bytes) -> AnyFrame:
        """Make the result of a test that its session ended with; the settings for results are for it too."""
        died = synthetic.result(nodeid, INVALID, DIED, described=described)
        frame = synthetic.settled(died, self._settings.status_mapping, self._settings.status_policy)
        if not described:
            frame = synthetic.rooted(frame, self._settings.root_suite)
        return synthetic.filtered(frame, self._settings.testops_status_filter)

    @property
    def _ending(self) -> Ending:
        is_finished = self._facts.get("is_finished")
        if is_finished is None:
            return Ending.DIED
        return Ending.FINISHED if is_finished else Ending.INTERRUPTED

    @property
    def _sent(self) -> int:
        return sum(self._sender.delivered.values())

    def _problem(self) -> str:
        refusals = self._outbox.refusals()
        return self._sender.trouble or "; ".join(refusals)
