"""FALLBACK=report: if no run could be opened, the results of the session are written as a file report too.

They also stay in the outbox: a report can be read, but only an outbox can be resent.
"""

from __future__ import annotations

from collections.abc import Iterator

from famacase_xdist.errors import ReportError
from famacase_xdist.results.frames import AnyFrame, Frame, PieceHead
from famacase_xdist.state.outbox import Outbox

from .file_report import FileReport

#: Most results, and about how many bytes, that are read at once.
BATCH, BATCH_BYTES = 200, 16 * 1024 * 1024


def write(report: FileReport, outbox: Outbox) -> Iterator[str]:
    """Write all results that wait in an outbox as a report.

    Args:
        report: The report, not started yet.
        outbox: The results, which stay there.

    Yields:
        Lines for the terminal: where the report is, and what is missing in it.
    """
    notes: list[str] = []
    try:
        report.start(notes.append)
    except ReportError as error:
        yield f"no report was written instead: {error}"
        return
    for frame in _frames(outbox):
        report.keep([frame])
    outcome = report.finish(0.0, is_finished=True)
    yield from notes
    yield f"instead, {outcome.delivered.total()} results are in the {outcome.where[0]} (FAMACASE_FALLBACK)"
    yield from (f"not written {count}: {cause}" for cause, count in outcome.causes.items())
    yield from outcome.problems


def _frames(outbox: Outbox) -> Iterator[AnyFrame]:
    """Yield the results that wait, each after the contents of its attachments. The results stay taken."""
    sent: set[str] = set()
    while batch := outbox.take(BATCH, BATCH_BYTES):
        for result in batch:
            for digest in result.head.contents:
                if digest not in sent:
                    yield from _content(outbox, digest)
                    sent.add(digest)
            yield result


def _content(outbox: Outbox, digest: str) -> Iterator[AnyFrame]:
    head = outbox.contents.waiting(digest)
    number = 0
    while head is not None and (piece := outbox.contents.piece(digest, number)) is not None:
        yield Frame(PieceHead(digest, number), piece)
        number += 1
    if head is not None:
        yield Frame(head)
