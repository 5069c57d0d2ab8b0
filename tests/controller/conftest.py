"""A ledger, and a module that cannot be collected."""

from __future__ import annotations

import pytest
from harness.ledgers import Kept, heard


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def broken_module(tmp_path_factory: pytest.TempPathFactory) -> pytest.CollectReport:
    """What pytest says of a module that cannot be collected."""
    (found,) = heard(tmp_path_factory.mktemp("broken"), test_broken="import no_such_module").not_collected
    return found
