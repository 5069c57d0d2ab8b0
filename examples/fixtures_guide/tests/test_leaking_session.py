"""A fixture of the session cannot be torn down, on purpose: the error is where each process ends, wherever that is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def leaking_session() -> Iterator[None]:
    yield
    raise OSError("the session leaks")


def test_sets_up_what_leaks_at_the_end(leaking_session: None) -> None:
    assert True
