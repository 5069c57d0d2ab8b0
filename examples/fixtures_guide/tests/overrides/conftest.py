"""A folder overrides fixtures of the folder above and of a plugin."""

from __future__ import annotations

import pytest


@pytest.fixture
def username() -> str:
    return "folder"


@pytest.fixture
def to_be_overridden(to_be_overridden: str) -> str:
    return f"folder-{to_be_overridden}"


@pytest.fixture(params=["one", "two"])
def parametrized_username(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def plain_username() -> str:
    return "plain"


@pytest.fixture
def greeting(username: str) -> str:
    """Request a fixture that others override."""
    return f"hello {username}"
