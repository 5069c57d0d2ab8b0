"""A plugin that conftest.py names in `pytest_plugins`."""

from __future__ import annotations

import pytest


@pytest.fixture
def of_plugin() -> str:
    return "plugin"


@pytest.fixture
def to_be_overridden() -> str:
    return "plugin"
