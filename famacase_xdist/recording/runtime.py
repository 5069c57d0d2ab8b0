"""The steps of the running test: upstream's runtime, whose open step belongs to a context, not to the process.

Upstream keeps one open step for the process. Because of that, steps of threads and of asyncio's tasks nest into each
other, and a step that an exception of pytest leaves open contains all steps that follow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING

from qase.commons.models.runtime import Runtime
from qase.commons.models.step import Step, StepExecution, StepTextData, StepType

from famacase_xdist.clock import now
from famacase_xdist.results.ids import new_id
from famacase_xdist.results.status import UNTESTED

if TYPE_CHECKING:
    from qase.commons.models.result import Result

_OPEN: ContextVar[str | None] = ContextVar("famacase_open_step", default=None)
#: Whether a context comes from that of the tests. A greenlet's does not, which gevent may put in a thread's place.
_IS_OF_TESTS: ContextVar[bool] = ContextVar("famacase_is_of_tests", default=False)


class Span:
    """A part of a test that is, or may become, a step around the steps that begin in it.

    Attributes:
        first, last: How many steps the test had at the beginning and at the end of the span.
        step: The span's own step; None if it has none.
    """

    __slots__ = ("end", "first", "last", "parent", "result", "start", "step")

    def __init__(self, result: object, first: int, parent: str | None) -> None:
        self.result = result
        self.first = self.last = first
        self.parent = parent
        self.start = self.end = now()
        self.step: Step | None = None


class StepRuntime(Runtime):  # type: ignore[misc]  # upstream has no types
    """The result and the steps of the running test. A step nests into the one that is open where it begins."""

    result: Result | None

    def __init__(self) -> None:
        self.clear()
        super().__init__()

    def clear(self) -> None:
        """Forget the test; the next one runs on this thread."""
        self._thread = get_ident()
        _IS_OF_TESTS.set(True)
        self._outer: str | None = None
        self.result = None
        self.steps: dict[str, Step] = {}  # empty, so that no step is open

    @property
    def step_id(self) -> str | None:
        """The id of the open step. A thread without one of its own has that of the thread that runs the test."""
        open_ = _OPEN.get()
        if open_ in self.steps:  # else it belongs to an earlier test, which threads and tasks may outlive
            return open_
        return None if self._is_own_thread() else self._outer

    @step_id.setter
    def step_id(self, value: str | None) -> None:
        _OPEN.set(value)
        # In an event loop several steps are open at a time, and none of them is the thread's.
        if self._is_own_thread() and not _is_in_event_loop():
            self._outer = value

    def _is_own_thread(self) -> bool:
        """Return whether this is the thread that runs the test."""
        return get_ident() == self._thread and _IS_OF_TESTS.get()

    def add_step(self, step: Step) -> None:
        """Begin a step. It gets another id if there is one with its id, which would become its own parent."""
        if step.id in self.steps:
            step.id = new_id()
        super().add_step(step)

    def finish_step(self, id: str, status: str, data: object = None) -> None:
        """End a step. One of an earlier test is ignored, because upstream's own method would raise in the next test."""
        if id not in self.steps:
            return
        open_ = self.step_id
        super().finish_step(id, status, data)
        if id not in self._upwards(open_):
            self.step_id = open_  # a generator or another task ended a step that was not open here

    def close_steps(self, status: str, since: float = 0.0) -> None:
        """End the steps that an exception left open.

        Args:
            status: The status of those that have none of their own.
            since: Steps that began before this time stay open.
        """
        if not self.steps:
            return
        for step in self.steps.values():
            execution = step.execution
            if not execution.end_time and execution.start_time >= since:
                if execution.status == UNTESTED:  # upstream's status of a step that has not ended
                    execution.set_status(status)
                execution.complete()
        still_open = (each for each in self._upwards(self.step_id) if not self.steps[each].execution.end_time)
        self.step_id = next(still_open, None)

    def _upwards(self, id: str | None) -> Iterator[str]:
        """Yield a step's id and those of all steps around it."""
        while id is not None and id in self.steps:
            yield id
            id = self.steps[id].parent_id

    def begin_span(self) -> Span:
        """Begin a part of the running test."""
        return Span(self.result, len(self.steps), self.step_id)

    def holds(self, span: Span) -> bool:
        """Return whether a span belongs to the running test."""
        return self.result is not None and span.result is self.result

    def open(self, span: Span, action: str) -> None:
        """Turn a span that has just begun into an open step."""
        span.step = step = Step(StepType.TEXT, new_id(), StepTextData(action), span.parent)
        step.execution.start_time = span.start
        self.steps[step.id] = step
        self.step_id = step.id

    def end_span(self, span: Span, status: str) -> None:
        """End a span, and its step if it has one."""
        span.end = now()
        span.last = len(self.steps)
        if span.step is not None:
            self.finish_step(span.step.id, status)
            # Even if a step that began in the span is still open, because that one is not the test's.
            self.step_id = span.parent

    def wrap(self, span: Span, action: str, status: str) -> None:
        """Turn a span that has ended into a step around the steps that began in it."""
        span.step = step = Step(StepType.TEXT, new_id(), StepTextData(action), span.parent)
        for each in islice(self.steps.values(), span.first, span.last):
            if each.parent_id == span.parent:
                each.parent_id = step.id
        step.execution.set_status(status)
        _set_times(step.execution, span.start, span.end)
        self.steps[step.id] = step

    def nest(self, child: Span, span: Span, *, is_close: bool) -> None:
        """Put a step that has ended into one that is open.

        Args:
            child: The span of the inner step.
            span: The span of the outer step.
            is_close: Whether nothing else began between them; the outer step then began with the inner one.
        """
        assert child.step is not None
        assert span.step is not None
        child.step.parent_id = span.step.id
        if is_close:
            span.start = span.step.execution.start_time = child.start

    def add_subtest(self, name: str, status: str, start: float, stop: float) -> Step:
        """Add a subtest that has ended as a step around the steps that began in it.

        Its duration is unknown if there is no `start`, as with unittest, or if that is in the future, as under a
        frozen clock.
        """
        subtest = Step(StepType.TEXT, new_id(), StepTextData(name), self.step_id)
        subtest.execution.status = status
        subtest.execution.end_time = subtest.execution.start_time
        if 0 < start <= subtest.execution.start_time:
            for step in self.steps.values():
                if step.parent_id == subtest.parent_id and step.execution.start_time >= start:
                    step.parent_id = subtest.id
            _set_times(subtest.execution, start, stop)
        self.steps[subtest.id] = subtest
        return subtest


def _set_times(execution: StepExecution, start: float, end: float) -> None:
    """Set the times of a step that was added after its end."""
    execution.start_time, execution.end_time = start, end
    execution.duration = int((end - start) * 1000)


def _is_in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # a running loop has imported it
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
