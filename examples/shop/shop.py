"""A small shop: catalogue, cart, prices, checkout, accounts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

CENT = Decimal("0.01")
VAT_PERCENT = {"AT": 20, "DE": 19, "FR": 20}


class ShopError(Exception):
    """Something that the customer is told."""


class UnknownProductError(ShopError):
    """There is no product with this number."""


class OutOfStockError(ShopError):
    """There are fewer pieces than were asked for."""


class PaymentDeclinedError(ShopError):
    """The bank said no."""


class AccountError(ShopError):
    """An account cannot be opened or used."""


@dataclass(frozen=True)
class Product:
    """What the shop sells."""

    sku: str
    name: str
    price: Decimal
    stock: int = 10


class Catalogue:
    """All products, by number."""

    def __init__(self, products: Iterable[Product]) -> None:
        self._products = {product.sku: product for product in products}

    def __len__(self) -> int:
        return len(self._products)

    def get(self, sku: str) -> Product:
        """Give the product with this number."""
        try:
            return self._products[sku]
        except KeyError:
            raise UnknownProductError(f"no product {sku}") from None

    def search(self, text: str) -> list[Product]:
        """Give the products whose name contains `text`, in any case."""
        return [product for product in self._products.values() if text.casefold() in product.name.casefold()]

    def as_csv(self) -> str:
        """Give the price list."""
        rows = [f"{product.sku},{product.name},{product.price}" for product in self._products.values()]
        return "\n".join(["sku,name,price", *rows, ""])


class Cart:
    """What a customer is about to buy."""

    def __init__(self) -> None:
        self.quantities: dict[Product, int] = {}

    def __len__(self) -> int:
        return sum(self.quantities.values())

    def add(self, product: Product, quantity: int = 1) -> None:
        """Put pieces of a product into the cart."""
        wanted = self.quantities.get(product, 0) + quantity
        if wanted > product.stock:
            raise OutOfStockError(f"{product.name}: {wanted} wanted, {product.stock} in stock")
        self.quantities[product] = wanted

    def remove(self, product: Product) -> None:
        """Take a product out of the cart."""
        del self.quantities[product]

    @property
    def total(self) -> Decimal:
        """The price of all pieces."""
        return sum((product.price * quantity for product, quantity in self.quantities.items()), Decimal("0.00"))


def discounted(price: Decimal, percent: int) -> Decimal:
    """Take a discount off a price."""
    return (price * (100 - percent) / 100).quantize(CENT)


def bulk_discount(quantity: int) -> int:
    """Give the discount in percent for so many pieces of one product."""
    return 10 if quantity >= 10 else 5 if quantity >= 5 else 0


def with_vat(net: Decimal, country: str) -> Decimal:
    """Add a country's value added tax to a net price."""
    return (net * (100 + VAT_PERCENT[country]) / 100).quantize(CENT, ROUND_HALF_UP)


def converted(price: Decimal, currency: str) -> Decimal:
    """Give a price in another currency."""
    raise NotImplementedError(f"no exchange rate for {currency} on {price}")


def coupon_percent(code: str) -> int:
    """Give the discount that a coupon such as ``SPRING-20`` stands for."""
    return int(code.rpartition("-")[2])


class PaymentStub:
    """Stands for the payment service; knows one card that is always declined."""

    DECLINED_CARD = "4000 0000 0000 0002"

    def __init__(self) -> None:
        self.is_open = True
        self.charged: list[Decimal] = []

    def charge(self, card: str, amount: Decimal) -> None:
        """Take the money."""
        if card == self.DECLINED_CARD:
            raise PaymentDeclinedError(f"card ending in {card[-4:]} was declined")
        self.charged.append(amount)

    def close(self) -> None:
        """Hang up."""
        self.is_open = False


@dataclass(frozen=True)
class Order:
    """A cart that was paid."""

    number: int
    quantities: dict[Product, int]
    total: Decimal

    def write_receipt(self, folder: Path) -> Path:
        """Write the receipt into a file and give its path."""
        rows = [f"{quantity} x {product.name}" for product, quantity in self.quantities.items()]
        path = folder / f"receipt-{self.number}.txt"
        path.write_text("\n".join([f"Order {self.number}", *rows, f"Total {self.total}", ""]), encoding="utf-8")
        return path


def checkout(cart: Cart, payment: PaymentStub, card: str, number: int = 1) -> Order:
    """Pay for a cart and empty it."""
    payment.charge(card, cart.total)
    order = Order(number, dict(cart.quantities), cart.total)
    cart.quantities.clear()
    return order


def delivery_days(*, express: bool) -> int:
    """Say how long a parcel takes."""
    return 3 if express else 5


@dataclass
class Account:
    """A customer; a point for each full euro spent."""

    email: str
    password_digest: str
    points: int = 0

    def collect(self, amount: Decimal) -> None:
        """Collect the points for a purchase."""
        self.points += int(amount)


@dataclass
class Accounts:
    """All customers, by e-mail address."""

    by_email: dict[str, Account] = field(default_factory=dict)

    def register(self, email: str, password: str) -> Account:
        """Open an account."""
        if email in self.by_email:
            raise AccountError(f"{email} has an account already")
        account = self.by_email[email] = Account(email, _digest(password))
        return account

    def login(self, email: str, password: str) -> Account:
        """Give the account if the password is right."""
        account = self.by_email.get(email)
        if account is None or account.password_digest != _digest(password):
            raise AccountError("wrong e-mail address or password")
        return account


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
