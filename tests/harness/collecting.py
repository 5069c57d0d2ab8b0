"""Items as pytest really collects them, in the process of the test."""

from __future__ import annotations

from pathlib import Path

import pytest


class _Collector:
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = list(session.items)


def collected(directory: Path, *args: str) -> list[pytest.Item]:
    """Collect a directory in this process, with none of the plugins that change items or report them."""
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
