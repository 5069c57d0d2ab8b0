"""pytest's reports of a test's phases, gathered until its last one: the books hear of them at once."""

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
        """Take one report; that of a teardown is a test's last."""
        gathered = self._of.get(worker)
        if gathered is None or gathered.nodeid != report.nodeid:
            self.tell(worker)
            gathered = self._of[worker] = Reported(worker, report.nodeid, [])
        gathered.reports.append(report)
        if report.when == "teardown":
            self._enter(self._of.pop(worker))

    def tell(self, worker: str) -> None:
        """Hand on what there is of a worker; no more will come of its test."""
        gathered = self._of.pop(worker, None)
        if gathered is not None:
            self._enter(gathered)

    def tell_all(self) -> None:
        """Hand on what there is of all workers."""
        for worker in list(self._of):
            self.tell(worker)
