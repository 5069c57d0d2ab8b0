"""Accounts: a factory, a param that is known only while the test runs, a unittest class."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from decimal import Decimal

import pytest
from qase.pytest import qase
from shop import Account, AccountError, Accounts


@qase.suite("Shop.Accounts")
@qase.title("A customer opens an account and logs in")
def test_register(accounts: Accounts, make_account: Callable[..., Account]) -> None:
    """Show a param that is added while the test runs."""
    account = make_account("ada")
    qase.param("email", account.email)
    assert accounts.login("ada@example.com", "correct horse") is account


@qase.suite("Shop.Accounts")
@qase.title("One address, one account")
def test_address_is_taken(make_account: Callable[..., Account]) -> None:
    """Show a factory that is called twice."""
    make_account("ada")
    with pytest.raises(AccountError, match="has an account already"):
        make_account("ada")


class LoyaltyPointsTest(unittest.TestCase):
    """Tests in the style of unittest are reported too."""

    def setUp(self) -> None:
        """Open an account."""
        self.account = Accounts().register("grace@example.com", "correct horse")

    @qase.title("A point for each full euro")
    def test_full_euros(self) -> None:
        """Show a title on a method of a TestCase."""
        self.account.collect(Decimal("18.90"))
        assert self.account.points == 18

    def test_points_add_up(self) -> None:
        """Show what is reported without any decorator: the name of the method."""
        with qase.step("Buy twice"):
            self.account.collect(Decimal("4.50"))
            self.account.collect(Decimal("4.50"))
        assert self.account.points == 8
