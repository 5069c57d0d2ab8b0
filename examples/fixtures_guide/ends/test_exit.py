"""A fixture that ends the session: run this alone, `pytest ends`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def opened() -> Iterator[str]:
    yield "open"


@pytest.fixture
def ending(opened: str) -> None:
    pytest.exit("the licence has run out")


def test_before_the_end(opened: str) -> None:
    assert opened == "open"


def test_ends_the_session(ending: None) -> None:
    raise NotImplementedError


def test_never_runs() -> None:
    raise NotImplementedError
