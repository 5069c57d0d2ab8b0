"""Upstream's decorators with `step` mended: what `from famacase_xdist import qase` gives.

Upstream's own `qase.step` turns an AttributeError of the test into "generator didn't stop after throw", leaves a step
open that `pytest.fail` or a skip ends, and ends the step of an ``async def`` before its first await.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from functools import partial
from types import TracebackType
from typing import Any

import pytest
from qase.commons.models.step import Step, StepTextData, StepType
from qase.pytest import qase as upstream
from qase.pytest.plugin import QasePytestPluginSingleton

_RUNNING, _PASSED, _FAILED, _SKIPPED = "untested", "passed", "failed", "skipped"
#: What else than pytest's own exceptions cuts a step off without a failure, by the module that has it.
_CUT_SHORT = {"unittest": "SkipTest", "asyncio": "CancelledError"}


class qase(upstream):  # type: ignore[misc]  # upstream has no types
    """Upstream's decorators; `step` is ours."""

    @staticmethod
    def step(title: Any, expected: str | None = None) -> Any:
        """Report a part of a test as a step: ``with qase.step("title"):``, or a decorator of any kind of function.

        Outside a test that is reported it does nothing.

        Args:
            title: What is done. A function that is decorated without a title gives its name.
            expected: What should come of it.
        """
        if callable(title):
            return _StepOf(getattr(title, "__name__", repr(title)))(title)
        return _StepOf(title, expected)


class _Step:
    """One step from its begin to its end; what goes wrong in here never reaches the test."""

    def __init__(self, title: object, expected: object) -> None:
        self._title = title
        self._expected = expected
        self._runtime: Any = None
        self._step: Any = None

    def __enter__(self) -> None:
        with contextlib.suppress(Exception):  # there may be no session, or upstream's plugin outside a test
            runtime = QasePytestPluginSingleton.get_instance().runtime
            self._step = Step(StepType.TEXT, str(uuid.uuid4()), StepTextData(self._title, self._expected or None))
            runtime.add_step(self._step)
            self._runtime = runtime

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runtime is not None:
            with contextlib.suppress(Exception):
                self._runtime.finish_step(self._step.id, status=status_of(error))

    def leave(self) -> None:
        """Let steps that begin now be beside this one, until it is resumed."""
        if self._runtime is not None:
            self._runtime.step_id = self._step.parent_id

    @contextlib.contextmanager
    def resumed(self) -> Iterator[None]:
        """Run one piece of a generator: the step is the open one only while the generator's own code runs."""
        if self._runtime is None:
            yield
            return
        outside, self._runtime.step_id = self._runtime.step_id, self._step.id
        self._step.execution.status = _RUNNING
        try:
            yield
        finally:
            self._step.execution.status = _PASSED  # so far; it may never be resumed
            self._runtime.step_id = outside


class _StepOf:
    """What `qase.step` gives: a context manager and a decorator."""

    def __init__(self, title: object, expected: object = None) -> None:
        self._new = partial(_Step, title, expected)
        self._entered: list[_Step] = []

    def __enter__(self) -> None:
        step = self._new()
        self._entered.append(step)
        step.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.pop().__exit__(kind, error, traceback)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            wrap = _coroutine_function
        elif inspect.isasyncgenfunction(function):
            wrap = _async_generator_function
        elif inspect.isgeneratorfunction(function):
            wrap = _generator_function
        else:
            wrap = _function
        return functools.wraps(function)(wrap(self._new, function))


def _function(new: Callable[[], _Step], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with new():
            return function(*args, **kwargs)

    return call


def _coroutine_function(new: Callable[[], _Step], function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with new():
            return await function(*args, **kwargs)

    return call


def _generator_function(new: Callable[[], _Step], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        __tracebackhide__ = True
        generator = function(*args, **kwargs)
        resume: Callable[[], Any] = partial(next, generator)
        step = new()
        with step:
            step.leave()
            while True:
                try:
                    with step.resumed():
                        value = resume()
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with step.resumed():
                        generator.close()
                    raise
                except BaseException as error:
                    resume = partial(generator.throw, error)
                else:
                    resume = partial(generator.send, sent)

    return call


def _async_generator_function(new: Callable[[], _Step], function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        __tracebackhide__ = True
        generator = function(*args, **kwargs)
        resume: Callable[[], Any] = generator.__anext__
        step = new()
        with step:
            step.leave()
            while True:
                try:
                    with step.resumed():
                        value = await resume()
                except StopAsyncIteration:
                    return
                try:
                    sent = yield value
                except GeneratorExit:
                    with step.resumed():
                        await generator.aclose()
                    raise
                except BaseException as error:
                    resume = partial(generator.athrow, error)
                else:
                    resume = partial(generator.asend, sent)

    return call


def status_of(error: BaseException | None) -> str:
    """Give the status of a step that ends with this exception, or with none."""
    if error is None or isinstance(error, GeneratorExit):
        return _PASSED
    loaded = [getattr(sys.modules[module], name) for module, name in _CUT_SHORT.items() if module in sys.modules]
    return _SKIPPED if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception, *loaded)) else _FAILED
