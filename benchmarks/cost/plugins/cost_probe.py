"""Notes what a process of pytest took: a line in the directory COST_PROBE. Loaded by every session alike."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Be asked last at the end: clean-ups run in reverse, after every plugin's unconfigure."""
    role = "worker" if hasattr(config, "workerinput") else "controller"
    config.add_cleanup(lambda: _note(role))


def _note(role: str) -> None:
    times = os.times()
    with open(os.path.join(os.environ["COST_PROBE"], str(os.getpid())), "w") as file:
        print(role, times.user + times.system, _peak(), file=file)


def _peak() -> int:
    """Give the peak of resident memory in KiB: ru_maxrss would count what the parent had when it forked, too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
