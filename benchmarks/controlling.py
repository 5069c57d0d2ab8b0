"""The controller of a session without pytest: books, inbox, journals, and the courier in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from frames import resident

from famacase_xdist.controller.keeping import Journals
from famacase_xdist.controller.ledger import Ledger
from famacase_xdist.controller.pipeline import Pipeline
from famacase_xdist.controller.routing import routes
from famacase_xdist.courier.messages import Finish, Order
from famacase_xdist.courier.parent import Courier
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.results.outcome import Outcome
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import StateDirectory


class _SlowJournals(Journals):
    """Journals on a slow disk."""

    seconds = 0.0

    def keep(self, frames: Sequence[AnyFrame], courier: Courier) -> None:
        """Keep frames, after a while."""
        time.sleep(self.seconds)
        super().keep(frames, courier)


class Controlling:
    """A session that has begun; `pipeline` takes its events.

    Args:
        settings: Of the session; they name a state directory.
        is_distributed: Whether the events come from the receiver threads of workers.
        slow: Seconds that the disk takes longer for each batch.
    """

    def __init__(self, settings: Settings, *, is_distributed: bool, slow: float = 0.0) -> None:
        self._journals = _SlowJournals(StateDirectory.of(settings), routes(settings))
        self._journals.seconds = slow
        state = self._journals.state.path
        order = Order(settings, state, self._journals.kept, Path.cwd(), Path.cwd(), os.getpid())
        self._courier = Courier(order, print)
        self._courier.start()
        self._courier.opened()
        self.pipeline = Pipeline(settings, Ledger(), self._journals, self._courier, is_distributed=is_distributed)

    def couriers_memory(self) -> float:
        """Return the courier's memory in MB."""
        assert self._courier._process is not None
        return resident(self._courier._process.pid)

    def finish(self, timeout: float) -> Outcome:
        """End the session, and return what became of the results."""
        finish = Finish(timeout, is_finished=True, accepted=self.pipeline.seal())
        self._courier.finish(finish)
        finished = self._courier.outcome(finish, lambda left: None)
        self._courier.close()
        self._journals.close()
        return finished.outcome
