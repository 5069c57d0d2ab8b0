"""Set-ups and teardowns of fixtures as steps of the tests that pytest runs them for.

A set-up is timed around pytest's hook. A teardown is timed between two finalizers of ours, which pytest calls together
with those of the fixture. One is added before the fixture's function runs, so it runs last. The other is added after
the function has run, so it runs first.

With ``all`` the step is open meanwhile, so that the steps and attachments of the fixture's own code belong to it. With
``failed`` there is no step until something fails. The steps of a set-up stay steps of the test that caused it. The
steps of a teardown get a step around them if the scope of the fixture is wider than a function, because they are no
part of the test that was the last one by chance.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial

import pytest

from famacase_xdist.results.status import FAILED, PASSED

from . import fixture_faults
from .decorators import status_of
from .fixture_faults import Fixture, Request
from .guard import Guard
from .runtime import Span, StepRuntime

_FINISH = getattr(pytest.FixtureDef, "finish", None)


class _Tracked:
    """A fixture between the beginning of its set-up and the end of its teardown.

    Attributes:
        first, last: Our finalizers that run first and last.
    """

    __slots__ = (
        "described",
        "first",
        "fixture",
        "has_teardown",
        "known",
        "last",
        "request",
        "span",
    )

    def __init__(self, owner: FixtureSteps, fixture: Fixture, request: Request) -> None:
        self.fixture = fixture
        self.request = request
        self.described = ""
        self.span: Span | None = None
        self.has_teardown = True
        self.known = 0
        self.first = partial(owner.begin_teardown, self)
        self.last = partial(owner.end_teardown, self)

    def finalizers(self) -> Sequence[object] | None:
        """Return the finalizers that pytest will run; None if unknown. Nothing else shows if there is a teardown."""
        found = getattr(self.fixture, "_finalizers", None)
        return found if isinstance(found, list) else None


class FixtureSteps:
    """Hooks around fixtures; registered unless the setting is ``off``.

    Args:
        runtime: The steps of the running test.
        guard: Keeps our own errors from the test.
        is_all: Whether fixtures that work have steps too.
        worker: The name of this xdist worker; empty without xdist.
    """

    def __init__(self, runtime: StepRuntime, guard: Guard, *, is_all: bool, worker: str) -> None:
        self._runtime = runtime
        self._guard = guard
        self._is_all = is_all
        self._worker = worker
        self._is_shown: dict[Fixture, bool] = {}
        self._places: dict[Fixture, str] = {}
        #: Set-ups of the running test that are not nested into another fixture's set-up yet.
        self._loose: list[tuple[str, Span]] = []
        self._torn: dict[Fixture, tuple[_Tracked, Span]] = {}
        #: Fixtures that may get more finalizers as long as they live, because their function has the `request`.
        self._growing: dict[_Tracked, None] = {}
        self._item: pytest.Item | None = None

    def begin(self, item: pytest.Item) -> None:
        """Begin an attempt."""
        self._item = item
        self._loose.clear()
        self._torn.clear()

    def blame(self, fixture: Fixture, error: BaseException) -> None:
        """Mark a teardown that raised, after its end: pytest keeps the exception until all finalizers have run."""
        tracked, span = self._torn.get(fixture, (None, None))
        if tracked is None or span is None or not self._runtime.holds(span):
            return
        status = status_of(error)
        if span.step is not None:
            span.step.execution.set_status(status)
        elif status == FAILED:
            self._runtime.wrap(span, self._action("teardown", tracked), status)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Fixture, request: Request) -> Generator[None, object, object]:
        """Time a set-up. pytest does not call this hook for a cached value."""
        __tracebackhide__ = True
        is_shown = self._is_shown.get(fixturedef)
        if is_shown is None:
            is_shown = self._is_shown[fixturedef] = fixture_faults.is_of_suite(fixturedef)
        if not is_shown:
            return (yield)
        tracked = _Tracked(self, fixturedef, request)
        fixturedef.addfinalizer(tracked.last)
        with self._guard:
            self._begin_setup(tracked)
        try:
            value = yield
        except BaseException as error:
            with self._guard:
                self._end_setup(tracked, error)
            raise
        with self._guard:
            self._end_setup(tracked, None)
        return value

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Make our first finalizer run before those that were added through a fixture's `request` since its set-up."""
        with self._guard:
            for tracked in self._growing:
                finalizers = tracked.finalizers() or ()
                added = finalizers[tracked.known :]
                # pytest adds `finish` of every fixture that requests this one. By then it has nothing left to do.
                if not all(isinstance(each, partial) and _is_finish(each.func) for each in added):
                    tracked.has_teardown = True
                    tracked.fixture.addfinalizer(tracked.first)
                tracked.known = len(finalizers)

    def _begin_setup(self, tracked: _Tracked) -> None:
        if self._runtime.result is None:
            return
        span = tracked.span = self._runtime.begin_span()
        if self._is_all:
            self._runtime.open(span, self._action("setup", tracked))
            if self._loose:
                self._adopt(tracked.fixture, span)

    def _end_setup(self, tracked: _Tracked, error: BaseException | None) -> None:
        span, tracked.span = tracked.span, None
        finalizers = tracked.finalizers()
        tracked.has_teardown = finalizers is None or finalizers[-1] is not tracked.last
        tracked.fixture.addfinalizer(tracked.first)
        if finalizers is not None and "request" in tracked.fixture.argnames:
            tracked.known = len(finalizers)
            self._growing[tracked] = None
        if span is None or not self._runtime.holds(span):
            return
        status = status_of(error)
        self._runtime.end_span(span, status)
        if span.step is not None:
            self._loose.append((tracked.fixture.argname, span))
        elif status == FAILED:
            self._runtime.wrap(span, self._action("setup", tracked), status)

    def _adopt(self, fixture: Fixture, span: Span) -> None:
        """Nest the set-ups of requested fixtures into this one, because pytest runs them before it calls the hook."""
        order = {name: number for number, name in enumerate(getattr(self._item, "fixturenames", ()))}
        for_test = getattr(getattr(self._item, "_fixtureinfo", None), "initialnames", ())
        place = order.get(fixture.argname, len(order))
        left = []
        is_close = True
        for name, child in reversed(self._loose):
            is_own = name in for_test and order.get(name, 0) < place
            if name in fixture.argnames and child.parent == span.parent and not is_own:
                self._runtime.nest(child, span, is_close=is_close)
            else:
                left.append((name, child))
                is_close = is_close and child.parent != span.parent
        self._loose = left[::-1]

    def begin_teardown(self, tracked: _Tracked) -> None:
        """Begin a teardown: the finalizer that runs first."""
        with self._guard:
            if tracked.span is not None or self._runtime.result is None:
                return
            tracked.span = self._runtime.begin_span()
            if self._is_all and tracked.has_teardown:
                self._runtime.open(tracked.span, self._action("teardown", tracked))

    def end_teardown(self, tracked: _Tracked) -> None:
        """End a teardown: the finalizer that runs last."""
        with self._guard:
            self._growing.pop(tracked, None)
            span, tracked.span = tracked.span, None
            if span is None or not self._runtime.holds(span):
                return
            self._runtime.end_span(span, PASSED)
            is_wide = fixture_faults.scope_of(tracked.fixture, tracked.request) != "function"
            if span.step is None and is_wide and span.last > span.first:
                self._runtime.wrap(span, self._action("teardown", tracked), PASSED)
            self._torn[tracked.fixture] = (tracked, span)

    def _action(self, phase: str, tracked: _Tracked) -> str:
        if not tracked.described:
            place = self._places.get(tracked.fixture)
            if place is None:
                place = self._places[tracked.fixture] = fixture_faults.place_of(tracked.fixture, tracked.request)
            tracked.described = fixture_faults.described(tracked.fixture, tracked.request, place, self._worker)
        return f"{phase}: {tracked.described}"


def _is_finish(function: object) -> bool:
    return getattr(function, "__func__", None) is _FINISH
