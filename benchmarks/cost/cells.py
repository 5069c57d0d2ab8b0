"""What is run, and what one session of it took."""

from __future__ import annotations

from dataclasses import dataclass, field

from .suites import Suite


@dataclass(frozen=True, slots=True)
class Cell:
    """What is run: which suite, in how many workers; 0 is one process, with xdist installed and not asked for."""

    suite: Suite
    workers: int = 0

    def __str__(self) -> str:
        return f"{self.suite}, {mode(self.workers)}"


@dataclass(frozen=True, slots=True)
class Process:
    """What one process took: seconds of CPU, MiB of memory at its peak, seconds from the last test to the end."""

    cpu: float
    memory: float
    ending: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One session. `wall` and `cpu` are seconds, from start to exit, of all its processes."""

    wall: float
    cpu: float
    controller: Process
    workers: tuple[Process, ...] = ()
    seen: dict[str, int] = field(default_factory=dict)


def mode(workers: int) -> str:
    """Name a number of workers."""
    return f"-n {workers}" if workers else "one process"
