"""Fixtures whose set-up failed: pytest keeps the exception and raises it again in every test that asks for them."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass

import pytest

#: pytest's own names for what setup_module, setUpClass and the like become.
_XUNIT = re.compile(r"_(?:xunit|unittest)_(\w+?)_fixture_.*")


@dataclass(slots=True)
class _Broken:
    error: BaseException
    nodeid: str = ""


class BrokenFixtures:
    """Knows each fixture of a wider scope that is broken now, for as long as pytest does."""

    def __init__(self) -> None:
        self._broken: dict[pytest.FixtureDef[object], _Broken] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        """Note a set-up that fails."""
        try:
            return (yield)
        except BaseException as error:
            # One that asks for another with `getfixturevalue` fails of the same exception: the inner one is broken.
            if fixturedef.scope != "function" and not any(each.error is error for each in self._broken.values()):
                self._broken[fixturedef] = _Broken(error)
            raise

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[object]) -> None:
        """Forget a fixture that is torn down: its next set-up is a new one."""
        self._broken.pop(fixturedef, None)

    def note_on(self, error: BaseException, nodeid: str) -> str:
        """Say where a set-up error comes from if it is not this test's own; empty where it is."""
        for fixture, broken in self._broken.items():
            if broken.error is error:
                broken.nodeid = broken.nodeid or nodeid
                return "" if broken.nodeid == nodeid else _note(fixture, broken.nodeid)
        return ""


def _note(fixture: pytest.FixtureDef[object], nodeid: str) -> str:
    name = _XUNIT.sub(r"\1", fixture.argname)
    return f'cached: the {fixture.scope}-scoped fixture "{name}" failed in {nodeid} and was not set up again'
