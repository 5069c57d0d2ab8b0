"""Autouse fixtures: nobody requests them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def opened(log: list[str]) -> Iterator[None]:
    log.append("opened")
    yield
    log.clear()


@pytest.fixture(scope="module", autouse=True)
def module_is_ready() -> Iterator[None]:
    yield


def test_an_autouse_fixture_runs_before(log: list[str]) -> None:
    assert log == ["opened"]


def test_an_autouse_fixture_runs_for_a_test_without_arguments() -> None:
    assert True


class TestInAClass:
    @pytest.fixture(autouse=True)
    def opened_by_the_class(self, log: list[str]) -> None:
        log.append("class")

    def test_the_autouse_fixture_of_a_class_comes_after(self, log: list[str]) -> None:
        assert log == ["opened", "class"]
