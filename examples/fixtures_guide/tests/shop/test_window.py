"""The other module, and an override that requests what it overrides."""

from __future__ import annotations


def test_package_scope_in_another_module(stock: dict[str, int]) -> None:
    assert stock["tea"] == 3


def test_folder_overrides_conftest_and_requests_it(username: str) -> None:
    assert username == "shop-root"
