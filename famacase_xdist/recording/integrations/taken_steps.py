"""Where profilers put steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident

from qase.commons.models.step import Step, StepType

from famacase_xdist.recording.runtime import StepRuntime
from famacase_xdist.results.ids import new_id
from famacase_xdist.results.status import FAILED, PASSED


class TakenSteps:
    """The place where profilers put steps: the running test, or nowhere."""

    def __init__(self, runtime: StepRuntime) -> None:
        self._runtime = runtime
        self._thread: int | None = None

    @property
    def are_taken(self) -> bool:
        """Whether this thread now runs a phase of a test, so that its calls become steps."""
        return self._thread == get_ident() and self._runtime.result is not None

    @contextmanager
    def of_this_thread(self) -> Iterator[None]:
        """Take the steps of this thread until the block ends."""
        before, self._thread = self._thread, get_ident()
        try:
            yield
        finally:
            self._thread = before

    @contextmanager
    def one(self, step_type: StepType, data: object) -> Iterator[Step]:
        """Make a step of the block. It is failed if the block raises, or if the caller sets that status."""
        step = Step(step_type, new_id(), data)
        self._runtime.add_step(step)
        status = FAILED
        try:
            yield step
            status = FAILED if step.execution.status == FAILED else PASSED
        finally:
            # A timeout may have ended the test, and with it all of its steps, from inside the block.
            if step.id in self._runtime.steps:
                self._runtime.finish_step(step.id, status)
