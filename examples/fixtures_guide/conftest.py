"""What the whole guide shares: fixtures for everybody, and where the plugin is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stubs import MailServer

pytest_plugins = ["guide_plugin"]


@pytest.fixture(scope="session")
def from_the_ini() -> Iterator[str]:
    """Requested by every test: pytest.ini says so."""
    yield "ini"


def by_name(fixture_name: str, config: pytest.Config) -> str:
    """Compute a fixture's scope where it is defined."""
    return "session" if fixture_name.startswith("shared_") else "function"


@pytest.fixture(scope=by_name)
def shared_container() -> Iterator[str]:
    yield "shared"


@pytest.fixture(scope=by_name)
def own_container() -> Iterator[str]:
    yield "own"


@pytest.fixture(scope="session")
def settings() -> dict[str, str]:
    return {"host": "mail.example.com"}


@pytest.fixture(scope="module")
def mail_server(settings: dict[str, str]) -> Iterator[MailServer]:
    """One server for each module that asks for it."""
    server = MailServer(settings["host"])
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["en", "pt-BR"])
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have pytest run all tests that request it for one language, then for the other, whatever their modules."""
    yield request.param


@pytest.fixture
def username() -> str:
    return "root"
