"""The controller's part of the way of a result: inbox, ledger and mask, then the destination."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from famacase_xdist import clock
from famacase_xdist.delivery.destination import Destination, Outcome
from famacase_xdist.errors import FamacaseError
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.redaction import Mask
from famacase_xdist.settings.settings import Settings

from .events import Event, Received, Recorded, size_of
from .inbox import ImmediateInbox, QueuedInbox
from .ledger import Ledger


class AnyPipeline(Protocol):
    """What the hooks ask of a pipeline."""

    def header(self) -> list[str]:
        """Return the lines of the session's header."""

    def put(self, event: Event) -> None:
        """Take one event; any thread."""

    def settle(self) -> None:
        """Put on disk what came until now."""

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """End, and return what became of the results."""


class NullPipeline:
    """The pipeline of a session that reports nothing.

    Args:
        reason: Why nothing is reported.
    """

    def __init__(self, reason: str = "") -> None:
        self._reason = reason

    def header(self) -> list[str]:
        """Return why nothing is reported."""
        return [f"famacase: nothing is reported: {self._reason}"]

    def put(self, event: Event) -> None:
        """Drop an event."""

    def settle(self) -> None:
        """Do nothing."""

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Return that nothing was reported, and why."""
        return Outcome.nothing(self._reason)


class Pipeline:
    """Takes events of any thread, enters them into the ledger, and hands the frames to the destination.

    Args:
        settings: Of the session.
        ledger: Turns events into frames.
        destination: Has been started.
        inbox: `ImmediateInbox` for a session of one process, whose `settle` puts on disk what came before.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        destination: Destination,
        inbox: type[ImmediateInbox[Event]] | type[QueuedInbox[Event]],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._destination = destination
        self._mask = Mask(destination.secret, *settings.secrets)
        self._problems: list[str] = []
        self._lost = 0
        self._inbox = inbox(self._store, destination.sync, size_of)

    def header(self) -> list[str]:
        """Return the destination's lines of the session's header."""
        return self._destination.header()

    def put(self, event: Event) -> None:
        """Take one event; any thread."""
        self._inbox.put(event)

    def settle(self) -> None:
        """Enter all that came until now into the ledger, on the calling thread; the results are then on disk."""
        self._inbox.settle()

    def finish(self, timeout: float, *, is_finished: bool) -> Outcome:
        """Hand on what is left, and let the destination finish.

        Waits at most `timeout` seconds for others, and a second or two for our own threads.

        Args:
            timeout: In seconds.
            is_finished: Whether pytest came to its end; a session that left tests undone is not finished either.
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
        """Enter events into the ledger and keep the frames that it makes of them; one thread at a time."""
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
            self._lose(frames, f"results were lost: {error}")
        except Exception as error:
            self._lose(frames, f"internal error: {error!r}")

    def _lose(self, frames: Sequence[AnyFrame], problem: str) -> None:
        self._problems.append(problem)
        self._lost += sum(map(is_result, frames))
