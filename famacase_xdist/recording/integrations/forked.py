"""pytest-forked: a test runs in a forked child, of which only pytest's own reports come back."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest


def is_loaded(config: pytest.Config) -> bool:
    """Return whether pytest-forked is there."""
    return hasattr(config.option, "forked")


class Forked:
    """Describes tests before they are forked, because in the child the recorder's sink does nothing.

    The ledger makes their results of the description and of the reports.

    Args:
        describe: Sends the description of a test.
    """

    def __init__(self, describe: Callable[[pytest.Item], None]) -> None:
        self._describe = describe

    # A wrapper, so that it comes before pytest-forked's own hook, which runs the test.
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Describe a test that will be forked."""
        if item.config.option.forked or item.get_closest_marker("forked"):
            self._describe(item)
        return (yield)
