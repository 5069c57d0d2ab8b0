"""A folder's conftest.py overrides."""

from __future__ import annotations


def test_the_folder_overrides(username: str) -> None:
    assert username == "folder"


def test_the_folder_overrides_a_plugin_and_requests_it(to_be_overridden: str) -> None:
    assert to_be_overridden == "folder-plugin"
