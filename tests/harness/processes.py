"""A watch on tests that start processes: such a test fails unless it carries the marker `process`.

`tox -e quick` leaves out the tests with the marker, because a process costs more time than most tests.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

#: The audit events that Python raises before it starts a process, or replaces this one by another program.
_EVENTS = frozenset(
    ("subprocess.Popen", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "os.exec", "pty.spawn")
)


class _Watch:
    """Notes the processes that this process starts while the watch is on."""

    def __init__(self) -> None:
        self.is_on = False
        self.started: list[str] = []
        # An audit hook cannot be removed, so that there is one for all tests, which is switched on and off.
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        # The code under test could catch an exception that is raised here, so that the phase fails at its end.
        if self.is_on and event in _EVENTS:
            self.started.append(f"{event}({', '.join(map(repr, args[:2]))})")


_watch = _Watch()


def watched(item: pytest.Item) -> Generator[None, object, object]:
    """Surround one phase of a test. The phase fails if it starts a process and the test does not carry the marker.

    A fixture of a file is set up in the first test that asks for it, so that only this test fails for its process.
    """
    is_unmarked = item.get_closest_marker("process") is None
    _watch.started.clear()
    _watch.is_on = is_unmarked
    try:
        result = yield
    finally:
        _watch.is_on = False
    if is_unmarked and _watch.started:
        pytest.fail(
            f"this test starts a process and does not carry the marker `process`: {'; '.join(_watch.started)}",
            pytrace=False,
        )
    return result
