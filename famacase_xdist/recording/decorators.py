"""Upstream's decorators with a corrected `step`: the class that ``from famacase_xdist import qase`` imports.

Upstream's own `qase.step` has three faults. It turns an AttributeError of the test into "generator didn't stop after
throw", it leaves a step open if `pytest.fail` or a skip ends it, and it ends the step of an ``async def`` before the
first await.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast, overload

import pytest
from qase.commons.models.step import Step, StepTextData, StepType
from qase.pytest import qase as upstream
from qase.pytest.plugin import QasePytestPluginSingleton

from famacase_xdist.results.ids import new_id
from famacase_xdist.results.status import FAILED, PASSED, SKIPPED, UNTESTED

if TYPE_CHECKING:
    from qase.commons.models.runtime import Runtime

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., object])
_P = ParamSpec("_P")
_T = TypeVar("_T")
_YieldT = TypeVar("_YieldT")
_SendT = TypeVar("_SendT")
_ReturnT = TypeVar("_ReturnT")

#: Exceptions besides pytest's own that end a step without a failure, by the module that defines them.
_CUT_SHORT = {"unittest": "SkipTest", "asyncio": "CancelledError"}


class qase(upstream):  # type: ignore[misc]  # upstream has no types
    """Upstream's decorators; `step` is ours."""

    @overload
    @staticmethod
    def step(title: _FunctionT) -> _FunctionT: ...

    @overload
    @staticmethod
    def step(title: str, expected: str | None = None) -> _StepContext: ...

    @staticmethod
    def step(title: _FunctionT | str, expected: str | None = None) -> _FunctionT | _StepContext:
        """Report a part of a test as a step.

        It is a context manager, ``with qase.step("title"):``, and a decorator of functions, coroutine functions and
        generator functions, also async ones. Outside a test that is reported it does nothing.

        Args:
            title: The action of the step. With ``@qase.step`` alone, it is the name of the function.
            expected: The expected result of the action.

        Returns:
            The context manager, which is the decorator too; with ``@qase.step`` alone, the decorated function.
        """
        if callable(title):
            return _StepContext(getattr(title, "__name__", repr(title)))(title)
        return _StepContext(title, expected)


class _OpenStep:
    """One step from its beginning to its end. An error in this class never reaches the test."""

    #: Set before `_runtime`, which stays None if no step has begun.
    _step: Step

    def __init__(self, title: object, expected: object) -> None:
        self._title = title
        self._expected = expected
        #: Ours, or upstream's where we are not active.
        self._runtime: Runtime | None = None

    def __enter__(self) -> None:
        with contextlib.suppress(Exception):  # there is no session, or upstream's plugin has no running test
            runtime = QasePytestPluginSingleton.get_instance().runtime
            self._step = Step(StepType.TEXT, new_id(), StepTextData(self._title, self._expected or None))
            runtime.add_step(self._step)
            self._runtime = runtime

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runtime is not None:
            with contextlib.suppress(Exception):
                self._runtime.finish_step(self._step.id, status=status_of(error))

    def leave(self) -> None:
        """Make steps that begin from now on siblings of this one, until it is resumed."""
        if self._runtime is not None:
            self._runtime.step_id = self._step.parent_id

    @contextlib.contextmanager
    def resumed(self) -> Iterator[None]:
        """Run one piece of a generator. The step is open only while the generator's own code runs."""
        if self._runtime is None:
            yield
            return
        outside, self._runtime.step_id = self._runtime.step_id, self._step.id
        self._step.execution.status = UNTESTED
        try:
            yield
        finally:
            self._step.execution.status = PASSED  # so far; the generator may never be resumed
            self._runtime.step_id = outside


class _StepContext:
    """The return value of `qase.step`: a context manager and a decorator."""

    def __init__(self, title: object, expected: object = None) -> None:
        self._new = partial(_OpenStep, title, expected)
        self._entered: list[_OpenStep] = []

    def __enter__(self) -> None:
        step = self._new()
        self._entered.append(step)
        step.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.pop().__exit__(kind, error, traceback)

    def __call__(self, function: _FunctionT) -> _FunctionT:
        return cast("_FunctionT", functools.wraps(function)(_wrapped(self._new, function)))


def _wrapped(new: Callable[[], _OpenStep], function: Callable[..., object]) -> Callable[..., object]:
    if inspect.iscoroutinefunction(function):
        return _coroutine_function(new, function)
    if inspect.isasyncgenfunction(function):
        return _async_generator_function(new, function)
    if inspect.isgeneratorfunction(function):
        return _generator_function(new, function)
    return _function(new, function)


def _function(new: Callable[[], _OpenStep], function: Callable[_P, _T]) -> Callable[_P, _T]:
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        __tracebackhide__ = True
        with new():
            return function(*args, **kwargs)

    return call


def _coroutine_function(
    new: Callable[[], _OpenStep], function: Callable[_P, Awaitable[_T]]
) -> Callable[_P, Awaitable[_T]]:
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        __tracebackhide__ = True
        with new():
            return await function(*args, **kwargs)

    return call


def _generator_function(
    new: Callable[[], _OpenStep], function: Callable[_P, Generator[_YieldT, _SendT, _ReturnT]]
) -> Callable[_P, Generator[_YieldT, _SendT, _ReturnT]]:
    def call(*args: _P.args, **kwargs: _P.kwargs) -> Generator[_YieldT, _SendT, _ReturnT]:
        __tracebackhide__ = True
        generator = function(*args, **kwargs)
        resume: Callable[[], _YieldT] = partial(next, generator)
        step = new()
        with step:
            step.leave()
            while True:
                try:
                    with step.resumed():
                        value = resume()
                except StopIteration as end:
                    returned: _ReturnT = end.value
                    return returned
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


def _async_generator_function(
    new: Callable[[], _OpenStep], function: Callable[_P, AsyncGenerator[_YieldT, _SendT]]
) -> Callable[_P, AsyncGenerator[_YieldT, _SendT]]:
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> AsyncGenerator[_YieldT, _SendT]:
        __tracebackhide__ = True
        generator = function(*args, **kwargs)
        resume: Callable[[], Awaitable[_YieldT]] = generator.__anext__
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
    """Return the status of a step that ends with this exception, or with none."""
    if error is None or isinstance(error, GeneratorExit):
        return PASSED
    loaded = (getattr(sys.modules.get(module), name, None) for module, name in _CUT_SHORT.items())
    # A test may put None or a mock in the place of a module.
    kinds = [each for each in loaded if isinstance(each, type)]
    return SKIPPED if isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception, *kinds)) else FAILED
