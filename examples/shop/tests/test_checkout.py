"""The checkout: steps as functions, attachments of each kind, and most of what can go wrong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from qase.pytest import qase
from shop import (
    Cart,
    Catalogue,
    Order,
    PaymentDeclinedError,
    PaymentStub,
    checkout,
    coupon_percent,
    delivery_days,
    discounted,
)

pytestmark = [qase.suite("Shop.Checkout"), qase.tags("checkout")]

GOOD_CARD = "4111 1111 1111 1111"


@pytest.fixture
def full_cart(cart: Cart, catalogue: Catalogue) -> Cart:
    """Give a cart with three products in it."""
    cart.add(catalogue.get("T-1"), 2)
    cart.add(catalogue.get("M-1"))
    return cart


@qase.step("Pay by card", expected="The card is charged")
def pay(cart: Cart, payment: PaymentStub) -> Order:
    """Check out; a function can be a step."""
    with qase.step("Note what is paid"):
        qase.attach((f"{cart.total} from {GOOD_CARD}", "text/plain", "payment.txt"))
    return checkout(cart, payment, GOOD_CARD, number=17)


@pytest.mark.smoke
@qase.id(401)
@qase.title("A cart becomes a paid order")
@qase.layer("api")
@qase.tags("smoke")
def test_paid_order(full_cart: Cart, payment: PaymentStub) -> None:
    """Show a step that is a function, with a step and a text attachment in it."""
    order = pay(full_cart, payment)
    with qase.step("Check what was charged", expected="18.90"):
        assert order.total == Decimal("18.90")
        assert payment.charged == [order.total]
    with qase.step("Check that the cart is empty"):
        assert len(full_cart) == 0


@qase.title("The receipt lists the products")
def test_receipt(full_cart: Cart, payment: PaymentStub, tmp_path: Path) -> None:
    """Show files as attachments: with a media type in a step, by path alone in the test."""
    order = pay(full_cart, payment)
    with qase.step("Write the receipt"):
        receipt = order.write_receipt(tmp_path)
        qase.attach((str(receipt), "text/plain"))
    copy = tmp_path / "receipt-copy.txt"
    copy.write_bytes(receipt.read_bytes())
    qase.attach(str(copy))
    assert "2 x Black tea" in copy.read_text(encoding="utf-8")


@qase.title("A declined card buys nothing")
def test_declined_card(full_cart: Cart, payment: PaymentStub) -> None:
    """Show a step that passes because the exception in it is expected."""
    with (
        qase.step("Pay with a declined card", expected="The cart stays as it is"),
        pytest.raises(PaymentDeclinedError, match="ending in 0002"),
    ):
        checkout(full_cart, payment, PaymentStub.DECLINED_CARD)
    assert len(full_cart) == 3
    assert payment.charged == []


@qase.title("A coupon lowers the total")
def test_coupon(full_cart: Cart) -> None:
    """End on purpose with a ValueError in a step: the shop cannot read "20%". Reported as invalid."""
    with qase.step("Read the coupon"), qase.step("Take the number from SPRING-20%"):
        percent = coupon_percent("SPRING-20%")
    with qase.step("Lower the total"):
        assert discounted(full_cart.total, percent) == Decimal("15.12")


@pytest.mark.usefixtures("warehouse")
@qase.title("The warehouse packs the order")
def test_packed_order() -> None:
    """Break on purpose in set-up: the fixture raises, the test does not run. Reported as invalid."""


@qase.muted()
@qase.title("Express parcels come the next day")
def test_express_delivery() -> None:
    """Fail on purpose, but muted: the defect is known. Reported as blocked."""
    assert delivery_days(express=True) == 1


@qase.ignore()
@qase.title("Notes of a developer")
def test_standard_delivery() -> None:
    """Run like any other test, but never reported."""
    assert delivery_days(express=False) == 5
