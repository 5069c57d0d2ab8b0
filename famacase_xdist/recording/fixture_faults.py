"""The names of fixtures in messages and steps, and the fixture that an exception came from.

The search costs nothing while fixtures work, because it needs no hook: the traceback of an exception leads through
pytest's public `FixtureDef.execute` and `FixtureDef.finish`, and their frames hold the fixture.
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
#: The request that a fixture is set up or torn down for; None if pytest does not tell it.
Request = pytest.FixtureRequest | None

#: pytest's names of the fixtures that it makes of setup_module, setUpClass and similar functions.
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
    #: It was torn down because a fixture that it requests is set up anew.
    TEARDOWN = enum.auto()
    #: It was torn down to be set up anew, with another param.
    RENEWAL = enum.auto()
    #: It was torn down because its scope ended.
    SCOPE_END = enum.auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """The fixture that an exception came from, and when it was raised.

    Attributes:
        fixture: The innermost fixture that the exception passed through.
        request: The request that the fixture was set up or torn down for; in a renewal, that of the new param.
        moment: When the fixture raised.
        raised_in: The frame that raised. It stays the same if pytest raises a cached exception again.
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
    """Return the fixture that an exception came from; None if it came from no fixture."""
    if _EXECUTE is None or _FINISH is None:
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    of_fixtures = [frame for frame in frames if frame.f_code is _EXECUTE or frame.f_code is _FINISH]
    fixture = of_fixtures[-1].f_locals.get("self") if of_fixtures else None
    if not isinstance(fixture, pytest.FixtureDef):
        return None
    return Fault(fixture, of_fixtures[-1].f_locals.get("request"), _moment(fixture, of_fixtures), raised_in=frames[-1])


def _moment(fixture: Fixture, frames: Sequence[FrameType]) -> Moment:
    """Return when a fixture raised. `frames` are those of all fixtures, the outermost first and its own last."""
    if frames[-1].f_code is _EXECUTE:
        return Moment.SETUP
    executing = [frame.f_locals.get("self") for frame in frames if frame.f_code is _EXECUTE]
    if fixture in executing:
        return Moment.RENEWAL
    return Moment.TEARDOWN if executing else Moment.SCOPE_END


class Faults:
    """Notes on errors in set-ups and teardowns."""

    def __init__(self) -> None:
        self._first: dict[Fixture, tuple[FrameType, str]] = {}

    def forget(self) -> None:
        """Drop the exceptions that pytest has dropped. Called between tests."""
        if self._first:
            self._first = {each: first for each, first in self._first.items() if each.cached_result is not None}

    def note_on(self, fault: Fault, nodeid: str) -> str:
        """Return a note that names the fixture, and the test that it failed in if pytest does not set it up again."""
        place = place_of(fault.fixture, fault.request)
        if not fault.is_teardown:
            note = f"in the set-up of fixture {described(fault.fixture, fault.request, place)}"
            return "\n".join(filter(None, (note, self._cached(fault, nodeid))))
        is_renewed = fault.moment is Moment.RENEWAL
        ending = ", which is set up anew here" if is_renewed else ""
        # The request belongs to the next param, not to the one that is torn down.
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
    """Return a fixture's name with its param's id, its scope and its place: ``db[postgres] (module, conftest.py)``."""
    scope = scope_of(fixture, request)
    parts = [scope, place, "" if scope == "function" else worker]
    name = name_of(fixture, request) if has_param else _plain_name(fixture)
    return f"{name} ({', '.join(filter(None, parts))})"


def scope_of(fixture: Fixture, request: Request) -> str:
    """Return the scope. An indirect parametrization may have another one than the fixture's definition."""
    return str(getattr(request, "scope", None) or fixture.scope)


def name_of(fixture: Fixture, request: Request) -> str:
    """Return a fixture's name, with the id that pytest shows for its param."""
    name = _plain_name(fixture)
    # If the fixture's scope is wider than a function, pytest has the test nowhere else.
    item = getattr(request, "_pyfuncitem", None)
    if item is None or not hasattr(request, "param") or not hasattr(item, "callspec"):
        return name
    shown = shown_params(item).get(fixture.argname)
    return name if shown is None else f"{name}[{shown}]"


def place_of(fixture: Fixture, request: Request) -> str:
    """Return where the fixture is defined: a path below pytest's rootdir, else the dotted name of the module."""
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
    """Return whether a fixture is shown: pytest's own are not, and ours say nothing about the test."""
    return str(getattr(_function_of(fixture), "__module__", "")).partition(".")[0] not in ("_pytest", _OURS)


def _plain_name(fixture: Fixture) -> str:
    return _XUNIT.sub(r"\1", fixture.argname)


def _function_of(fixture: Fixture) -> object:
    """Return the function as it was written, without its decorators."""
    function: Callable[..., object] = fixture.func
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return inspect.unwrap(function)
    except ValueError:
        return function
