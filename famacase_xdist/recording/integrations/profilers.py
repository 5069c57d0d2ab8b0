"""Profilers: the requests, queries and sleeps of a test become its steps.

Only the thread that runs the test counts, and only while one of the test's phases runs. The profilers ignore all else:
our own threads, which post results and sleep meanwhile, threads of the test, and the work of other plugins between two
tests. Upstream's profilers watch every thread and mix up the steps of all. Of them, only the one for databases is used;
see `database`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from qase.commons.models.step import Step, StepRequestData, StepSleepData, StepType

from famacase_xdist.recording.guard import Guard
from famacase_xdist.recording.runtime import StepRuntime
from famacase_xdist.results.status import FAILED
from famacase_xdist.results.text import text_of

from .database import Database
from .taken_steps import TakenSteps

#: The first of HTTP's statuses that make a request's step a failed one.
_FIRST_ERROR = 400
#: A function of a foreign library.
Function = Callable[..., Any]


class Profiler(Protocol):
    """The methods that `Profilers` needs of a profiler."""

    def enable(self) -> None:
        """Replace the functions to watch. Called before each test, because a library may be imported late."""

    def disable(self) -> None:
        """Restore the functions."""


class Profilers:
    """Hooks around the phases of a test.

    Args:
        runtime: Has the running result and its steps.
        names: Any of ``network``, ``db`` and ``sleep``.
        hosts: Parts of addresses whose requests make no steps.
        guard: Keeps our own errors, and those of a database's library, from the test.
    """

    def __init__(self, runtime: StepRuntime, names: Iterable[str], hosts: Iterable[str], guard: Guard) -> None:
        self._steps = TakenSteps(runtime)
        self._guard = guard
        kinds: Mapping[str, Callable[[TakenSteps], Profiler]] = {
            "network": lambda steps: Network(steps, tuple(hosts)),
            "db": Database,
            "sleep": Sleep,
        }
        self._profilers = [kinds[name](self._steps) for name in dict.fromkeys(names)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, None, None]:
        """Watch from the set-up on, because fixtures belong to the test that they are set up for."""
        for profiler in self._profilers:
            with self._guard:
                profiler.enable()
        with self._steps.of_this_thread():
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        """Take the steps of the test itself."""
        with self._steps.of_this_thread():
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        """Take the steps of the teardowns of its fixtures."""
        with self._steps.of_this_thread():
            yield

    def pytest_unconfigure(self) -> None:
        """Restore everything, so that one process can run several sessions."""
        for profiler in reversed(self._profilers):
            with self._guard:
                profiler.disable()


class _Replaced:
    """Functions that are replaced until `undo`. If another library has replaced ours since, it stays."""

    def __init__(self) -> None:
        self._done: dict[tuple[object, str], tuple[Function, Function]] = {}

    def replace(self, owner: object, name: str, wrap: Callable[[Function], Function]) -> None:
        """Replace `owner.name`, once."""
        if (owner, name) not in self._done:
            original = getattr(owner, name)
            ours = wraps(original)(wrap(original))
            setattr(owner, name, ours)
            self._done[owner, name] = original, ours

    def undo(self) -> None:
        """Restore the functions that are still ours."""
        for (owner, name), (original, ours) in self._done.items():
            if getattr(owner, name, None) is ours:
                setattr(owner, name, original)
        self._done.clear()


class Sleep:
    """Steps for `time.sleep`."""

    def __init__(self, steps: TakenSteps) -> None:
        self._steps = steps
        self._replaced = _Replaced()

    def enable(self) -> None:
        """Replace `time.sleep`."""
        self._replaced.replace(time, "sleep", self._wrapped)

    def disable(self) -> None:
        """Restore `time.sleep`."""
        self._replaced.undo()

    def _wrapped(self, sleep: Function) -> Function:
        def sleeping(seconds: float) -> object:
            if not self._steps.are_taken:
                return sleep(seconds)
            with self._steps.one(StepType.SLEEP, StepSleepData(duration=seconds)):
                return sleep(seconds)

        return sleeping


class Network:
    """Steps for requests made with requests or urllib3, except for those to some hosts."""

    def __init__(self, steps: TakenSteps, hosts: tuple[str, ...]) -> None:
        self._steps = steps
        self._hosts = hosts
        self._replaced = _Replaced()

    def enable(self) -> None:
        """Replace the functions of those libraries that have been imported."""
        if requests := sys.modules.get("requests"):
            self._replaced.replace(requests.Session, "send", self._of_requests)
        if urllib3 := sys.modules.get("urllib3"):
            self._replaced.replace(urllib3.PoolManager, "request", self._of_urllib3)

    def disable(self) -> None:
        """Restore the functions of the libraries."""
        self._replaced.undo()

    def _of_requests(self, send: Function) -> Function:
        def sending(session: object, request: object, **options: object) -> object:
            url = text_of(getattr(request, "url", ""))
            if not self._is_taken(url):
                return send(session, request, **options)
            with self._request(request, url) as step:
                response = send(session, request, **options)
                body = None if options.get("stream") else (lambda: response.content)
                _answer(step, response.status_code, response.headers, body)
                return response

        return sending

    def _of_urllib3(self, request: Function) -> Function:
        def requesting(pool: object, method: str, url: str, *args: object, **options: object) -> object:
            if not self._is_taken(text_of(url)):
                return request(pool, method, url, *args, **options)
            sent = SimpleNamespace(method=method, body=options.get("body"), headers=options.get("headers"))
            with self._request(sent, text_of(url)) as step:
                response = request(pool, method, url, *args, **options)
                body = (lambda: response.data) if options.get("preload_content", True) else None
                _answer(step, response.status, response.headers, body)
                return response

        return requesting

    def _is_taken(self, url: str) -> bool:
        return self._steps.are_taken and not any(host in url for host in self._hosts)

    def _request(self, request: object, url: str) -> AbstractContextManager[Step]:
        body = getattr(request, "body", None)
        # Anything but text and bytes is a file or a generator; the library could not read it after us.
        sent = body if isinstance(body, (str, bytes)) else None
        headers = _texts(getattr(request, "headers", None))
        method = text_of(getattr(request, "method", ""))
        return self._steps.one(StepType.REQUEST, StepRequestData(sent, headers, method, url))


def _answer(step: Step, status: int, headers: Mapping[str, object] | None, body: Callable[[], object] | None) -> None:
    """Put the response into a request's step, as upstream does: its body and headers only if the request failed."""
    if status < _FIRST_ERROR:
        step.data.add_response(status)
        return
    step.execution.set_status(FAILED)
    step.data.add_response(status, body() if body else None, _texts(headers))


def _texts(headers: Mapping[str, object] | None) -> dict[str, str]:
    try:
        return {text_of(name): text_of(value) for name, value in dict(headers or {}).items()}
    except (TypeError, ValueError):  # these are no headers; the library itself will raise
        return {}
