"""A module whose fixture cannot be torn down: on purpose. Whichever test ran last has the error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def leaking_module() -> Iterator[None]:
    yield
    raise OSError("the module leaks")


def test_passes_in_a_leaking_module() -> None:
    assert True


def test_fails_in_a_leaking_module() -> None:
    assert not "ready", "own failure"


def test_skips_in_a_leaking_module() -> None:
    pytest.skip("not today")
