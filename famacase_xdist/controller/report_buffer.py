"""pytest's reports of a test's phases, gathered until the last one, so that the ledger hears of them in one event."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .events import Event, Reported


class ReportBuffer:
    """Gathers the reports of the test that each worker runs.

    Args:
        enter: Takes the reports of a test, in their order.
    """

    def __init__(self, enter: Callable[[Event], None]) -> None:
        self._enter = enter
        self._of: dict[str, Reported] = {}

    def add(self, worker: str, report: pytest.TestReport) -> None:
        """Take one report; the report of a teardown is the last one of a test."""
        gathered = self._of.get(worker)
        if gathered is None or gathered.nodeid != report.nodeid:
            self.tell(worker)
            gathered = self._of[worker] = Reported(worker, report.nodeid, [])
        gathered.reports.append(report)
        if report.when == "teardown":
            self._enter(self._of.pop(worker))

    def tell(self, worker: str) -> None:
        """Hand on what there is of a worker, because no more reports of its test will come."""
        gathered = self._of.pop(worker, None)
        if gathered is not None:
            self._enter(gathered)

    def tell_all(self) -> None:
        """Hand on what there is of each worker."""
        for worker in list(self._of):
            self.tell(worker)
