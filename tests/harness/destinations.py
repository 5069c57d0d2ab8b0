"""The destination of a session whose tests run in no process: the journal is the test's, and so is the courier."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from famacase_xdist.client.server import Server
from famacase_xdist.delivery.project import ProjectDestination
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.runs.run import Home
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox

from .server import TOKEN

DEADLINE = 10.0
PID = 4711


class Session:
    """A session that reports to one project, with a courier that may be replaced by another one.

    Args:
        url: The server's address.
        state: The state directory.
        settings: Of the session.

    Attributes:
        journal: The writing end of the outbox.
        outbox: The reading end.
        destination: Where the present courier brings the results.
        accepted: The results that were kept, by status.
    """

    def __init__(self, url: str, state: Path, **settings: Any) -> None:
        self.settings = Settings(
            **{"mode": "testops", "testops_project": "DEMO", "state_dir": state, "retry_attempts": 1, **settings}
        )
        self.server = Server(url, TOKEN)
        self.journal = Journal(StateDirectory(state).new_outbox())
        self.accepted: Counter[str] = Counter()
        self.outbox = Outbox(self.journal.files, beside_writer=True)
        self.destination = self._destination()

    def _destination(self) -> ProjectDestination:
        home = Home(self.journal.files, self.server.scope("DEMO"), PID)
        return ProjectDestination(self.settings, self.server, self.outbox, home, self.journal.files.path.parent)

    def replace_courier(self) -> None:
        """Let the courier end without a word, and another one take its place."""
        self.destination._sender.abandon()
        self.destination.join(DEADLINE)
        if (shared := self.destination._run.shared) is not None:
            # As the system does at the end of a process.
            shared._leases[shared.member.id]._lock.release()
        self.outbox.close()
        self.outbox = Outbox(self.journal.files, beside_writer=True)
        self.destination = self._destination()
        self.destination.start(print)

    def keep(self, *frames: AnyFrame) -> None:
        """Accept frames, which the courier finds in the journal."""
        self.journal.append(frames)
        self._count(frames)
        self.destination.follow()

    def keep_in_memory(self, *frames: AnyFrame) -> None:
        """Accept frames, which the courier gets over the line."""
        self._count(frames)
        self.destination.accept("DEMO", frames, "no disk")

    def _count(self, frames: tuple[AnyFrame, ...]) -> None:
        self.accepted.update(frame.head.status for frame in frames if is_result(frame))

    def deliver(self) -> None:
        """Let the courier deliver what was accepted, while the session goes on."""
        self.destination._sender._schedule._max_age = 0.0
        self.destination._sender.notify(1)

    def finish(self, timeout: float = DEADLINE, *, is_finished: bool = True) -> Outcome:
        """End the session, and return what became of the results."""
        self.destination.follow()
        self.destination.request_stop({"DEMO": self.accepted}, is_finished=is_finished)
        self.destination.join(timeout)
        outcome = self.destination.close()
        self.destination.release()
        self.journal.close()
        return outcome

    def die(self, timeout: float = DEADLINE) -> Outcome:
        """End the session as the courier does after the death of its parent."""
        self.journal.close()
        self.destination.follow()
        self.destination.bury()
        self.destination.join(timeout)
        outcome = self.destination.close()
        self.destination.release()
        return outcome
