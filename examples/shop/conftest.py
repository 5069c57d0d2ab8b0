"""Fixtures of the shop's tests: of each scope, with teardown, parametrized, and a factory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from shop import Account, Accounts, Cart, Catalogue, PaymentStub, Product


@pytest.fixture(scope="session")
def products() -> tuple[Product, ...]:
    """Give the products; they are the same for all tests of a session."""
    return (
        Product("T-1", "Black tea", Decimal("4.50")),
        Product("T-2", "Grüner Tee", Decimal("5.20")),
        Product("T-3", "緑茶 Sencha", Decimal("12.00"), stock=2),
        Product("M-1", "Tea mug", Decimal("9.90")),
    )


@pytest.fixture(scope="module")
def catalogue(products: tuple[Product, ...]) -> Catalogue:
    """Give the catalogue; no test changes it, so a module shares one."""
    return Catalogue(products)


@pytest.fixture
def cart() -> Cart:
    """Give an empty cart."""
    return Cart()


@pytest.fixture
def payment() -> Iterator[PaymentStub]:
    """Give a connection to the payment service, and close it after the test."""
    stub = PaymentStub()
    yield stub
    stub.close()


@pytest.fixture(params=["AT", "DE", "FR"])
def country(request: pytest.FixtureRequest) -> str:
    """Run the test once for each country that the shop delivers to."""
    return request.param


@pytest.fixture
def accounts() -> Accounts:
    """Give an empty register of accounts."""
    return Accounts()


@pytest.fixture
def make_account(accounts: Accounts) -> Callable[..., Account]:
    """Give a function that opens accounts."""

    def make(name: str, password: str = "correct horse") -> Account:
        return accounts.register(f"{name}@example.com", password)

    return make


@pytest.fixture
def warehouse() -> None:
    """Fail on purpose: shows how an error in set-up is reported."""
    raise ConnectionError("warehouse.example.com does not answer")
