"""One server for a file of tests, and the watch on tests that start processes."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
from harness.processes import watched
from harness.server import Backend, running

pytest_plugins = ["harness.plugin"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One server for all tests of a file, because a start and a stop take longer than most tests."""
    with pytest.MonkeyPatch.context() as patch, running(tmp_path_factory.mktemp("server") / "server.sqlite3") as server:
        patch.setattr("harness.server.pid_of_port", lambda port: None)
        yield server


@pytest.fixture
def backend(server: Backend) -> Iterator[Backend]:
    """The server of the file, with no runs, no faults and an empty list of requests."""
    server.clear()
    yield server
    server.released.set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from watched(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from watched(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from watched(item))
