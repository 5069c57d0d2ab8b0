"""The controller's end of the way of a result: books and inbox, then whatever place the results go to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from famacase_xdist import clock
from famacase_xdist.delivery.destination import Destination, Outcome
from famacase_xdist.errors import FamacaseError
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.redaction import Mask
from famacase_xdist.settings.settings import Settings

from .events import Event, Received, Recorded, size_of
from .inbox import Inbox
from .ledger import Ledger


class Intake:
    """Takes events of any thread, keeps the books, and hands on what they make of them.

    Args:
        destination: Has been started.
        is_immediate: Whether `settle` puts what came before on disk; for a session of one process.
    """

    def __init__(self, settings: Settings, ledger: Ledger, destination: Destination, *, is_immediate: bool) -> None:
        self._settings = settings
        self._ledger = ledger
        self._destination = destination
        self._mask = Mask(destination.secret, *settings.secrets)
        self._problems: list[str] = []
        self._lost = 0
        self._inbox: Inbox[Event] = Inbox(self._store, destination.sync, size_of, is_immediate=is_immediate)
        self.header = destination.header
        self.put = self._inbox.put
        self.settle = self._inbox.settle

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Hand on what is left, and let the destination finish.

        Waits at most `timeout` seconds for others, and a second or two for our own threads.

        Args:
            timeout: In seconds.
            is_finished: Whether pytest came to its end; a session that left tests undone has not finished all the same.
        """
        deadline = clock.monotonic() + timeout
        self._inbox.seal()
        self._keep(self._ledger.close(report_not_run=self._settings.not_run))
        is_finished = is_finished and not self._ledger.not_run
        outcome = self._destination.finish(max(0.0, deadline - clock.monotonic()), is_finished=is_finished)
        notes = tuple(map(self._mask.text, self._ledger.notes))
        return dataclasses.replace(
            outcome,
            undelivered=outcome.undelivered + self._lost,
            problems=(*dict.fromkeys(self._problems), *outcome.problems),
            notes=notes,
        )

    def _store(self, events: Sequence[Event]) -> None:
        """Enter events into the books and keep what comes of them; one thread at a time."""
        frames: list[AnyFrame] = []
        for event in events:
            try:
                frames += self._ledger.enter(event)
            except Exception as error:
                # A mistake of ours must end neither the inbox's thread nor a test, and cost no other event.
                self._problems.append(f"internal error: {error!r}")
                self._lost += isinstance(event, Received | Recorded)
        if frames:
            self._keep(frames)

    def _keep(self, frames: Sequence[AnyFrame]) -> None:
        try:
            self._destination.keep([each for frame in frames for each in self._mask.clean(frame)])
        except FamacaseError as error:
            self._lost_all(frames, f"results were lost: {error}")
        except Exception as error:
            self._lost_all(frames, f"internal error: {error!r}")

    def _lost_all(self, frames: Sequence[AnyFrame], problem: str) -> None:
        self._problems.append(problem)
        self._lost += sum(map(is_result, frames))
