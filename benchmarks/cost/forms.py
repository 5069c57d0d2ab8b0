"""The two forms of the benchmark: which cells, for whom, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .cells import Cell
from .contestants import (
    ALL,
    ALLURE,
    BARE,
    FORMER,
    IMPORTED,
    JUNIT,
    LOG,
    OURS,
    OURS_FAR,
    QASE,
    REFERENCES,
    UNNAMED,
    Contestant,
)
from .suites import START, Suite

SLOW = (QASE, FORMER)
FAST = (BARE, OURS, OURS_FAR, JUNIT, LOG, ALLURE)
STEPS = 5
KB, MB = 1000, 1_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """One cell: each round runs all its contestants once, in an order of its own."""

    cell: Cell
    contestants: tuple[Contestant, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class Form:
    """A form of the benchmark.

    Attributes:
        name: What the tables call it.
        blocks: What is run.
    """

    name: str
    blocks: tuple[Block, ...]

    def rounds(self) -> int:
        """Return the number of rounds."""
        return max(block.rounds for block in self.blocks)


def quick() -> Form:
    """Return the form of under three minutes on two cores; only what the targets need has rounds."""
    return Form("quick", tuple(_quick()))


def full(rounds: int) -> Form:
    """Return the form of all axes; at five rounds it takes about 40 minutes."""
    return Form("full", tuple(_full(rounds)))


def _quick() -> Iterator[Block]:
    for workers in (0, 2):
        yield Block(Cell(START, workers), (BARE, OURS, IMPORTED), 3)
        yield Block(Cell(START, workers), (JUNIT, LOG, ALLURE, UNNAMED), 1)
        for tests in (400, 1600):
            yield Block(Cell(Suite(tests), workers), (BARE, OURS, JUNIT), 3)
            yield Block(Cell(Suite(tests), workers), (OURS_FAR,), 2)
            yield Block(Cell(Suite(tests), workers), (LOG, ALLURE), 1)
    for tests in (400, 1600):
        yield Block(Cell(Suite(tests, steps=STEPS)), (OURS,), 3)
        yield Block(Cell(Suite(tests, steps=STEPS)), (ALLURE,), 1)
    yield Block(Cell(Suite(200, seconds=0.01), 2), (BARE, OURS, JUNIT), 1)
    yield Block(Cell(Suite(100, attached=10 * KB)), (BARE, OURS, ALLURE), 1)
    for cell in (Cell(START), Cell(Suite(400)), Cell(Suite(1600))):
        yield Block(cell, SLOW, 1)


def _full(rounds: int) -> Iterator[Block]:
    seldom, rarely = max(1, rounds * 3 // 5), max(1, rounds * 2 // 5)
    for workers in (0, 2, 4):
        yield Block(Cell(START, workers), (*FAST, *REFERENCES), rounds)
        yield Block(Cell(START, workers), SLOW, rarely)
        for tests in (1000, 4000):
            yield Block(Cell(Suite(tests), workers), FAST, rounds)
            yield Block(Cell(Suite(tests), workers), SLOW, rarely)
        yield Block(Cell(Suite(16_000), workers), FAST, seldom)
        yield Block(Cell(Suite(1000, seconds=0.01), workers), ALL, rarely)
    for workers in (0, 2):
        for tests in (1000, 4000):
            yield Block(Cell(Suite(tests, steps=STEPS), workers), (OURS, ALLURE), rounds)
        for tests in (200, 1000):
            yield Block(Cell(Suite(tests, steps=STEPS), workers), SLOW, 1)
        for attached in (10 * KB, MB):
            cell = Cell(Suite(200, attached=attached), workers)
            yield Block(cell, (BARE, OURS, OURS_FAR, ALLURE), seldom)
            yield Block(cell, SLOW, 1)
