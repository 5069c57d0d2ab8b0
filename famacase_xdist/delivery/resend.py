"""The delivery of what earlier sessions left in their outboxes. The outbox of a session that lives is locked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from famacase_xdist.client.server import Server
from famacase_xdist.errors import FamacaseError, OutboxError, SettingsError
from famacase_xdist.runs.run import Home
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings
from famacase_xdist.settings.shown import resend_command
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.facts import SessionFacts
from famacase_xdist.state.file_system import is_lease
from famacase_xdist.state.outbox import Outbox
from famacase_xdist.state.process_lock import ProcessLock

from .embedded import serving
from .project import ProjectDestination

#: Seconds to wait for the courier of a session that died; a little more than it takes at most.
COURIER_PATIENCE = 12.0
#: Seconds; a little more than a lease counts without a refresh (`locks.LEASE_SECONDS`).
LEASE_PATIENCE = 35.0
#: Seconds to wait for a process that looks into an outbox.
LOOK_PATIENCE = 0.5
_SESSION = re.compile(r"\d{8}T\d{6}-[\da-f]{12}")
#: Called with the number of results that are delivered, and the number of all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a session left in its outbox.

    Attributes:
        files: The outbox.
        host: The server's address.
        project: The code of the project.
        run_id: The id of the run; None if no run was open.
        results: How many results were not delivered, including those of tests that were running.
        problem: Why the outbox cannot be read; for example, a session that lives may have it. Empty if it can.
    """

    files: OutboxFiles
    host: str = ""
    project: str = ""
    run_id: RunId | None = None
    results: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.files.session


@dataclass(frozen=True, slots=True)
class Resent:
    """The outcome of the resend of one outbox.

    Attributes:
        leftover: What was in it.
        delivered: How many results were delivered.
        left: How many results are still in it.
        run_url: The address of the run's page; empty if no run is open.
        completed: Whether the run was completed.
        why_open: Why the run was not completed.
        problem: Why not everything was delivered; empty if there is no reason.
        is_gone: Whether another process has delivered it meanwhile.
    """

    leftover: Leftover
    delivered: int = 0
    left: int = 0
    run_url: str = ""
    completed: bool = False
    why_open: str = ""
    problem: str = ""
    is_gone: bool = False


def leftovers(settings: Settings, patience: float = 0.0) -> list[Leftover]:
    """Return what is in each outbox, the oldest first.

    Args:
        settings: The settings, which name the state directory.
        patience: Seconds to wait for the courier of each session that died. A session that lives is not waited for.

    Raises:
        OutboxError: The directory of the outboxes cannot be read.
    """
    state = StateDirectory.of(settings)
    try:
        found = state.all_outboxes()
    except OSError as error:
        raise OutboxError(f"{state.outboxes}: {error.strerror}") from None
    return list(filter(None, (_look(files, patience) for files in found)))


def patience_of(settings: Settings) -> float:
    """Return the seconds after which the outbox of a session that died is certainly free."""
    return LEASE_PATIENCE if is_lease(StateDirectory.of(settings)) else COURIER_PATIENCE


def leftover_line(settings: Settings) -> str:
    """Return a line that tells what earlier sessions left; empty if they left nothing."""
    found: list[Leftover] = []
    with contextlib.suppress(OutboxError):
        found = [each for each in leftovers(settings) if each.results]
    if not found:
        return ""
    count = sum(each.results for each in found)
    return (
        f"famacase: {count} results of {len(found)} earlier sessions were not delivered;"
        f" to send them: {resend_command(settings)}"
    )


def _look(files: OutboxFiles, patience: float) -> Leftover | None:
    """Return what is in an outbox; None if there is none: something else, or what was deleted meanwhile."""
    if not os.path.exists(files.writer):
        # A process that died while it deleted an outbox may leave its empty directory. Nobody makes one that is empty.
        if patience and _SESSION.fullmatch(files.session):
            with contextlib.suppress(OSError):
                files.path.rmdir()
        return None
    try:
        outbox = _opened(files, patience)
    except OutboxError as error:
        return Leftover(files, problem=str(error)) if files.path.is_dir() else None
    with contextlib.closing(outbox):
        facts = outbox.session()
        return Leftover(files, facts.get("host", ""), facts.get("project", ""), facts.get("run_id"), outbox.left())


def _opened(files: OutboxFiles, patience: float) -> Outbox:
    """Open the outbox of a session that has ended.

    Args:
        files: The outbox.
        patience: As in `leftovers`.

    Raises:
        OutboxError: A session has it, or it cannot be read.
    """
    if not patience:
        return Outbox(files)
    # A process that only looks has this lock too, for a moment.
    session = ProcessLock(str(files.writer))
    session.acquire(LOOK_PATIENCE)
    session.release()
    return Outbox(files, patience=patience)


def send(leftover: Leftover, settings: Settings, progress: Progress) -> Resent:
    """Deliver one outbox, leave its run, which may complete it, and delete the outbox if it is empty.

    Results that the server refused before are tried once more.

    Args:
        leftover: The outbox.
        settings: The token, and how to deliver.
        progress: Called again and again while results are sent.
    """
    if leftover.problem:
        return Resent(leftover, problem=leftover.problem)
    try:
        outbox = _opened(leftover.files, LOOK_PATIENCE)
    except OutboxError as error:
        if not leftover.files.path.is_dir():
            return Resent(leftover, is_gone=True)
        return Resent(leftover, left=leftover.results, problem=str(error))
    try:
        facts = outbox.session()
        if not facts:
            return _unknown(leftover, outbox)
        with _server(facts, settings) as server:
            own = dataclasses.replace(settings, mode="testops", testops_project=facts["project"], fallback="off")
            home = Home(leftover.files, server.scope(facts["project"]), os.getpid())
            return _sent(leftover, ProjectDestination(own, server, outbox, home, Path.cwd()), outbox, progress)
    except FamacaseError as error:
        return Resent(leftover, left=leftover.results, problem=str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Resent(leftover, left=leftover.results, problem=f"damaged: {error!r}")
    finally:
        outbox.close()


def _unknown(leftover: Leftover, outbox: Outbox) -> Resent:
    """Return the outcome for an outbox whose session did not say where it reports; with results in it, it is kept."""
    left = outbox.left() + outbox.damage.total()
    damage = "; ".join(outbox.damage)
    outbox.close(delete=not left)
    return Resent(leftover, left=left, problem=damage or ("its session did not say where it reports" if left else ""))


def _sent(leftover: Leftover, destination: ProjectDestination, outbox: Outbox, progress: Progress) -> Resent:
    """Deliver all results of an outbox, and those of the tests that were running when its session died."""
    outbox.forgive()
    destination.bury()
    total = outbox.undelivered()
    destination.deliver()
    while not destination.is_idle:
        progress(destination.sent, total)
        destination.join(0.1)
    progress(destination.sent, total)
    url, completed, why_open, trouble = destination.summary
    damage = "; ".join(outbox.damage)
    outcome = destination.close()
    destination.release()
    return Resent(
        leftover,
        delivered=outcome.delivered.total(),
        left=outcome.undelivered,
        run_url=url,
        completed=completed,
        why_open=why_open,
        problem=trouble or damage,
    )


@contextmanager
def _server(facts: SessionFacts, settings: Settings) -> Iterator[Server]:
    """Yield the server of an outbox. An embedded server is started for its database."""
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
