"""Sessions with a journal and a courier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.couriers import Delivering
from harness.server import TOKEN, Backend


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Callable[..., Delivering]]:
    """A function that makes a session, whose destination is a file report unless the settings say otherwise."""
    made: list[Delivering] = []

    def session(**settings: Any) -> Delivering:
        path = tmp_path / str(len(made))
        path.mkdir()
        made.append(Delivering(path, **settings))
        return made[-1]

    yield session
    for each in made:
        each.close()


@pytest.fixture
def project(session: Callable[..., Delivering], backend: Backend) -> Callable[..., Delivering]:
    """A function that makes a session, whose destination is the project DEMO on the server."""

    def project(**settings: Any) -> Delivering:
        given = {"mode": "testops", "testops_project": "DEMO", "api_url": backend.url, "testops_api_token": TOKEN}
        return session(**{**given, **settings})

    return project
