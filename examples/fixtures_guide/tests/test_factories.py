"""Factories as fixtures: the fixture makes what the test asks for, and takes it away again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

Make = Callable[[str], dict[str, str]]


@pytest.fixture
def make_customer() -> Make:
    return lambda name: {"name": name}


@pytest.fixture
def make_order() -> Iterator[Make]:
    made: list[dict[str, str]] = []

    def make(name: str) -> dict[str, str]:
        made.append({"name": name})
        return made[-1]

    yield make
    for order in made:
        order.clear()


@pytest.fixture
def make_basket(request: pytest.FixtureRequest) -> Make:
    def make(name: str) -> dict[str, str]:
        basket = {"name": name}
        request.addfinalizer(basket.clear)
        return basket

    return make


def test_a_factory_is_called_several_times(make_customer: Make) -> None:
    assert make_customer("Lisa") != make_customer("Mike")


def test_a_factory_takes_away_what_it_made(make_order: Make) -> None:
    assert [make_order("tea"), make_order("mug")] == [{"name": "tea"}, {"name": "mug"}]


def test_a_factory_adds_a_finalizer_for_each_that_it_makes(make_basket: Make) -> None:
    assert make_basket("tea") != make_basket("mug")
