"""Notes what a process of pytest took: a line in the directory COST_PROBE. Loaded by every session alike."""

from __future__ import annotations

import os
import time

import pytest

_last = 0.0


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Be asked last at the end: clean-ups run in reverse, after every plugin's unconfigure."""
    role = "worker" if hasattr(config, "workerinput") else "controller"
    config.add_cleanup(lambda: _note(role))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    """Remember when a test ended; the controller hears of all."""
    global _last
    _last = time.perf_counter()


def _note(role: str) -> None:
    times = os.times()
    ending = time.perf_counter() - _last
    with open(os.path.join(os.environ["COST_PROBE"], str(os.getpid())), "w") as file:
        print(role, times.user + times.system, _peak(), ending, file=file)


def _peak() -> int:
    """Return the peak of resident memory in KiB: ru_maxrss would count what the parent had when it forked, too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
