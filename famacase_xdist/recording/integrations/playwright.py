"""Playwright's artifacts: the videos, traces and screenshots that pytest-playwright keeps of a test are attached."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from famacase_xdist.recording.guard import Guard
from famacase_xdist.recording.runtime import StepRuntime

#: The options for the kinds of artifacts, each with the pattern of its files.
_KINDS = {"video": "video*.webm", "tracing": "trace*.zip", "screenshot": "test-*.png"}


def are_made(config: pytest.Config) -> bool:
    """Return whether pytest-playwright is there and was asked for any artifact."""
    return any(getattr(config.option, option, "off") != "off" for option in _KINDS)


class Artifacts:
    """Attaches files at the end of each test, when pytest-playwright has decided which ones to keep.

    Args:
        config: pytest's config, of the process that runs the tests.
        runtime: Has the running result.
        attach: Attaches the file at a path to the running result.
        guard: Keeps our own errors from the test.
    """

    def __init__(
        self, config: pytest.Config, runtime: StepRuntime, attach: Callable[[str], None], guard: Guard
    ) -> None:
        self._patterns = [pattern for option, pattern in _KINDS.items() if config.getoption(option, "off") != "off"]
        self._runtime = runtime
        self._attach = attach
        self._guard = guard
        self._seen: set[tuple[Path, int]] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the files of a test after its teardown. pytest-playwright's own wrapper is inside this one."""
        report = yield
        if call.when == "teardown" and self._runtime.result is not None:
            with self._guard:
                for path in self._kept(item):
                    self._attach(str(path))
        return report

    def _kept(self, item: pytest.Item) -> Iterator[Path]:
        """Yield the files of this attempt; an earlier attempt may have had the same directory."""
        values = getattr(item, "funcargs", None) or {}
        if "playwright" not in values or "output_path" not in values:
            return
        for pattern in self._patterns:
            for path in sorted(Path(values["output_path"]).glob(pattern)):
                version = (path, path.stat().st_mtime_ns)
                if version not in self._seen:
                    self._seen.add(version)
                    yield path
