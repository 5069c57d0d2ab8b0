"""The status that the installed qase-pytest gives a test: upstream's own code, run on a result that is dropped.

Versions differ (8.3: a call that raised anything but an AssertionError is invalid; 9.0: it is failed, and a failed
teardown counts), so none of their rules is repeated here.
"""

from __future__ import annotations

import pluggy
import pytest
from qase.commons.models.result import Result
from qase.pytest.plugin import QasePytestPlugin


class UpstreamPolicy:
    """The status of one attempt, as upstream's plugin sets it phase by phase."""

    def __init__(self, reporter: object) -> None:
        self._given = _Given()
        self._upstream = QasePytestPlugin(reporter)
        self._upstream.ignore = False
        # Upstream's hook is a wrapper, of the old kind or of the new one; pluggy can run both.
        hooks = pluggy.PluginManager("pytest")
        hooks.add_hookspecs(_Specification)
        hooks.register(self._given)
        hooks.register(self._upstream)
        self._hook = hooks.hook

    def begin(self) -> None:
        """Begin an attempt."""
        self._upstream.runtime.clear()
        self._upstream.runtime.result = Result(title="", signature="")

    def add(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Let upstream take one report into account."""
        self._given.report = report
        try:
            self._hook.pytest_runtest_makereport(item=item, call=call)
        finally:
            self._given.report = None

    @property
    def status(self) -> str | None:
        """Upstream's status so far; None if there is none, or if it is not text."""
        status = self._upstream.runtime.result.execution.status
        return status if isinstance(status, str) else None


class _Specification:
    @pluggy.HookspecMarker("pytest")(firstresult=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport | None:
        """Return a report, as pytest's own hook does."""


class _Given:
    """Takes the place of pytest, which makes the report that upstream's hook waits for."""

    report: pytest.TestReport | None = None

    @pytest.hookimpl
    def pytest_runtest_makereport(self) -> pytest.TestReport | None:
        """Return the given report."""
        return self.report
