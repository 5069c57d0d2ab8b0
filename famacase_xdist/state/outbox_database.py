"""The SQLite file behind an outbox: its tables, its lock, and its protection from forked children."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import (
    AnyFrame,
    BegunHead,
    ContentHead,
    Frame,
    IgnoredHead,
    PieceHead,
    ResultFrame,
    ResultHead,
)
from famacase_xdist.results.text import encodable

from .directory import PRIVATE, OutboxFiles
from .file_system import LEASE, is_lease

if TYPE_CHECKING:
    from filelock import BaseFileLock

VERSION = 1
#: Unused pages, of 4 kB each, that make it worth while to shrink the file.
MANY_PAGES = 1024
#: Used pages that can be copied, as shrinking does, in hardly any time.
FEW_PAGES = 4096
#: The digests of a result without attachments, as JSON. Most results are of this kind, so it is not parsed.
NO_CONTENTS = "[]"
TABLES = ("session", "results", "contents", "pieces", "running")

_SCHEMA = """
CREATE TABLE session (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE results (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    nodeid TEXT NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    contents TEXT NOT NULL,
    body BLOB NOT NULL,
    refusal TEXT
);
CREATE TABLE contents (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    mime TEXT NOT NULL,
    size INTEGER NOT NULL,
    remote_id TEXT,
    refusal TEXT
) WITHOUT ROWID;
CREATE TABLE pieces (digest TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (digest, number));
CREATE TABLE running (nodeid TEXT PRIMARY KEY, body BLOB NOT NULL);
"""


def open_database(path: Path | None, patience: float = 0.0) -> sqlite3.Connection:
    """Open a database, and make its tables if it is new.

    Args:
        path: The file; None for a database in memory.
        patience: Seconds to wait for a process that has the file open.

    Raises:
        OutboxError: Another version of this package wrote the file.
        sqlite3.Error: Another process has the file open, or it is not a database.
        OSError: The file cannot be made.
    """
    if path is not None:
        _make(path)
    db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=patience)
    try:
        # Set before the first access, so that the process has the lock until it ends, however it ends.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        # A commit survives the process. `Outbox.sync` makes it survive the machine, without delaying a test.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute("COMMIT")
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
        elif version != VERSION:
            raise OutboxError(f"{path} was written by another version of famacase-xdist (format {version})")
    except BaseException:
        db.close()
        raise
    _leak_in_children(db)
    return db


def shrink(db: sqlite3.Connection) -> None:
    """Free the disk space of deleted rows: a file that is kept for one result may otherwise be as large as for all.

    Raises:
        sqlite3.Error: The disk has no space for a copy of the rest, or the file cannot be used; nothing has changed.
    """
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    if free >= MANY_PAGES and pages - free <= FEW_PAGES:
        db.execute("VACUUM")


def acquire_lease(files: OutboxFiles, patience: float) -> BaseFileLock | None:
    """Acquire the lease on an outbox, if SQLite's own lock does not reach other machines.

    Args:
        files: The outbox.
        patience: Seconds to wait for a process that has the lease.

    Returns:
        The lease, to be released; None if SQLite's own lock is enough.

    Raises:
        OutboxError: A process, on this machine or another one, has the lease or had it a moment ago.
        OSError: The lease cannot be made.
    """
    if not is_lease(files.state):
        return None
    from filelock import Timeout

    from .locks import new_lock

    files.state.outboxes.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    lease = new_lock(files.lease, LEASE)
    try:
        lease.acquire(timeout=patience)
    except Timeout:
        raise OutboxError(f"outbox {files.database}: a session has it") from None
    return lease


def _make(path: Path) -> None:
    """Make the file with a mode that no umask widens, if it is not there.

    A file that is there must not be opened and closed here: that would release the POSIX locks that this process may
    have on it.
    """
    path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _leak_in_children(db: sqlite3.Connection) -> None:
    """Keep forked children from closing the connection, because SQLite would then remove the parent's log."""

    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))

    os.register_at_fork(after_in_child=leak)


def in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    """Return a database in memory with everything that can still be read from another one, and close that one."""
    memory = open_database(None)
    for table in TABLES:
        with contextlib.suppress(sqlite3.Error):
            for row in db.execute(f"SELECT * FROM {table}"):  # noqa: S608
                memory.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
    with contextlib.suppress(sqlite3.Error):
        db.close()
    return memory


def remove(files: OutboxFiles) -> None:
    """Delete the files of an outbox. A file that cannot be deleted stays."""
    for path in (files.database, files.write_ahead_log, files.journal):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def insert(frames: Sequence[AnyFrame], db: sqlite3.Connection) -> None:
    """Put frames into the tables. A result that is there already changes nothing."""
    for frame in frames:
        head, body = frame.head, frame.body
        if isinstance(head, ResultHead):
            contents = json.dumps(head.contents) if head.contents else NO_CONTENTS
            db.execute(
                "INSERT OR IGNORE INTO results (id, nodeid, status, attempt, contents, body) VALUES (?, ?, ?, ?, ?, ?)",
                (head.id, encodable(head.nodeid), head.status, head.attempt, contents, body),
            )
        elif isinstance(head, PieceHead):
            # No pieces of a content that is whole: a second worker may send one that has been uploaded meanwhile.
            db.execute(
                "INSERT OR IGNORE INTO pieces SELECT ?, ?, ?"
                " WHERE NOT EXISTS (SELECT 1 FROM contents WHERE digest = ?)",
                (head.digest, head.number, body, head.digest),
            )
        elif isinstance(head, ContentHead):
            db.execute(
                "INSERT OR IGNORE INTO contents (digest, name, mime, size) VALUES (?, ?, ?, ?)",
                (head.digest, encodable(head.name), encodable(head.mime), head.size),
            )
    _note_running(db, frames)


def results_at(db: sqlite3.Connection, positions: Sequence[int]) -> list[ResultFrame]:
    """Return the results at these positions, in the order of the positions.

    Args:
        db: The database.
        positions: A few hundred at most, because SQLite limits the parameters of a query.
    """
    rows = db.execute(
        "SELECT id, nodeid, status, attempt, contents, body FROM results"  # noqa: S608
        f" WHERE position IN ({','.join('?' * len(positions))}) ORDER BY position",
        positions,
    )
    return [
        Frame(ResultHead(result_id, nodeid, status, attempt, _digests(contents)), body)
        for result_id, nodeid, status, attempt, contents, body in rows
    ]


def _digests(contents: str) -> tuple[str, ...]:
    return () if contents == NO_CONTENTS else tuple(json.loads(contents))


def _note_running(db: sqlite3.Connection, frames: Sequence[AnyFrame]) -> None:
    """Insert the tests that begin, and delete those that end."""
    begun: dict[str, bytes] = {}
    ended: list[tuple[str]] = []
    for frame in frames:
        head, body = frame.head, frame.body
        if isinstance(head, BegunHead):
            nodeid = encodable(head.nodeid)
            begun[nodeid] = body or begun.get(nodeid, b"")
        elif isinstance(head, (ResultHead, IgnoredHead)):
            nodeid = encodable(head.nodeid)
            begun.pop(nodeid, None)
            ended.append((nodeid,))
    db.executemany("DELETE FROM running WHERE nodeid = ?", ended)
    db.executemany(
        "INSERT INTO running VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET body = iif(excluded.body = x'', body, excluded.body)",
        begun.items(),
    )
