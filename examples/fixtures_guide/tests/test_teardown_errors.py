"""Teardown that fails: on purpose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def leaking() -> Iterator[None]:
    yield
    raise OSError("cannot close")


@pytest.fixture
def leaking_too() -> Iterator[None]:
    yield
    raise ValueError("still open")


@pytest.fixture
def leaking_twice(request: pytest.FixtureRequest) -> None:
    def first() -> None:
        raise KeyError("first")

    def second() -> None:
        raise KeyError("second")

    request.addfinalizer(first)
    request.addfinalizer(second)


@pytest.fixture
def clean() -> Iterator[None]:
    yield


@pytest.fixture
def leaking_assert() -> Iterator[None]:
    yield
    assert not "file", "a file is left"


@pytest.fixture
def yields_twice() -> Iterator[int]:
    yield 1
    yield 2


def test_passes_then_teardown_fails(leaking: None) -> None:
    assert True


def test_fails_then_teardown_fails(leaking: None) -> None:
    assert not "ready", "first"


def test_skips_then_teardown_fails(leaking: None) -> None:
    pytest.skip("not today")


def test_teardown_of_two_fixtures_fails(leaking: None, clean: None, leaking_too: None) -> None:
    assert True


def test_two_finalizers_of_one_fixture_fail(leaking_twice: None) -> None:
    assert True


def test_teardown_asserts(leaking_assert: None) -> None:
    assert True


def test_a_generator_yields_twice(yields_twice: int) -> None:
    assert yields_twice == 1


@pytest.fixture(scope="class")
def leaking_class() -> Iterator[None]:
    yield
    raise OSError("the class leaks")


class TestWithALeakingClassFixture:
    def test_one_that_shares_it(self, leaking_class: None) -> None:
        assert True

    def test_another_that_shares_it(self, leaking_class: None) -> None:
        assert True
