"""The destination that is a project on a server: outbox, sender and run of a session, with one deadline at its end."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from famacase_xdist import clock
from famacase_xdist.client.server import Server, connect
from famacase_xdist.errors import FamacaseError, OutboxError
from famacase_xdist.results.body import with_ids
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.runs.record import Ending
from famacase_xdist.runs.run import Home, Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import OutboxFiles, StateDirectory
from famacase_xdist.state.outbox import Outbox

from . import fallback, wording
from .destination import Outcome, Say
from .file_report import FileReport
from .sender import Sender

#: Most seconds that the start of a session waits for the server, so that the header can name the run.
START_PATIENCE = 5.0
#: Seconds of these without a word; after them, a line tells which process has the run key's lock.
WAIT_IN_SILENCE = 2.0
#: Seconds that a session without time left still takes to leave its run.
LAST_WORD = 1.0
#: Seconds to wait for a process that looks into an outbox.
LOOK_PATIENCE = 5.0


class ProjectDestination:
    """Delivers results to a project.

    Args:
        settings: The settings of the session.
        server: The server.

    Attributes:
        secret: The token.
        run: The run of this session.
    """

    def __init__(self, settings: Settings, server: Server) -> None:
        self.secret = server.token
        self._settings = settings
        self._server = server
        self._directory = Path.cwd()
        # Made now, because a report tells when its session began.
        self._fallback = FileReport(settings, self._directory) if settings.fallback == "report" else None
        files = StateDirectory.of(settings).new_outbox()
        self.run = Run.from_settings(settings, Home(files, server.scope(settings.project)))
        self._api = connect(server, settings.project, settings.timeout)
        self._outbox, self._outbox_problem = _open_outbox(files)
        self._outbox.remember(
            host=server.host,
            project=settings.project,
            database=str(server.database) if server.database else None,
            pid=os.getpid(),
            **self.run.facts(),
        )
        self._sender = Sender(self._api, self._outbox, self.run, settings)

    @property
    def is_on_disk(self) -> bool:
        """Whether undelivered results outlive the session."""
        return self._outbox.path is not None and not self._outbox.trouble

    def header(self) -> list[str]:
        """Return the line that names project and run."""
        return [wording.header_line(self._settings.project, self.run, is_on_disk=self.is_on_disk)]

    def start(self, say: Say) -> None:
        """Start the sender, which opens the run, and wait for the first try; at most `START_PATIENCE` seconds.

        Args:
            say: Shows a line that names the process with the run key's lock, if that process has it for long.
        """
        self.begin()
        self.wait(say, clock.monotonic() + START_PATIENCE)

    def begin(self) -> None:
        """Start the sender, which opens the run. Returns at once."""
        self._sender.start()

    def wait(self, say: Say, deadline: float) -> None:
        """Wait for the first try to open the run.

        Args:
            say: As in `start`.
            deadline: When to give up, on our monotonic clock.
        """
        silent_until = deadline - START_PATIENCE + WAIT_IN_SILENCE
        if not self.run.settled.wait(max(0.0, silent_until - clock.monotonic())) and (holder := self.run.waits_for):
            say(f"waiting for the run key's lock: {holder}")
        self.run.settled.wait(max(0.0, deadline - clock.monotonic()))

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Deliver what is left, leave the run, which the last session completes, and close everything.

        Args:
            timeout: Most seconds to wait for the server and for other sessions. Our own threads get a second or two
                more.
            is_finished: Whether all tests ran that were to run.
        """
        ending = Ending.of(is_finished=is_finished)
        self.request_stop(is_finished=is_finished)
        self._sender.shutdown(timeout, ending)
        undelivered = self._outbox.undelivered()
        if undelivered and self.run.is_owed:
            # The sender's thread had no time to leave the run. Undelivered results keep a run open, so leaving it here
            # makes no request.
            with contextlib.suppress(FamacaseError):
                self.run.leave(self._api, undelivered=undelivered, ending=ending, patience=LAST_WORD)
        return self._close(undelivered)

    def request_stop(self, *, is_finished: bool) -> None:
        """Let the sender deliver what is left and leave the run. Returns at once.

        Args:
            is_finished: Whether all tests ran that were to run.
        """
        self._outbox.remember(is_finished=is_finished)
        self._sender.request_stop(Ending.of(is_finished=is_finished))

    def _close(self, undelivered: int) -> Outcome:
        """Close everything, and return what became of the results."""
        causes = Counter(f"{words} [{nodeid}]" for nodeid, words in self._outbox.refused())
        waiting = undelivered - causes.total()
        if waiting:
            causes[self._sender.trouble or wording.NO_TIME] += waiting
        problems = tuple(self._problems(is_waiting=bool(waiting)))
        where = tuple(self._where(undelivered))
        is_done = self.run.is_open and not undelivered and not self.run.is_owed
        self._api.close()
        self._outbox.close(delete=is_done)
        # Read after closing, which moves the last results to the database and may lose some, or the database itself.
        lost = self._outbox.lost
        causes.update(lost)
        kept = None if is_done or self._outbox.trouble else self._outbox.path
        return Outcome(
            # A copy, because the answer to a request that is under way may still change the sender's.
            delivered=Counter(self._sender.delivered),
            undelivered=undelivered + lost.total(),
            causes=causes,
            problems=problems,
            outboxes=(kept,) if kept is not None else (),
            where=where,
        )

    def _problems(self, *, is_waiting: bool) -> Iterator[str]:
        """Yield lines about other failures than undelivered results.

        Args:
            is_waiting: Whether results wait. Then the sender's trouble is the cause of that, and not told again.
        """
        if self._outbox_problem:
            yield f"results were kept in memory only: {self._outbox_problem}"
        if not is_waiting:
            yield from self._unfinished()
        if self._outbox.trouble:
            yield f"results were kept in memory only: {self._outbox.trouble}"
        yield from self.run.notes

    def _unfinished(self) -> Iterator[str]:
        """Yield why the sender has not finished, if it has not."""
        if self._sender.trouble:
            yield self._sender.trouble
        elif not self._sender.is_idle:
            missing = "the run could not be completed" if self.run.is_owed else "the run has no public link"
            reason = f"waiting for {holder}" if (holder := self.run.waits_for) else wording.NO_TIME
            yield f"{missing}: {reason}"

    def _where(self, undelivered: int) -> Iterator[str]:
        """Yield the lines that tell where the results can be seen."""
        yield from wording.run_lines(self.run)
        if self._fallback is not None and undelivered and not self.run.is_open:
            yield from fallback.write(self._fallback, self._outbox)
        if self._server.database is not None and self.run.is_open:
            yield wording.embedded_hint(self.run, self._server.database, self._directory)

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Put frames into the outbox, and announce the results to the sender."""
        self._outbox.put([self._own(frame) for frame in frames])
        self._sender.notify(sum(map(is_result, frames)))

    def sync(self) -> None:
        """Make what the outbox accepted survive a power failure."""
        self._outbox.sync()

    def _own(self, frame: AnyFrame) -> AnyFrame:
        """Return a frame as this project keeps it: a result with the ids of @qase.project_id for this project."""
        if not is_result(frame):
            return frame
        ids = frame.head.projects.get(self._settings.project)
        return with_ids(frame, ids) if ids else frame


def _open_outbox(files: OutboxFiles) -> tuple[Outbox, str]:
    """Open this session's outbox.

    Returns:
        The outbox, and why it is in memory; that is empty if the outbox is a file.
    """
    try:
        # A session that starts at the same moment may look into the new file.
        return Outbox(files, patience=LOOK_PATIENCE), ""
    except OutboxError as error:
        return Outbox(None), str(error)
