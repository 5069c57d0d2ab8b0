"""Results on their way to a server: outbox, sender and run of one session, taken apart under one deadline."""

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

#: Seconds that the start of a session waits for the server at most, so that the header can name the run.
START_PATIENCE = 5.0
#: Seconds of these that pass before it is said which other session we wait for.
WAIT_IN_SILENCE = 2.0
#: Seconds that a session which is out of time still has to tell the others of its run.
LAST_WORD = 1.0
#: Seconds for another process to have a look into an outbox.
LOOK_PATIENCE = 5.0


class ProjectDestination:
    """The destination that is a project on a server."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self.secret = server.token
        self._settings = settings
        self._server = server
        self._directory = Path.cwd()
        # Now, because a report says when its session began.
        self._fallback = FileReport(settings, self._directory) if settings.fallback == "report" else None
        files = StateDirectory.of(settings).new_outbox()
        self.run = Run.from_settings(settings, Home(files, server.scope(settings.project)))
        self._api = connect(server, settings.project, settings.timeout)
        self._outbox, self._problems = _open_outbox(files)
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
        """Whether what is not delivered outlives the session."""
        return self._outbox.path is not None and not self._outbox.trouble

    def header(self) -> list[str]:
        """Name project and run."""
        return [wording.header_line(self._settings.project, self.run, is_on_disk=self.is_on_disk)]

    def start(self, say: Say) -> None:
        """Open the run; returns when it is open, or was tried once, or after `START_PATIENCE`.

        Args:
            say: Told whom it waits for, where another session has a run key's lock for long.
        """
        self.begin()
        self.wait(say, clock.monotonic() + START_PATIENCE)

    def begin(self) -> None:
        """Let the sender open the run; returns at once."""
        self._sender.start()

    def wait(self, say: Say, deadline: float) -> None:
        """Wait for the run, at most until `deadline` of the monotonic clock; see `start`."""
        silent_until = deadline - START_PATIENCE + WAIT_IN_SILENCE
        if not self.run.settled.wait(max(0.0, silent_until - clock.monotonic())) and (holder := self.run.waits_for):
            say(f"waiting for the run key's lock: {holder}")
        self.run.settled.wait(max(0.0, deadline - clock.monotonic()))

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Deliver what is left, leave the run, which the last session completes, and close everything.

        Waits at most `timeout` seconds for the server and for other sessions, and a second or two for our own threads.

        Args:
            timeout: In seconds.
            is_finished: Whether all tests ran that were to run.
        """
        ending = Ending.FINISHED if is_finished else Ending.INTERRUPTED
        self.request_stop(is_finished=is_finished)
        self._sender.shutdown(timeout, ending)
        undelivered = self._outbox.undelivered()
        if undelivered and self.run.is_owed:
            # Our own thread had no time for it. What stays behind keeps the run open, so no request is made here.
            with contextlib.suppress(FamacaseError):
                self.run.leave(self._api, undelivered=undelivered, ending=ending, patience=LAST_WORD)
        return self._close(undelivered)

    def request_stop(self, *, is_finished: bool) -> None:
        """Let the sender deliver what is left and leave the run; returns at once."""
        self._outbox.remember(is_finished=is_finished)
        self._sender.request_stop(Ending.FINISHED if is_finished else Ending.INTERRUPTED)

    def _close(self, undelivered: int) -> Outcome:
        causes = Counter(f"{words} [{nodeid}]" for nodeid, words in self._outbox.refused())
        waiting = undelivered - sum(causes.values())
        if waiting:
            causes[self._sender.trouble or "there was no time left"] += waiting
        elif self._sender.trouble or not self._sender.is_idle:
            unfinished = "the run could not be completed" if self.run.is_owed else "the run has no public link"
            reason = f"waiting for {holder}" if (holder := self.run.waits_for) else "there was no time left"
            self._problems.append(self._sender.trouble or f"{unfinished}: {reason}")
        if self._outbox.trouble:
            self._problems.append(f"results were kept in memory only: {self._outbox.trouble}")
        self._problems += self.run.notes
        where = tuple(self._where(undelivered))
        is_done = self.run.is_open and not undelivered and not self.run.is_owed
        self._api.close()
        self._outbox.close(delete=is_done)
        causes.update(self._outbox.lost)
        kept = [] if is_done or self._outbox.trouble else [self._outbox.path]
        return Outcome(
            # A request that is on its way may be answered after the wording.
            Counter(self._sender.delivered),
            undelivered + self._outbox.lost.total(),
            causes,
            tuple(self._problems),
            tuple(filter(None, kept)),
            where,
        )

    def _where(self, undelivered: int) -> Iterator[str]:
        yield from wording.run_lines(self.run)
        if self._fallback is not None and undelivered and not self.run.is_open:
            yield from fallback.write(self._fallback, self._outbox)
        if self._server.database is not None and self.run.is_open:
            yield wording.embedded_hint(self.run, self._server.database, self._directory)

    def keep(self, frames: Sequence[AnyFrame]) -> None:
        """Put frames into the outbox, and let the sender know."""
        self._outbox.put([self._own(frame) for frame in frames])
        self._sender.notify(sum(map(is_result, frames)))

    def sync(self) -> None:
        """Make what was kept survive a power failure."""
        self._outbox.sync()

    def _own(self, frame: AnyFrame) -> AnyFrame:
        """Return a frame, a result with the ids that @qase.project_id has for this project."""
        if not is_result(frame):
            return frame
        ids = frame.head.projects.get(self._settings.project)
        return with_ids(frame, ids) if ids else frame


def _open_outbox(files: OutboxFiles) -> tuple[Outbox, list[str]]:
    """Open this session's outbox; in memory, with the reason, where no file can be made."""
    try:
        # A session that starts at the same moment may look into the new file.
        return Outbox(files, patience=LOOK_PATIENCE), []
    except OutboxError as error:
        return Outbox(None), [f"results were kept in memory only: {error}"]
