"""A module overrides; a class overrides the module; a test overrides by parametrization."""

from __future__ import annotations

import pytest


@pytest.fixture
def username(username: str) -> str:
    return f"module-{username}"


def test_the_module_overrides(username: str) -> None:
    assert username == "module-folder"


def test_a_fixture_elsewhere_gets_the_override(greeting: str) -> None:
    assert greeting == "hello module-folder"


@pytest.mark.parametrize("username", ["directly"])
def test_direct_parametrization_overrides(username: str) -> None:
    assert username == "directly"


@pytest.mark.parametrize("username", ["directly-overridden"])
def test_direct_parametrization_overrides_for_a_fixture(greeting: str) -> None:
    assert greeting == "hello directly-overridden"


class TestClass:
    @pytest.fixture
    def username(self) -> str:
        return "class"

    def test_the_class_overrides(self, username: str) -> None:
        assert username == "class"
