"""The destination that is a project on a server: the outbox, the sender and the run of a session."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from famacase_xdist import clock
from famacase_xdist.client.server import Server, connect
from famacase_xdist.errors import FamacaseError
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.runs.record import Ending
from famacase_xdist.runs.run import Home, Run
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

from . import fallback, wording
from .destination import Say
from .died import results_of_running
from .file_report import FileReport
from .sender import Sender

#: Most seconds that the start of a session waits for the server, so that the header can name the run.
START_PATIENCE = 5.0
#: Seconds of these without a word; after them, a line tells which process has the run key's lock.
WAIT_IN_SILENCE = 2.0
#: Seconds that a session without time left still takes to leave its run.
LAST_WORD = 1.0


class ProjectDestination:
    """Delivers results to a project.

    Args:
        settings: The settings of the session.
        server: The server.
        outbox: The results, which may be those of a session that began before this process.
        home: The place of the session.
        directory: The directory that a person would enter the commands in which the end of the session names.
    """

    def __init__(self, settings: Settings, server: Server, outbox: Outbox, home: Home, directory: Path) -> None:
        self._settings = settings
        self._server = server
        self._directory = directory
        self._outbox = outbox
        # Made now, because a report tells when its session began.
        self._fallback = FileReport(settings, directory, outbox) if settings.fallback == "report" else None
        self._api = connect(server, settings.project, settings.timeout)
        self._facts = outbox.session()
        self._run = self._begun(home) if self._facts else Run.from_settings(settings, home)
        self._home = home
        #: Whether the session has an outbox on disk, and this process only one in memory.
        self._is_unread = outbox.path is None and home.outbox.path.is_dir()
        self._accepted: Counter[str] | None = None
        self._ending = Ending.INTERRUPTED
        #: Whether the outbox is not needed any more.
        self._is_done = False
        self._sender = Sender(self._api, outbox, self._run, settings)

    def _begun(self, home: Home) -> Run:
        """Return the run that the facts in the outbox tell of, because this process is not the session's first."""
        run = Run.from_facts(self._facts, home, self._settings.lock_timeout)
        if run.id is not None:
            run.url = self._api.run_url(run.id)
        return run

    @property
    def run(self) -> tuple[RunId, str] | None:
        """Id and address of the run; None before it is open."""
        return (self._run.id, self._run.url) if self._run.id is not None else None

    @property
    def is_idle(self) -> bool:
        """Whether the sender has ended."""
        return self._sender.is_idle

    @property
    def sent(self) -> int:
        """How many results were delivered."""
        return self._sender.delivered.total()

    def header(self) -> list[str]:
        """Return the line that names project and run."""
        is_on_disk = self._is_unread or not self._outbox.trouble
        return [wording.header_line(self._settings.project, self._run, is_on_disk=is_on_disk)]

    def start(self, say: Say) -> None:
        """Start the sender, which opens the run, and wait for the first try; at most `START_PATIENCE` seconds.

        Args:
            say: Shows a line that names the process with the run key's lock, if that process has it for long.
        """
        self.begin()
        self.wait(say, clock.monotonic() + START_PATIENCE)

    def begin(self) -> None:
        """Start the sender, which opens the run. Returns at once."""
        if self._run.shared is not None:
            # The session has to be in the run key's record with a lease of this process, also if an earlier one was.
            self._run.id = None
        self._outbox.remember(
            host=self._server.host,
            project=self._settings.project,
            database=str(self._server.database) if self._server.database else None,
            pid=self._home.pid,
            **self._run.facts(),
        )
        self.deliver()

    def deliver(self) -> None:
        """Start the sender for what is in the outbox. Returns at once."""
        self._sender.notify(self._outbox.undelivered())
        self._sender.start()

    def wait(self, say: Say, deadline: float) -> None:
        """Wait for the first try to open the run.

        Args:
            say: As in `start`.
            deadline: When to give up, on our monotonic clock.
        """
        silent_until = deadline - START_PATIENCE + WAIT_IN_SILENCE
        run = self._run
        if run.is_open:
            return
        if not run.settled.wait(max(0.0, silent_until - clock.monotonic())) and (holder := run.waits_for):
            say(f"waiting for the run key's lock: {holder}")
        run.settled.wait(max(0.0, deadline - clock.monotonic()))

    def join(self, timeout: float) -> None:
        """Wait until the sender has ended, at most `timeout` seconds."""
        self._sender.join(timeout)

    def follow(self) -> None:
        """Announce to the sender what was added to the journal."""
        self._sender.notify(self._outbox.follow())

    def accept(self, code: str, frames: Sequence[AnyFrame], reason: str) -> None:
        """Keep frames in memory, and announce them; see `Destination.accept`."""
        before = self._outbox.seen
        self._outbox.accept(frames, reason)
        self._sender.notify(self._outbox.seen - before)

    def sync(self) -> None:
        """Make what is in the outbox survive a power failure."""
        self._outbox.sync()

    def left(self) -> int:
        """Return how many results are still to be delivered."""
        return self._outbox.undelivered()

    def request_stop(self, accepted: Mapping[str, Counter[str]], *, is_finished: bool) -> None:
        """Let the sender deliver what is left and leave the run; see `Destination.request_stop`."""
        self._accepted = accepted[self._settings.project]
        self._outbox.remember(is_finished=is_finished)
        self._ending = Ending.of(is_finished=is_finished)
        self._sender.request_stop(self._ending, self._accepted.total())

    def bury(self) -> None:
        """Let the sender deliver what is left of a session that died, with the tests that were running."""
        frames = list(results_of_running(self._outbox, self._settings, self._settings.testops_status_filter))
        self._outbox.add(frames)
        self._sender.notify(sum(map(is_result, frames)))
        is_finished = self._outbox.session().get("is_finished")
        self._ending = Ending.DIED if is_finished is None else Ending.of(is_finished=is_finished)
        self._sender.request_stop(self._ending)

    def close(self) -> Outcome:
        """Deliver nothing more, and return what became of the results."""
        self._sender.abandon()
        delivered, left = self._sender.books()
        missing = self._sender.missing()
        if (left or missing) and self._run.is_owed:
            # The sender's thread had no time to leave the run. Undelivered results keep a run open, so leaving it here
            # makes no request.
            undelivered = left.total() + missing
            with contextlib.suppress(FamacaseError):
                self._run.leave(self._api, undelivered=undelivered, ending=self._ending, patience=LAST_WORD)
        return self._closed(delivered + self._delivered_before(delivered, left), left.total(), missing)

    def _delivered_before(self, delivered: Counter[str], left: Counter[str]) -> Counter[str]:
        """Return how many results an earlier process of this session delivered, by status.

        Args:
            delivered: How many this process delivered.
            left: How many are in the outbox.
        """
        if self._accepted is None:
            return Counter()
        most = self._outbox.seen - left.total() - delivered.total()
        # If results are missing, their statuses are not known, and there are more candidates than results.
        return Counter(itertools.islice((self._accepted - left - delivered).elements(), max(0, most)))

    def _closed(self, delivered: Counter[str], left: int, missing: int) -> Outcome:
        """Return what became of the results.

        Args:
            delivered: How many results were delivered, by status.
            left: How many are in the outbox.
            missing: How many are neither.
        """
        causes = Counter(f"{words} [{nodeid}]" for nodeid, words in self._outbox.refused())
        if waiting := left - causes.total():
            causes[self._why_waiting()] += waiting
        if missing:
            causes[wording.why_missing(self._outbox)] += missing
        problems = tuple(self._problems(is_waiting=bool(waiting)))
        undelivered = left + missing
        where = tuple(self._where(undelivered))
        self._is_done = self._run.is_open and not left and not self._run.is_owed
        self._api.close()
        path = self._home.outbox.path
        is_gone = self._is_done and self._outbox.path is not None and not self._outbox.damage
        return Outcome(
            delivered=delivered,
            undelivered=undelivered,
            causes=causes,
            problems=problems,
            outboxes=(path,) if undelivered and path.is_dir() and not is_gone else (),
            where=where,
        )

    def _why_waiting(self) -> str:
        """Return why results are in the outbox that nobody refused."""
        unread = "; ".join(self._outbox.damage) if self._sender.is_idle else ""
        return self._sender.reason or unread or wording.NO_TIME

    def release(self) -> None:
        """Close the outbox, and delete it if everything is delivered; see `Destination.release`."""
        self._outbox.close(delete=self._is_done)

    def _problems(self, *, is_waiting: bool) -> Iterator[str]:
        """Yield lines about other failures than undelivered results.

        Args:
            is_waiting: Whether results wait. Then the sender's trouble is the cause of that, and not told again.
        """
        if not is_waiting:
            yield from self._unfinished()
        if self._outbox.trouble:
            words = "the outbox could not be read" if self._is_unread else "results were kept in memory only"
            yield f"{words}: {self._outbox.trouble}"
        yield from self._run.notes

    def _unfinished(self) -> Iterator[str]:
        """Yield why the sender has not finished, if it has not."""
        if self._sender.trouble:
            yield self._sender.trouble
        elif not self._sender.is_idle:
            missing = "the run could not be completed" if self._run.is_owed else "the run has no public link"
            holder = self._run.waits_for
            yield f"{missing}: {f'waiting for {holder}' if holder else self._sender.reason or wording.NO_TIME}"

    def _where(self, undelivered: int) -> Iterator[str]:
        """Yield the lines that tell where the results can be seen."""
        yield from wording.run_lines(self._run)
        if self._fallback is not None and undelivered and not self._run.is_open:
            yield from fallback.write(self._fallback)
        if self._server.database is not None and self._run.is_open:
            yield wording.embedded_hint(self._run, self._server.database, self._directory)

    @property
    def summary(self) -> tuple[str, bool, str, str]:
        """The run's address, whether it is completed, why it is not, and the sender's trouble: what `resend` prints."""
        trouble = self._sender.trouble or "; ".join(self._outbox.refusals())
        return self._run.url, self._run.completed, self._run.why_open, trouble
