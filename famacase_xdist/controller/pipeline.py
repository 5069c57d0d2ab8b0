"""The controller's part of the way of a result: inbox, ledger and mask, then the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from famacase_xdist.courier.parent import Courier
from famacase_xdist.errors import FamacaseError
from famacase_xdist.results.frames import AnyFrame, is_result
from famacase_xdist.results.redaction import Mask
from famacase_xdist.settings.settings import Settings

from .events import Event, Received, Recorded, size_of
from .inbox import ImmediateInbox, QueuedInbox
from .keeping import Journals
from .ledger import Ledger


class Pipeline:
    """Takes events of any thread, enters them into the ledger, and keeps the frames that it makes of them.

    Args:
        settings: Of the session.
        ledger: Turns events into frames.
        journals: Keep the frames.
        courier: Takes the frames that no disk takes.
        is_distributed: Whether the events come from the receiver threads of xdist's workers.

    Attributes:
        problems: Lines about what went wrong here.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, journals: Journals, courier: Courier, *, is_distributed: bool
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._journals = journals
        self._courier = courier
        self._mask = Mask(*settings.secrets)
        self.problems: list[str] = []
        self._unkept: list[AnyFrame] = []
        self._lost = 0
        self._inbox = QueuedInbox(self._store, size_of) if is_distributed else ImmediateInbox(self._store)

    @property
    def lost(self) -> int:
        """How many results were lost."""
        return self._lost + self._journals.lost

    def put(self, event: Event) -> None:
        """Take one event; any thread. In a session of one process, a result is on disk when this returns."""
        self._inbox.put(event)
        if isinstance(event, Recorded) and is_result(event.frame):
            self._inbox.settle()

    def settle(self) -> None:
        """Put on disk what came until now, and see whether the courier lives."""
        self._inbox.settle()
        self._courier.look()

    def seal(self) -> Mapping[str, Counter[str]]:
        """Put the rest on disk, and take no more. Return how many results were accepted."""
        self._inbox.seal()
        try:
            self._keep(self._ledger.close(report_not_run=self._settings.not_run))
        except Exception as error:
            # A mistake of ours must not become the suite's.
            self.problems.append(f"internal error: {error!r}")
        return self._journals.accepted

    def notes(self) -> tuple[str, ...]:
        """Return lines about marks of the tests that have no effect, without secrets."""
        return tuple(map(self._mask.text, self._ledger.notes))

    def _store(self, events: Iterable[Event]) -> None:
        """Enter events into the ledger and keep the frames that it makes of them; one thread at a time."""
        for event in events:
            try:
                self._unkept += self._ledger.enter(event)
            except Exception as error:
                # A mistake of ours must end neither the inbox's thread nor a test, and cost no other event.
                self.problems.append(f"internal error: {error!r}")
                self._lost += isinstance(event, Received | Recorded)
        self._keep(())

    def _keep(self, frames: Iterable[AnyFrame]) -> None:
        """Keep frames, and before them those of a call that a timeout or Ctrl-C has broken off: twice counts once."""
        self._unkept += frames
        if not self._unkept:
            return
        try:
            self._journals.keep([each for frame in self._unkept for each in self._mask.clean(frame)], self._courier)
        except FamacaseError as error:
            self.problems.append(f"results were lost: {error}")
        except Exception as error:
            self.problems.append(f"internal error: {error!r}")
            self._lost += sum(map(is_result, self._unkept))
        self._unkept.clear()
