"""Parametrized fixtures: each test runs once for each param, and the id is what pytest shows."""

from __future__ import annotations

import enum

import pytest


class Colour(enum.Enum):
    RED = 1


class Opaque:
    """Has a repr that differs between processes."""


def id_of(value: object) -> str | None:
    return "eggs" if value == 0 else None


@pytest.fixture(params=["postgres", "sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[0, 1], ids=["spam", "ham"])
def listed(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=[0, "bacon"], ids=id_of)
def computed(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(params=[3.5, None, True, Colour.RED, Opaque(), (1, 2), b"raw", int])
def value(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(params=["eu-west-1", "us-east"])
def region(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(
    params=[
        "runs",
        pytest.param("skipped", marks=pytest.mark.skip(reason="not this one")),
        pytest.param("xfails", marks=pytest.mark.xfail(reason="known bug")),
        pytest.param("named", id="own-id"),
    ]
)
def marked(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_param_is_shown(database: str) -> None:
    assert database in ("postgres", "sqlite")


def test_ids_from_a_list(listed: int) -> None:
    assert listed in (0, 1)


def test_ids_from_a_function_that_may_give_none(computed: object) -> None:
    assert computed in (0, "bacon")


def test_values_that_are_no_strings(value: object) -> None:
    assert value != "string"


def test_ids_with_a_dash_beside_a_parametrized_test(region: str, database: str) -> None:
    assert "-" in region


@pytest.mark.parametrize("shelf", ["a-1", "b"])
def test_fixture_and_test_are_parametrized(shelf: str, region: str) -> None:
    assert shelf


def test_marks_of_a_param(marked: str) -> None:
    assert marked != "xfails"


@pytest.mark.parametrize("database", ["oracle"], indirect=True)
def test_the_test_chooses_the_params_of_the_fixture(database: str) -> None:
    assert database == "oracle"


class TestWithAFixtureThatIsNotParametrized:
    @pytest.fixture
    def dsn(self, database: str) -> str:
        return f"{database}://"

    def test_the_param_is_that_of_the_inner_fixture(self, dsn: str) -> None:
        assert dsn.endswith("://")
