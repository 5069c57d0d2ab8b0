"""Suites that pytest collects or runs in the process of a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class _Collector:
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def collected(directory: Path, *args: str) -> list[pytest.Item]:
    """Collect a directory in this process, without the plugins that change items or report them."""
    (directory / "pytest.ini").write_text("[pytest]\n")
    collector = _Collector()
    absent = (
        "famacase_xdist.plugin",
        "qase_pytest",
        "xdist",
        "rerunfailures",
        "timeout",
        "cacheprovider",
        "faulthandler",
        "asyncio",
        "playwright",
        "pytest-bdd",
        "randomly",
        "repeat",
    )
    without = [arg for name in absent for arg in ("-p", f"no:{name}")]
    status = pytest.main(["--collect-only", "-q", "-W", "ignore", *without, *args, str(directory)], plugins=[collector])
    assert status == 0
    return collector.items


@contextmanager
def modules_forgotten(directory: Path) -> Iterator[None]:
    """Take the modules of a directory out of `sys.modules` at the end of the block.

    With `--import-mode=importlib` pytest takes a module that is in `sys.modules` by its name alone. The next suite that
    has a file of the same name would run the tests of this one, and a module that failed would have no error.
    """
    try:
        yield
    finally:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and Path(file).is_relative_to(directory):
                del sys.modules[name]
