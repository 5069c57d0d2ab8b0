"""A plugin for suites that counts what a process does, and writes the counts to a file at the end.

A test can compare counts with fixed numbers, because they do not depend on how fast a machine is.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: The environment variable with the directory for the files.
DIRECTORY = "COUNTS"

_counts: Counter[str] = Counter()
_modules: set[str] = set()


def _count_processes(event: str, args: tuple[Any, ...]) -> None:
    if event in ("subprocess.Popen", "os.posix_spawn", "os.system", "os.fork", "os.exec"):
        _counts["processes"] += 1


def _counted(owner: Any, name: str, count: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        count(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, call)


def _count_look_up(*args: Any, **kwargs: Any) -> None:
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("_pytest", __name__)):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is not None and frame.f_globals.get("__name__", "").startswith("famacase_xdist"):
        _counts["marker look-ups"] += 1


def _count_frame(sink: Any, frame: Any) -> None:
    _counts["frames"] += 1
    _counts["bytes"] += len(frame.encoded)


sys.addaudithook(_count_processes)
_counted(pytest.Item, "iter_markers_with_node", _count_look_up)


def pytest_sessionstart() -> None:
    """Wrap the functions of modules that are loaded by now; a module that is loaded later is not counted."""
    for module, owner, name in (
        ("famacase_xdist.results.sinks", "ChannelSink", "send"),
        ("famacase_xdist.state.journal", "Journal", "_write"),
    ):
        if module in sys.modules:
            count = _count_frame if name == "send" else lambda *args: _counts.update(appends=1)
            _counted(getattr(sys.modules[module], owner), name, count)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the counts, and the names of the loaded modules."""
    worker = getattr(config, "workerinput", {}).get("workerid", "main")
    told = {**_counts, "modules": sorted(sys.modules)}
    Path(os.environ[DIRECTORY], f"{worker}.json").write_text(json.dumps(told), encoding="utf-8")
