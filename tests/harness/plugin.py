"""The fixtures of the harness, for tests and tests_e2e."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import Backend, running
from .suites import MODES, Suite


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A server that records every request and answers with the faults that a test injects."""
    with running(tmp_path / "server.sqlite3") as server:
        yield server


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """An empty directory for a suite, with no settings."""
    path = tmp_path / "suite"
    path.mkdir()
    return Suite(path, tmp_path / "state")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments of one way to run a suite: without xdist, with -n0, with -n1, with -n2."""
    return MODES[request.param]
