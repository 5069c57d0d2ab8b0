"""The catalogue: ids, titles, suites, fields, params, an attachment."""

from __future__ import annotations

import pytest
from qase.pytest import qase
from shop import Catalogue, UnknownProductError


@pytest.mark.smoke
@qase.id(101)
@qase.title("A product is found by its number")
@qase.suite("Shop.Catalogue.Numbers")
@qase.author("Maya Lind")
@qase.severity("critical")
@qase.priority("high")
@qase.layer("unit")
@qase.tags("smoke", "catalogue")
@qase.fields(("component", "catalogue"), ("release", "2026.1"))
def test_product_by_number(catalogue: Catalogue) -> None:
    """Show the decorators that describe a test."""
    assert catalogue.get("T-1").name == "Black tea"


@qase.id([102, 103])
@qase.suite("Shop.Catalogue.Numbers")
@qase.title("An unknown number is an error")
def test_unknown_number(catalogue: Catalogue) -> None:
    """Show one test that stands for two cases."""
    with pytest.raises(UnknownProductError, match="no product X-9"):
        catalogue.get("X-9")


@qase.suite("Shop.Catalogue.Search")
@qase.title("Search by a part of the name")
@pytest.mark.parametrize(("text", "found"), [("mug", 1), ("TEA", 2), ("bicycle", 0)])
def test_search(catalogue: Catalogue, text: str, found: int) -> None:
    """Show params that belong together: they are reported as one group."""
    assert len(catalogue.search(text)) == found


@qase.suite("Shop.Catalogue.Search")
@qase.title("Suche nach „Grüner Tee“ und 緑茶")
@pytest.mark.parametrize("name", ["grüner tee", "緑茶"])
def test_search_in_other_languages(catalogue: Catalogue, name: str) -> None:
    """Show a title and params that are not ASCII."""
    assert len(catalogue.search(name)) == 1


@qase.title("The price list has a row for each product")
def test_price_list(catalogue: Catalogue) -> None:
    """Show bytes as an attachment; without a suite, the path of the file is the suite."""
    price_list = catalogue.as_csv()
    qase.attach((price_list.encode(), "text/csv", "price-list.csv"))
    assert len(price_list.splitlines()) == len(catalogue) + 1
