"""A package in a package: the outer one's fixture lives on."""

from __future__ import annotations


def test_package_scope_holds_in_a_subpackage(stock: dict[str, int]) -> None:
    assert stock["tea"] == 3
