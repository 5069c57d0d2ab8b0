"""One of the modules that share a fixture of package scope."""

from __future__ import annotations


def test_package_scope_in_one_module(stock: dict[str, int]) -> None:
    assert stock["tea"] == 3


def test_package_scope_again(stock: dict[str, int]) -> None:
    assert stock["tea"] == 3
