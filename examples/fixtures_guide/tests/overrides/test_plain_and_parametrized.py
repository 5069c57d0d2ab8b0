"""A plain fixture overrides a parametrized one, and the other way."""

from __future__ import annotations

import pytest


@pytest.fixture
def parametrized_username() -> str:
    return "overridden"


@pytest.fixture(params=["three", "four-4"])
def plain_username(request: pytest.FixtureRequest) -> str:
    return request.param


def test_plain_overrides_parametrized(parametrized_username: str) -> None:
    assert parametrized_username == "overridden"


def test_parametrized_overrides_plain(plain_username: str) -> None:
    assert plain_username in ("three", "four-4")
