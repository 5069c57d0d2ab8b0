"""Set-up that fails: on purpose. What was set up before is torn down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def connection() -> Iterator[str]:
    yield "connection"


@pytest.fixture
def table(connection: str) -> str:
    raise RuntimeError("no such table")


@pytest.fixture
def row(table: str) -> str:
    """Never set up: what it requests fails first."""
    return f"row of {table}"


@pytest.fixture
def row_by_name(request: pytest.FixtureRequest) -> str:
    """Set up around one that fails."""
    return f"row of {request.getfixturevalue('table')}"


@pytest.fixture
def half_open(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: None)
    raise OSError("half open")


@pytest.fixture
def unmet() -> None:
    assert 1 + 1 == 3, "the fixture expects too much"


@pytest.fixture
def no_yield() -> Iterator[None]:
    if False:
        yield


@pytest.fixture
def unreached() -> str:
    return "never"


@pytest.fixture(scope="module")
def schema() -> None:
    raise LookupError("no schema")


@pytest.fixture(scope="class")
def tariff() -> Iterator[None]:
    raise ValueError("no tariff")
    yield


def test_set_up_fails(connection: str, table: str) -> None:
    raise NotImplementedError


def test_set_up_fails_before_the_next_fixture(connection: str, table: str, unreached: str) -> None:
    raise NotImplementedError


def test_a_requested_fixture_fails(row: str) -> None:
    raise NotImplementedError


def test_a_fixture_that_was_asked_for_by_name_fails(row_by_name: str) -> None:
    raise NotImplementedError


def test_set_up_fails_after_it_added_a_finalizer(half_open: None) -> None:
    raise NotImplementedError


def test_set_up_asserts(unmet: None) -> None:
    raise NotImplementedError


def test_a_generator_does_not_yield(no_yield: None) -> None:
    raise NotImplementedError


def test_one_that_shares_a_broken_module_fixture(schema: None) -> None:
    raise NotImplementedError


def test_another_that_shares_the_broken_module_fixture(connection: str, schema: None) -> None:
    raise NotImplementedError


def test_passes_beside_a_broken_module_fixture(connection: str) -> None:
    assert connection == "connection"


class TestWithABrokenClassFixture:
    def test_one_that_shares_it(self, tariff: None) -> None:
        raise NotImplementedError

    def test_another_that_shares_it(self, tariff: None) -> None:
        raise NotImplementedError
