"""A ledger, and a module that cannot be collected."""

from __future__ import annotations

import pytest
from harness.books import Books, heard


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture(scope="session")
def broken_module(tmp_path_factory: pytest.TempPathFactory) -> pytest.CollectReport:
    """Return what pytest says of a module that cannot be collected.

    Once for the process: a module that failed stays in `sys.modules`, and pytest takes it from there the second time.
    """
    (found,) = heard(tmp_path_factory.mktemp("broken"), test_broken="import no_such_module").not_collected
    return found
