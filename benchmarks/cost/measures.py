"""The arithmetic: medians of what is paired within a round, so that a slow minute of the machine hits both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median

from .cells import Cell, Sample

#: Takes one number from a sample.
Key = Callable[[Sample], float]


def wall(sample: Sample) -> float:
    """Return the seconds from start to exit."""
    return sample.wall


def cpu(sample: Sample) -> float:
    """Return the seconds of CPU of all processes."""
    return sample.cpu


def controller_cpu(sample: Sample) -> float:
    """Return the seconds of CPU of the controller, or the only process, until its plugins are gone."""
    return sample.controller.cpu


def worker_cpu(sample: Sample) -> float:
    """Return the seconds of CPU of a worker, the mean of all."""
    return sum(each.cpu for each in sample.workers) / len(sample.workers)


def controller_memory(sample: Sample) -> float:
    """Return the MiB that the controller, or the only process, had at its peak."""
    return sample.controller.memory


def worker_memory(sample: Sample) -> float:
    """Return the MiB that the largest worker had at its peak."""
    return max(each.memory for each in sample.workers)


def ending(sample: Sample) -> float:
    """Return the seconds of wall clock from the last test to the end of the controller, or the only process."""
    return sample.controller.ending


def requests(sample: Sample) -> float:
    """Return the requests that the server counted."""
    return sample.seen.get("requests", 0)


def connections(sample: Sample) -> float:
    """Return the connections that the server counted."""
    return sample.seen.get("connections", 0)


class Results:
    """Samples by contestant, cell and round; every number below is None where a sample for it is missing."""

    def __init__(self, base: str) -> None:
        """Begin with nothing; ratios and differences are to the contestant `base`."""
        self.base = base
        self.failures: dict[tuple[str, Cell], str] = {}
        self._samples: dict[tuple[str, Cell], dict[int, Sample]] = {}

    def add(self, name: str, cell: Cell, round_: int, sample: Sample) -> None:
        """Keep a sample."""
        self._samples.setdefault((name, cell), {})[round_] = sample

    def fail(self, name: str, cell: Cell, reason: str) -> None:
        """Note that a contestant has no sample of a cell, and take none of it as whole."""
        self.failures[name, cell] = reason
        self._samples.pop((name, cell), None)

    def rounds(self, name: str, cell: Cell) -> dict[int, Sample]:
        """Return the samples by round."""
        return self._samples.get((name, cell), {})

    def cells(self, name: str) -> list[Cell]:
        """Return the cells that a contestant has samples of, in the order in which they came."""
        return [cell for each, cell in self._samples if each == name]

    def middle(self, name: str, cell: Cell, key: Key) -> float | None:
        """Return the median."""
        return _median(map(key, self.rounds(name, cell).values()))

    def ratio(self, name: str, cell: Cell, key: Key) -> float | None:
        """Return the median of the ratios to the base of the same round."""
        return _median(own / base for own, base in self._pairs(name, self.base, cell, key))

    def excess(self, name: str, cell: Cell, key: Key, base: str | None = None) -> float | None:
        """Return the median of the differences to the base of the same round."""
        return _median(own - other for own, other in self._pairs(name, base or self.base, cell, key))

    def slopes(self, name: str, small: Cell, large: Cell, key: Key) -> dict[int, float]:
        """Return by round what one more test costs, between two sizes of a suite: start-up does not hide in it."""
        first, last = self.rounds(name, small), self.rounds(name, large)
        tests = large.suite.tests - small.suite.tests
        return {each: (key(last[each]) - key(first[each])) / tests for each in sorted(first.keys() & last.keys())}

    def slope(self, name: str, small: Cell, large: Cell, key: Key) -> float | None:
        """Return the median of the slopes."""
        return _median(self.slopes(name, small, large, key).values())

    def excess_slopes(self, name: str, small: Cell, large: Cell, key: Key) -> dict[int, float]:
        """Return by round what a test costs beyond the base's."""
        return _differences(self.slopes(name, small, large, key), self.slopes(self.base, small, large, key))

    def excess_slope(self, name: str, small: Cell, large: Cell, key: Key) -> float | None:
        """Return the median of what a test costs beyond the base's."""
        return _median(self.excess_slopes(name, small, large, key).values())

    def cost_ratio(self, name: str, other: str, small: Cell, large: Cell, key: Key) -> float | None:
        """Return what a test costs beyond the base's as a ratio to what it costs with another: of medians.

        A ratio a round would divide by differences that noise brings near to nothing.
        """
        own, others = (self.excess_slope(each, small, large, key) for each in (name, other))
        return None if own is None or others is None or others <= 0 else own / others

    def part_cost(self, name: str, plain: tuple[Cell, Cell], full: tuple[Cell, Cell], key: Key) -> float | None:
        """Return what the parts of one test cost that the second suites have and the first have not."""
        with_parts, without = self.slopes(name, *full, key), self.slopes(name, *plain, key)
        return _median(_differences(with_parts, without).values())

    def _pairs(self, name: str, base: str, cell: Cell, key: Key) -> list[tuple[float, float]]:
        own, others = self.rounds(name, cell), self.rounds(base, cell)
        return [(key(own[each]), key(others[each])) for each in sorted(own.keys() & others.keys())]


def _differences(own: dict[int, float], others: dict[int, float]) -> dict[int, float]:
    return {each: own[each] - others[each] for each in sorted(own.keys() & others.keys())}


def _median(numbers: Iterable[float]) -> float | None:
    found = list(numbers)
    return median(found) if found else None
