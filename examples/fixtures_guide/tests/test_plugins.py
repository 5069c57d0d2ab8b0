"""Fixtures of plugins: of one that conftest.py names, and of an installed one (pytest-xdist's)."""

from __future__ import annotations


def test_a_fixture_of_pytest_plugins(of_plugin: str) -> None:
    assert of_plugin == "plugin"


def test_a_fixture_of_an_installed_plugin(worker_id: str) -> None:
    assert worker_id


def test_the_plugin_is_overridden_only_in_its_folder(to_be_overridden: str) -> None:
    assert to_be_overridden == "plugin"
