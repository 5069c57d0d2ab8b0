"""The cart: a class with a suite of its own, steps, a skipped test."""

from __future__ import annotations

from decimal import Decimal

import pytest
from qase.pytest import qase
from shop import Cart, Catalogue, OutOfStockError


@qase.suite("Shop.Cart")
@qase.layer("unit")
class TestCart:
    """The decorators of the class hold for each of its tests."""

    @qase.id(201)
    @qase.title("A new cart is empty")
    def test_new_cart(self, cart: Cart) -> None:
        """Show a test that takes suite and layer from its class."""
        assert len(cart) == 0
        assert cart.total == Decimal("0.00")

    @qase.title("Products add up")
    def test_add_products(self, cart: Cart, catalogue: Catalogue) -> None:
        """Show steps within steps, with what is expected of them."""
        with qase.step("Fill the cart", expected="Two products are in the cart"):
            with qase.step("Add black tea"):
                cart.add(catalogue.get("T-1"))
            with qase.step("Add a mug"):
                cart.add(catalogue.get("M-1"))
            assert len(cart) == 2
        with qase.step("Look at the total", expected="14.40"):
            assert cart.total == Decimal("14.40")

    @qase.title("The price of several pieces")
    @pytest.mark.parametrize("quantity", [2, 10])
    def test_quantity(self, cart: Cart, catalogue: Catalogue, quantity: int) -> None:
        """Show a single param."""
        cart.add(catalogue.get("T-1"), quantity)
        assert cart.total == quantity * Decimal("4.50")

    @qase.title("A removed product costs nothing")
    def test_remove(self, cart: Cart, catalogue: Catalogue) -> None:
        """Show a test with nothing special about it."""
        cart.add(catalogue.get("M-1"))
        cart.remove(catalogue.get("M-1"))
        assert cart.total == Decimal("0.00")

    @qase.title("No more pieces than there are in stock")
    @qase.description("The shop does not take orders for what it cannot deliver at once.")
    @qase.preconditions("Two packets of Sencha are in stock")
    @qase.postconditions("The cart is as it was")
    def test_out_of_stock(self, cart: Cart, catalogue: Catalogue) -> None:
        """Show the longer texts that a case has."""
        with pytest.raises(OutOfStockError, match="3 wanted, 2 in stock"):
            cart.add(catalogue.get("T-3"), 3)
        assert len(cart) == 0

    @qase.suite("Shop.Gift cards")
    @pytest.mark.skip(reason="SHOP-12: gift cards are not sold yet")
    def test_gift_card(self, cart: Cart, catalogue: Catalogue) -> None:
        """Skipped on purpose; its own suite wins over that of the class."""
        cart.add(catalogue.get("GIFT-50"))
