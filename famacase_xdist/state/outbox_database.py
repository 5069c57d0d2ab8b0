"""The SQLite file behind an outbox: its tables, its lock, and what a fork must not do to it."""

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
#: Pages, of 4 kB, from which on room that nothing is in is given back, and of which a copy is made in no time.
MANY_PAGES = 1024
FEW_PAGES = 4096
#: The digests of a result without attachments, as JSON.
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
    """Open a file, or memory, and make its tables; wait `patience` seconds for who else has the file open.

    Raises:
        OutboxError: A later version of this package wrote the file.
        sqlite3.Error: Another process has it open, or it is no database.
        OSError: It cannot be made.
    """
    if path is not None:
        _make(path)
    db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=patience)
    try:
        # Before the first access: the lock is then held until the process ends, however it ends.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        # A commit survives the process; `Outbox.sync` makes it survive the machine, off the test's way.
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
    """Give back the room of what was delivered: a file that is kept for one result may be as large as for all.

    Raises:
        sqlite3.Error: There is no room for a copy of what is left, or the file cannot be used; nothing has changed.
    """
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    if free >= MANY_PAGES and pages - free <= FEW_PAGES:
        db.execute("VACUUM")


def claim(files: OutboxFiles, patience: float) -> BaseFileLock | None:
    """Take an outbox for this process where the lock that SQLite takes would stay on the machine.

    Returns:
        The lock to release; None where SQLite's own lock is enough.

    Raises:
        OutboxError: A process of some machine has it, or had it a moment ago.
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
    """Make the file with a mode that no umask widens; one that is there is not touched.

    Opening and closing it here would drop the POSIX locks that this process may hold on it.
    """
    path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _leak_in_children(db: sqlite3.Connection) -> None:
    """Keep a forked child from closing the connection: SQLite would then remove the parent's log."""

    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))

    os.register_at_fork(after_in_child=leak)


def in_memory(db: sqlite3.Connection) -> sqlite3.Connection:
    """Give a database in memory with all that can still be read of this one, and close this one."""
    memory = open_database(None)
    for table in TABLES:
        with contextlib.suppress(sqlite3.Error):
            for row in db.execute(f"SELECT * FROM {table}"):  # noqa: S608
                memory.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
    with contextlib.suppress(sqlite3.Error):
        db.close()
    return memory


def remove(files: OutboxFiles) -> None:
    """Delete the files of an outbox."""
    for path in (files.database, files.write_ahead_log, files.journal):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def insert(frames: Sequence[AnyFrame], db: sqlite3.Connection) -> None:
    """Put frames into the tables; a result that is there already changes nothing."""
    for frame in frames:
        head, body = frame.head, frame.body
        if isinstance(head, ResultHead):
            contents = json.dumps(head.contents) if head.contents else NO_CONTENTS
            db.execute(
                "INSERT OR IGNORE INTO results (id, nodeid, status, attempt, contents, body) VALUES (?, ?, ?, ?, ?, ?)",
                (head.id, encodable(head.nodeid), head.status, head.attempt, contents, body),
            )
        elif isinstance(head, PieceHead):
            # A second worker may send content that was uploaded meanwhile.
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


def queued(db: sqlite3.Connection, positions: Sequence[int]) -> list[ResultFrame]:
    """Read the results at these positions, at most some hundred, in their order."""
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
    """Keep the tests that begin and forget those that end."""
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
