"""`usefixtures`: on the module, on a class, on a function; pytest.ini has one for all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.usefixtures("for_module")


@pytest.fixture
def used() -> list[str]:
    return []


@pytest.fixture
def for_module(used: list[str]) -> Iterator[None]:
    used.append("module")
    yield


@pytest.fixture
def for_class(used: list[str]) -> None:
    used.append("class")


@pytest.fixture
def for_function(used: list[str]) -> None:
    used.append("function")


def test_the_module_uses_it(used: list[str]) -> None:
    assert used == ["module"]


@pytest.mark.usefixtures("for_function")
def test_the_function_uses_it_too(used: list[str]) -> None:
    assert sorted(used) == ["function", "module"]


@pytest.mark.usefixtures("for_function", "for_class")
def test_one_mark_names_several(used: list[str]) -> None:
    assert sorted(used) == ["class", "function", "module"]


@pytest.mark.usefixtures("for_class")
class TestClass:
    def test_the_class_uses_it(self, used: list[str]) -> None:
        assert sorted(used) == ["class", "module"]


def test_the_ini_uses_it(request: pytest.FixtureRequest) -> None:
    assert "from_the_ini" in request.fixturenames
