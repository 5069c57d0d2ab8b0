"""What is wanted of us, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil

from . import measures
from .cells import Cell, mode
from .contestants import IDLE, IMPORTED, INSTALLED, JUNIT, OURS, OURS_FAR
from .figures import MICRO, MILLI, ends, modes, plain, step
from .markdown import told
from .measures import Key, Results
from .suites import START

#: Results in a request, and the requests beside those with results.
BATCH, OTHERS = 200, 4


def targets(results: Results) -> list[list[str]]:
    """Return the table of targets; a number that was not measured is a dash."""
    each = modes(results)
    rows = [[name, wanted, *map(found, each)] for name, wanted, found in _targets(results)]
    return [["", "target", *map(mode, each)], *rows]


def _targets(results: Results) -> Iterator[tuple[str, str, Callable[[int], str]]]:
    """Yield name, target, and what gives the figure for a number of workers."""
    yield (
        "a test's cost to `--junitxml`'s, wall",
        "at most 1",
        lambda n: _to_junit(results, OURS.name, n, measures.wall),
    )
    yield "the same, CPU", "at most 1", lambda n: _to_junit(results, OURS.name, n, measures.cpu)
    yield "wall, 100 ms away", "at most 1.05", lambda n: _to_junit(results, OURS_FAR.name, n, measures.wall)
    yield "start-up beyond `import qase.pytest`, controller's CPU, ms", "at most 50", lambda n: _start(results, n)
    yield "the same, a worker's", "at most 50", lambda n: _start(results, n, measures.worker_cpu) if n else told(None)
    yield "start-up while inactive, CPU, ms", "at most 5", lambda n: _inactive(results, n)
    yield "a step, wall, µs", "at most 30", lambda n: told(step(results, OURS.name, n, measures.wall), scale=MICRO)
    yield "requests, largest suite", f"ceil(N/{BATCH}) + {OTHERS}", lambda n: _requests(results, n)
    yield "what 100 ms away adds from the last test to the end, ms", "2 round trips", lambda n: _ending(results, n)
    yield (
        "growth of the controller, smallest to largest suite, beyond bare's, MiB",
        "at most 5",
        lambda n: _growth(results, n),
    )


def _to_junit(results: Results, name: str, workers: int, key: Key) -> str:
    pair = ends(results, name, workers)
    return told(pair and results.cost_ratio(name, JUNIT.name, *pair, key), ".2f")


def _start(results: Results, workers: int, key: Key = measures.controller_cpu) -> str:
    return told(results.excess(OURS.name, Cell(START, workers), key, IMPORTED.name), scale=MILLI)


def _inactive(results: Results, workers: int) -> str:
    cpu = results.excess(IDLE.name, Cell(START, workers), measures.cpu, INSTALLED.name)
    return told(cpu, scale=MILLI)


def _requests(results: Results, workers: int) -> str:
    cells = plain(results, OURS.name, workers)
    if not cells:
        return told(None)
    count = results.middle(OURS.name, cells[-1], measures.requests)
    return f"{told(count)} of {ceil(cells[-1].suite.tests / BATCH) + OTHERS}"


def _ending(results: Results, workers: int) -> str:
    cells = plain(results, OURS_FAR.name, workers)
    return told(results.excess(OURS_FAR.name, cells[-1], measures.ending, OURS.name) if cells else None, scale=MILLI)


def _growth(results: Results, workers: int) -> str:
    pair = ends(results, OURS.name, workers)
    if pair is None:
        return told(None)
    grown = results.excess_slope(OURS.name, *pair, measures.controller_memory)
    return told(grown and grown * (pair[1].suite.tests - pair[0].suite.tests), ".1f")
