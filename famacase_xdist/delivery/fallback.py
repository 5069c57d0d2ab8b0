"""FALLBACK=report: where no run could be opened, the results of the session are a file report too.

They stay in the outbox all the same: a report can be read, but only an outbox can be resent.
"""

from __future__ import annotations

from collections.abc import Iterator

from famacase_xdist.errors import ReportError
from famacase_xdist.results.frames import AnyFrame, Frame, PieceHead
from famacase_xdist.state.outbox import Outbox

from .file_report import FileReport

#: Results that are read at once, and about how many bytes.
BATCH, BATCH_BYTES = 200, 16 * 1024 * 1024


def write(report: FileReport, outbox: Outbox) -> Iterator[str]:
    """Write all that waits in an outbox as a report, and say where."""
    notes: list[str] = []
    try:
        report.start(notes.append)
    except ReportError as error:
        yield f"no report instead of it: {error}"
        return
    for frame in _frames(outbox):
        report.keep([frame])
    outcome = report.finish(0.0, is_finished=True)
    yield from notes
    yield f"{outcome.delivered.total()} results instead of it in the {outcome.where[0]} (FAMACASE_FALLBACK)"
    yield from (f"not written {count}: {cause}" for cause, count in outcome.causes.items())
    yield from outcome.problems


def _frames(outbox: Outbox) -> Iterator[AnyFrame]:
    """Yield the results that wait, and keep them taken; contents come ahead of them."""
    sent: set[str] = set()
    while batch := outbox.take(BATCH, BATCH_BYTES):
        for queued in batch:
            for digest in queued.head.contents:
                if digest not in sent:
                    yield from _content(outbox, digest)
                    sent.add(digest)
            yield queued


def _content(outbox: Outbox, digest: str) -> Iterator[AnyFrame]:
    head = outbox.contents.waiting(digest)
    number = 0
    while head is not None and (piece := outbox.contents.piece(digest, number)) is not None:
        yield Frame(PieceHead(digest, number), piece)
        number += 1
    if head is not None:
        yield Frame(head)
