"""Which tests start processes: those that do carry the marker `process`, and the others are made to fail if they do.

`tox -e quick` leaves the marked ones out, because a process costs more time than most tests.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

#: What Python audits before it starts a process or becomes another program.
_EVENTS = frozenset(
    ("subprocess.Popen", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "os.exec", "pty.spawn")
)


class _Watch:
    """Notes the processes that this one starts while it is on."""

    def __init__(self) -> None:
        self.is_on = False
        self.started: list[str] = []
        # An audit hook stays until the process ends, so that there is one, which is switched on and off.
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        # An exception raised here could be caught by the code under test, so that the watcher fails the test later.
        if self.is_on and event in _EVENTS:
            self.started.append(f"{event}({', '.join(map(repr, args[:2]))})")


_watch = _Watch()


def watched(item: pytest.Item) -> Generator[None, object, object]:
    """Surround one phase of a test: it fails if it starts a process and the test does not carry the marker."""
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
