"""Tests request fixtures, fixtures request fixtures, and a value is made once for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from qase.pytest import qase


@pytest.fixture
def fruit() -> str:
    return "apple"


@pytest.fixture
def basket(fruit: str) -> list[str]:
    return ["banana", fruit]


@pytest.fixture
def empty_list() -> list[str]:
    return []


@pytest.fixture
def filled_list(empty_list: list[str], fruit: str) -> None:
    """Fill a list that the test requests too: both get the same one."""
    empty_list.append(fruit)


@pytest.fixture
def asked_by_name(request: pytest.FixtureRequest) -> list[str]:
    return [request.getfixturevalue("fruit")]


@pytest.fixture(name="short")
def a_function_with_a_long_name() -> str:
    return "short"


@pytest.fixture
def washed_fruit(fruit: str) -> str:
    with qase.step("wash"):
        return f"washed {fruit}"


def test_that_requests_no_fixture() -> None:
    assert True


def test_one_fixture(fruit: str) -> None:
    assert fruit == "apple"


def test_several_fixtures_in_the_order_of_the_arguments(empty_list: list[str], fruit: str) -> None:
    assert fruit not in empty_list


def test_a_fixture_requests_a_fixture(basket: list[str]) -> None:
    assert basket == ["banana", "apple"]


def test_a_value_is_cached_within_a_test(fruit: str, basket: list[str]) -> None:
    assert fruit in basket


def test_a_fixture_changes_what_the_test_gets(filled_list: None, empty_list: list[str], fruit: str) -> None:
    assert empty_list == [fruit]


def test_each_test_gets_its_own_value(empty_list: list[str]) -> None:
    assert empty_list == []


def test_a_fixture_asks_for_another_by_name(asked_by_name: list[str]) -> None:
    assert asked_by_name == ["apple"]


def test_asks_for_a_fixture_while_it_runs(request: pytest.FixtureRequest) -> None:
    with qase.step("look into the kitchen"):
        assert True
    assert request.getfixturevalue("fruit") == "apple"


def test_a_fixture_has_the_name_it_was_given(short: str) -> None:
    assert short == "short"


def test_a_step_of_a_fixture_and_one_of_the_test(washed_fruit: str) -> None:
    with qase.step("eat"):
        assert washed_fruit == "washed apple"


def test_builtin_fixtures_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUIDE", str(tmp_path))


def test_fails_with_its_fixtures_in_order(basket: list[str]) -> None:
    assert basket == [], "the basket is full"
