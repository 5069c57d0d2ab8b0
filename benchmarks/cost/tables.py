"""The tables, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from . import measures
from .cells import Cell, mode
from .contestants import ALL, REFERENCES
from .figures import MICRO, MILLI, cost, ends, modes, plain, step
from .markdown import NOTHING, table, told
from .measures import Key, Results
from .suites import START
from .targets import targets

NAMES = tuple(each.name for each in ALL)
SENDERS = tuple(each.name for each in ALL if each.reports)
LEGEND = (
    "A round runs every contestant once; what is compared was measured in one round, and the median of the rounds is",
    "told. Who takes many seconds a session has fewer rounds and no large suites. A dash: not measured in this form,",
    "or a ratio to something that the noise hides. All servers are on this machine; qase-pytest's has no TLS either.",
)
Rows = list[list[str]]
Column = TypeVar("Column")


def document(results: Results, machine: Sequence[str]) -> str:
    """Return the page."""
    sections: tuple[tuple[str, str, Callable[[Results], Rows]], ...] = (
        ("Targets", "What is wanted of famacase-xdist, and what this run found.", targets),
        (
            "What a test costs",
            "Microseconds a test beyond bare pytest, from the slope between two sizes of a suite, so that start-up is "
            "not in it: wall clock / CPU of all processes. For bare pytest, what the test itself costs.",
            costs,
        ),
        ("Whole sessions", "Seconds of wall clock, and the ratio to bare pytest of the same round.", whole),
        (
            "Start-up",
            "Milliseconds that a session of one test takes beyond bare pytest; for bare pytest, what it takes.",
            start_up,
        ),
        (
            "From the last test to the end",
            "Milliseconds of wall clock beyond bare pytest; for bare pytest, what it takes.",
            endings,
        ),
        ("Tests of 10 ms", "Seconds of wall clock, and the ratio to bare pytest of the same round.", sleeping),
        ("Steps", "Microseconds that a step costs: wall clock / CPU.", steps),
        (
            "Attachments",
            "Of one attachment a test: milliseconds of wall clock that a test costs beyond the same test in bare "
            "pytest, which attaches nothing, start-up taken off; requests; MiB of memory of the controller, or the "
            "only process, at the peak.",
            attachments,
        ),
        ("Requests", "Requests / connections of a session, as the server counts them.", requests),
        ("Memory", "MiB at the peak: controller, or the only process / largest worker.", memory),
    )
    lines = ["# What reporting costs, as measured", "", *machine, "", *LEGEND]
    for title, words, make in sections:
        rows = make(results)
        lines += ["", f"## {title}", "", words, "", *(table(rows) if len(rows) > 1 else ["Not measured in this form."])]
    if results.failures:
        lines += ["", "## Failed", "", *map(_failure, results.failures.items())]
    return "\n".join(lines) + "\n"


def _failure(failure: tuple[tuple[str, Cell], str]) -> str:
    (name, cell), reason = failure
    return f"- {name}, {cell}: `{' '.join(reason.split()).replace('`', chr(39))}`"


def costs(results: Results) -> Rows:
    """Return the table of slopes."""

    def fill(name: str, workers: int) -> str:
        found = both(lambda key: cost(results, name, workers, key), MICRO)
        failed = any(each == name and cell.workers == workers for each, cell in results.failures)
        return ("failed" if failed else NOTHING) if found == NOTHING else f"{found} {_origin(results, name, workers)}"

    return _grid(NAMES, modes(results), mode, fill)


def _origin(results: Results, name: str, workers: int) -> str:
    pair = ends(results, name, workers)
    assert pair
    count = len(results.slopes(name, *pair, measures.wall))
    rounds = "1 round" if count == 1 else f"{count} rounds"
    return f"({pair[0].suite.tests:,} to {pair[1].suite.tests:,}, {rounds})"


def whole(results: Results) -> Rows:
    """Return the table of sessions of trivial tests."""
    return _sessions(results, [cell for cell in _plain(results) if cell.suite != START])


def sleeping(results: Results) -> Rows:
    """Return the table of sessions of tests that take their time."""
    return _sessions(results, [cell for cell in results.cells(results.base) if cell.suite.seconds])


def _sessions(results: Results, cells: list[Cell]) -> Rows:
    def fill(name: str, cell: Cell) -> str:
        seconds, ratio = (take(name, cell, measures.wall) for take in (results.middle, results.ratio))
        return _gap(results, name, cell) if seconds is None else f"{told(seconds, '.2f')} ({told(ratio, '.2f')})"

    return _grid(NAMES, cells, _size, fill)


def endings(results: Results) -> Rows:
    """Return the table of what is left to do when the last test has ended."""

    def fill(name: str, cell: Cell) -> str:
        take = results.middle if name == results.base else results.excess
        number = take(name, cell, measures.ending)
        return _gap(results, name, cell) if number is None else told(number, scale=MILLI)

    return _grid(NAMES, [cell for cell in _plain(results) if cell.suite != START], _size, fill)


def start_up(results: Results) -> Rows:
    """Return the table of sessions of one test."""
    columns = [(workers, what) for workers in modes(results) for what in _PARTS if workers or what in ("wall", "CPU")]

    def fill(name: str, column: tuple[int, str]) -> str:
        cell = Cell(START, column[0])
        take = results.middle if name == results.base else results.excess
        number = take(name, cell, _PARTS[column[1]])
        return _gap(results, name, cell) if number is None else told(number, scale=MILLI)

    names = [*NAMES, *(each.name for each in REFERENCES)]
    return _grid(names, columns, lambda column: f"{mode(column[0])}: {column[1]}", fill)


_PARTS: dict[str, Key] = {
    "wall": measures.wall,
    "CPU": measures.cpu,
    "controller's CPU": measures.controller_cpu,
    "a worker's CPU": measures.worker_cpu,
}


def steps(results: Results) -> Rows:
    """Return the table of steps."""

    def fill(name: str, workers: int) -> str:
        failed = any(each == name and cell.suite.steps and cell.workers == workers for each, cell in results.failures)
        return "failed" if failed else both(lambda key: step(results, name, workers, key), MICRO)

    return _grid(NAMES, modes(results), mode, fill)


def attachments(results: Results) -> Rows:
    """Return the table of tests that attach."""
    cells = [cell for cell in results.cells(results.base) if cell.suite.attached]

    def fill(name: str, cell: Cell) -> str:
        seconds = results.excess_slope(name, Cell(START, cell.workers), cell, measures.wall)
        if seconds is None:
            return _gap(results, name, cell)
        counts = [told(results.middle(name, cell, key)) for key in (measures.requests, measures.controller_memory)]
        return "; ".join([told(seconds, ".2f", MILLI), *counts])

    return _grid(NAMES[1:], cells, lambda cell: f"{cell.suite}, {mode(cell.workers)}", fill)


def requests(results: Results) -> Rows:
    """Return the table of what the server counted."""

    def fill(name: str, cell: Cell) -> str:
        counts = [told(results.middle(name, cell, key)) for key in (measures.requests, measures.connections)]
        return _gap(results, name, cell) if NOTHING in counts else " / ".join(counts)

    return _grid(SENDERS, _plain(results), _size, fill)


def memory(results: Results) -> Rows:
    """Return the table of peaks."""

    def fill(name: str, cell: Cell) -> str:
        keys = (measures.controller_memory, measures.worker_memory)[: 2 if cell.workers else 1]
        peaks = [told(results.middle(name, cell, key)) for key in keys]
        return _gap(results, name, cell) if NOTHING in peaks else " / ".join(peaks)

    return _grid(NAMES, _plain(results), _size, fill)


def both(number: Callable[[Key], float | None], scale: float) -> str:
    """Format a number of wall clock and of CPU."""
    found = [told(number(key), scale=scale) for key in (measures.wall, measures.cpu)]
    return NOTHING if NOTHING in found else " / ".join(found)


def _grid(
    names: Iterable[str], columns: Sequence[Column], head: Callable[[Column], str], fill: Callable[[str, Column], str]
) -> Rows:
    """Return a row for each contestant that has anything to show."""
    rows = [[name, *(fill(name, column) for column in columns)] for name in names]
    return [["", *map(head, columns)], *(row for row in rows if set(row[1:]) - {NOTHING})]


def _gap(results: Results, name: str, cell: Cell) -> str:
    return "failed" if (name, cell) in results.failures else NOTHING


def _plain(results: Results) -> list[Cell]:
    return [cell for workers in modes(results) for cell in plain(results, results.base, workers)]


def _size(cell: Cell) -> str:
    return f"{cell.suite.tests:,}, {mode(cell.workers)}"
