"""Modular fixtures, and how pytest groups tests by fixture instance: the order is pytest's or xdist's to choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


class App:
    def __init__(self, connection: str) -> None:
        self.connection = connection


@pytest.fixture(scope="module", params=["smtp.example.com", "mail.example.org"])
def smtp_connection(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.fixture(scope="module")
def app(smtp_connection: str) -> Iterator[App]:
    yield App(smtp_connection)


@pytest.fixture(params=[1, 2])
def otherarg(request: pytest.FixtureRequest) -> Iterator[int]:
    yield request.param


def test_a_modular_fixture(app: App) -> None:
    assert app.connection


def test_a_modular_fixture_is_shared(app: App, smtp_connection: str) -> None:
    assert app.connection == smtp_connection


def test_with_otherarg(otherarg: int) -> None:
    assert otherarg in (1, 2)


def test_with_both(smtp_connection: str, otherarg: int) -> None:
    assert smtp_connection
