"""Fixtures of a package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package")
def stock() -> Iterator[dict[str, int]]:
    yield {"tea": 3}


@pytest.fixture
def username(username: str) -> str:
    """Override the fixture of the folder above, and use it."""
    return f"shop-{username}"
