"""Outboxes as tests name them: by the path of their database."""

from __future__ import annotations

from pathlib import Path

from famacase_xdist.state.directory import OutboxFiles, StateDirectory


def files_at(database: Path) -> OutboxFiles:
    """Return the files of the outbox whose database is this one, in a state directory above it."""
    files = StateDirectory(database.parent.parent).outbox(database.stem)
    assert files.database == database
    return files
