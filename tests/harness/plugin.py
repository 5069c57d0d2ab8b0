"""The fixtures of the harness, for tests and tests_e2e."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .compared import COMPARED_MODES, Compared
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


@pytest.fixture
def compared(suite: Suite, backend: Backend) -> Compared:
    """A suite that runs twice, without reporting and with it."""
    return Compared(suite, backend)


@pytest.fixture(params=COMPARED_MODES)
def compared_mode(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The arguments of one way to run such a suite: without xdist, with -n2."""
    return COMPARED_MODES[request.param]
