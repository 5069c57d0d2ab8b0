"""FALLBACK=report: if no run could be opened, the results of the session are written as a file report too.

They also stay in the outbox: a report can be read, but only an outbox can be resent.
"""

from __future__ import annotations

from collections.abc import Iterator

from famacase_xdist.errors import ReportError

from .file_report import FileReport


def write(report: FileReport) -> Iterator[str]:
    """Write all results that wait in the outbox of a report that has not been started yet.

    Yields:
        Lines for the terminal: where the report is, and what is missing in it.
    """
    notes: list[str] = []
    try:
        report.begin(notes.append)
    except ReportError as error:
        yield f"no report was written instead: {error}"
        return
    report.copy()
    outcome = report.finished()
    yield from notes
    yield f"instead, {outcome.delivered.total()} results are in the {outcome.where[0]} (FAMACASE_FALLBACK)"
    yield from (f"not written {count}: {cause}" for cause, count in outcome.causes.items())
    yield from outcome.problems
