"""Fixtures as messages and steps name them, and which of them an exception came from.

Nothing here is called for a fixture that works: an exception's own traceback leads through pytest's public
`FixtureDef.execute` and `FixtureDef.finish`, and these frames hold the fixture.
"""

from __future__ import annotations

import enum
import functools
import inspect
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from .item import shown_params

Fixture = pytest.FixtureDef[Any]
#: What a fixture is set up for, or torn down for; None where pytest does not say.
Request = pytest.FixtureRequest | None

#: pytest's own names for what setup_module, setUpClass and the like become.
_XUNIT = re.compile(r"_(?:xunit|unittest)_(\w+?)_fixture_.*")
_NO_FOLDERS_OF_THE_SUITE = {"site-packages", "dist-packages"}
_OURS = __name__.partition(".")[0]


def _code_of(function: object) -> CodeType | None:
    return getattr(function, "__code__", None)


_EXECUTE = _code_of(getattr(pytest.FixtureDef, "execute", None))
_FINISH = _code_of(getattr(pytest.FixtureDef, "finish", None))


class Moment(enum.Enum):
    """When a fixture raised."""

    SETUP = enum.auto()
    #: Torn down because a fixture that it requests is set up anew.
    TEARDOWN = enum.auto()
    #: Torn down to be set up anew, with another param.
    RENEWAL = enum.auto()
    #: Torn down because its scope ended.
    SCOPE_END = enum.auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """Where an exception came from.

    Attributes:
        fixture: The innermost fixture that it went through.
        request: What the fixture was set up for, or is torn down for; in a renewal, it is of the new param.
        moment: When the fixture raised.
        raised_in: The frame that raised: the same one each time that pytest raises an exception again.
    """

    fixture: Fixture
    request: Request
    moment: Moment
    raised_in: FrameType

    @property
    def is_teardown(self) -> bool:
        """Whether the fixture was torn down."""
        return self.moment is not Moment.SETUP


def fault_of(error: BaseException) -> Fault | None:
    """Find the fixture that an exception came from; None where it came from none."""
    if _EXECUTE is None or _FINISH is None:
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    of_fixtures = [frame for frame in frames if frame.f_code is _EXECUTE or frame.f_code is _FINISH]
    fixture = of_fixtures[-1].f_locals.get("self") if of_fixtures else None
    if not isinstance(fixture, pytest.FixtureDef):
        return None
    return Fault(fixture, of_fixtures[-1].f_locals.get("request"), _moment(fixture, of_fixtures), raised_in=frames[-1])


def _moment(fixture: Fixture, frames: Sequence[FrameType]) -> Moment:
    """Tell from the frames of fixtures, outermost first, when the last one's raised."""
    if frames[-1].f_code is _EXECUTE:
        return Moment.SETUP
    executing = [frame.f_locals.get("self") for frame in frames if frame.f_code is _EXECUTE]
    if fixture in executing:
        return Moment.RENEWAL
    return Moment.TEARDOWN if executing else Moment.SCOPE_END


class Faults:
    """What there is to say of errors in set-ups and teardowns."""

    def __init__(self) -> None:
        self._first: dict[Fixture, tuple[FrameType, str]] = {}

    def forget(self) -> None:
        """Let go of exceptions that pytest let go of too; called between tests."""
        if self._first:
            self._first = {each: first for each, first in self._first.items() if each.cached_result is not None}

    def note_on(self, fault: Fault, nodeid: str) -> str:
        """Name the fixture, and the test that it broke in where pytest does not try it again."""
        place = place_of(fault.fixture, fault.request)
        if not fault.is_teardown:
            note = f"in the set-up of fixture {described(fault.fixture, fault.request, place)}"
            return "\n".join(filter(None, (note, self._cached(fault, nodeid))))
        is_renewed = fault.moment is Moment.RENEWAL
        ending = ", which is set up anew here" if is_renewed else ""
        # The request is of the param that comes next, not of the one that went.
        named = described(fault.fixture, fault.request, place, has_param=not is_renewed)
        scope = scope_of(fault.fixture, fault.request)
        if fault.moment is Moment.SCOPE_END and scope != "function":
            ending = f", whose {scope} ended here"
        return f"in the teardown of fixture {named}{ending}"

    def _cached(self, fault: Fault, nodeid: str) -> str:
        scope = scope_of(fault.fixture, fault.request)
        if scope == "function":
            return ""
        raised_in, first = self._first.setdefault(fault.fixture, (fault.raised_in, nodeid))
        if raised_in is not fault.raised_in:
            self._first[fault.fixture] = (fault.raised_in, nodeid)
            return ""
        if first == nodeid:
            return ""
        name = _plain_name(fault.fixture)
        return f'cached: the {scope}-scoped fixture "{name}" failed in {first} and was not set up again'


def described(fixture: Fixture, request: Request, place: str, worker: str = "", *, has_param: bool = True) -> str:
    """Give a fixture's name with the id of its param, scope and place: ``db[postgres] (module, conftest.py)``."""
    scope = scope_of(fixture, request)
    parts = [scope, place, "" if scope == "function" else worker]
    name = name_of(fixture, request) if has_param else _plain_name(fixture)
    return f"{name} ({', '.join(filter(None, parts))})"


def scope_of(fixture: Fixture, request: Request) -> str:
    """Give the scope; an indirect parametrization may have another than the fixture was defined with."""
    return str(getattr(request, "scope", None) or fixture.scope)


def name_of(fixture: Fixture, request: Request) -> str:
    """Give a fixture's name, with the id that pytest shows of its param."""
    name = _plain_name(fixture)
    # pytest gives the test of a wider fixture's request nowhere else.
    item = getattr(request, "_pyfuncitem", None)
    if item is None or not hasattr(request, "param") or not hasattr(item, "callspec"):
        return name
    shown = shown_params(item).get(fixture.argname)
    return name if shown is None else f"{name}[{shown}]"


def place_of(fixture: Fixture, request: Request) -> str:
    """Say where the fixture is defined: a path below pytest's rootdir, else the dotted name of the module."""
    function = _function_of(fixture)
    module = str(getattr(function, "__module__", ""))
    if _XUNIT.fullmatch(fixture.argname):
        return fixture.baseid.partition("::")[0]
    code = _code_of(function)
    config = getattr(request, "config", None)
    if code is None or config is None:
        return module
    try:
        path = Path(code.co_filename).relative_to(config.rootpath)
    except ValueError:
        return module
    return module if _NO_FOLDERS_OF_THE_SUITE.intersection(path.parts) else path.as_posix()


def is_of_suite(fixture: Fixture) -> bool:
    """Whether a fixture is shown: pytest's own are not, and ours say nothing about the test."""
    return str(getattr(_function_of(fixture), "__module__", "")).partition(".")[0] not in ("_pytest", _OURS)


def _plain_name(fixture: Fixture) -> str:
    return _XUNIT.sub(r"\1", fixture.argname)


def _function_of(fixture: Fixture) -> object:
    """Give the function that somebody wrote, under what decorators made of it."""
    function: Callable[..., object] = fixture.func
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return inspect.unwrap(function)
    except ValueError:
        return function
