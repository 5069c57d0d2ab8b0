"""The figures that tables, targets and chart share."""

from __future__ import annotations

from .cells import Cell
from .measures import Key, Results
from .suites import START, Suite

MICRO, MILLI = 1e6, 1e3


def plain(results: Results, name: str, workers: int) -> list[Cell]:
    """Return a contestant's cells of trivial tests, by size; that of one test is the first."""
    found = {cell for cell in results.cells(name) if cell.workers == workers and cell.suite == Suite(cell.suite.tests)}
    return sorted(found & set(results.cells(results.base)), key=lambda cell: cell.suite.tests)


def ends(results: Results, name: str, workers: int) -> tuple[Cell, Cell] | None:
    """Return the two sizes between which a slope is taken; without that of one test if there are others."""
    cells = plain(results, name, workers)
    large = [cell for cell in cells if cell.suite != START]
    found = large if len(large) > 1 else cells
    return (found[0], found[-1]) if len(found) > 1 else None


def modes(results: Results) -> list[int]:
    """Return the numbers of workers that were run."""
    return sorted({cell.workers for cell in results.cells(results.base)})


def cost(results: Results, name: str, workers: int, key: Key) -> float | None:
    """Return the seconds that a test costs beyond bare pytest; of bare pytest, what it costs."""
    pair = ends(results, name, workers)
    if pair is None:
        return None
    return results.slope(name, *pair, key) if name == results.base else results.excess_slope(name, *pair, key)


def step(results: Results, name: str, workers: int, key: Key) -> float | None:
    """Return the seconds that a step costs."""
    cells = [cell for cell in results.cells(name) if cell.suite.steps and cell.workers == workers]
    without = ends(results, name, workers)
    if len(cells) < 2 or without is None:
        return None
    small, large = min(cells, key=lambda cell: cell.suite.tests), max(cells, key=lambda cell: cell.suite.tests)
    parts = results.part_cost(name, without, (small, large), key)
    return None if parts is None else parts / small.suite.steps
