"""The only queue: a SQLite file, one for each session, from which only the server's acknowledgement deletes.

A result is *accepted* when the transaction that holds it is committed. Leases are kept in memory: whoever opens
the file after a crash starts with none. The file is locked for as long as a process has it open; the system drops
that lock with the process, so a file that can be opened belongs to nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import wire
from .errors import OutboxError

VERSION = 1

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
_TABLES = ("session", "results", "contents", "pieces", "running")


@dataclass(frozen=True, slots=True)
class Queued:
    """A result that waits: its head, and the JSON for the server."""

    head: wire.ResultHead
    body: bytes


class Outbox:
    """Results that the server has not acknowledged yet. All methods may be called from any thread.

    Args:
        path: The file; made with mode 0600 in a directory of mode 0700. None keeps all in memory.

    Attributes:
        trouble: Why the file is not used any more; then all is in memory, and what is left is lost at the end.

    Raises:
        OutboxError: The file cannot be used: a process has it open, it is damaged, or of a later version.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.trouble = ""
        self._lock = threading.RLock()
        self._leased: set[str] = set()
        self._wal: int | None = None
        self._is_dirty = False
        with self._reported():
            self._db = _open(path)
            if path is not None:
                self._wal = os.open(f"{path}-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _leak_in_children(self._db)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"outbox {self.path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._reported():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def put(self, frames: Sequence[wire.AnyFrame]) -> None:
        """Accept frames, all or none; one that is there already changes nothing.

        Where the disk fails, what can be read moves into memory, and work goes on there.
        """
        with self._lock:
            try:
                self._put(frames)
            except OutboxError as error:
                if self.path is None or self.trouble:
                    raise
                self._move_to_memory(str(error))
                self._put(frames)
            self._is_dirty = True

    def _put(self, frames: Sequence[wire.AnyFrame]) -> None:
        with self._transaction() as db:
            for head, body in frames:
                if isinstance(head, wire.ResultHead):
                    values = (head.id, head.nodeid, head.status, head.attempt, json.dumps(head.contents), body)
                    db.execute(
                        "INSERT OR IGNORE INTO results (id, nodeid, status, attempt, contents, body)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        values,
                    )
                elif isinstance(head, wire.PieceHead):
                    # A second worker may send content that was uploaded meanwhile.
                    db.execute(
                        "INSERT OR IGNORE INTO pieces SELECT ?, ?, ?"
                        " WHERE NOT EXISTS (SELECT 1 FROM contents WHERE digest = ?)",
                        (head.digest, head.number, body, head.digest),
                    )
                elif isinstance(head, wire.ContentHead):
                    db.execute(
                        "INSERT OR IGNORE INTO contents (digest, name, mime, size) VALUES (?, ?, ?, ?)",
                        (head.digest, head.name, head.mime, head.size),
                    )
            _note_running(db, frames)

    def _move_to_memory(self, reason: str) -> None:
        """Go on in memory with all that can still be read."""
        memory = _open(None)
        for table in _TABLES:
            with contextlib.suppress(sqlite3.Error):
                for row in self._db.execute(f"SELECT * FROM {table}"):  # noqa: S608
                    memory.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._db = memory
        self.trouble = reason

    def sync(self) -> None:
        """Make what was accepted survive a power failure; any thread, waits for the disk."""
        with self._lock:
            wal, is_dirty, self._is_dirty = self._wal, self._is_dirty, False
        if wal is not None and is_dirty:
            with contextlib.suppress(OSError):
                os.fsync(wal)

    def lease(self, most: int, most_bytes: int) -> list[Queued]:
        """Take the oldest results that nobody has leased: at most `most`, and `most_bytes` beyond the first."""
        batch: list[Queued] = []
        size = 0
        with self._lock, self._reported():
            for position, result_id, length in self._db.execute(
                "SELECT position, id, length(body) FROM results WHERE refusal IS NULL ORDER BY position"
            ):
                if result_id in self._leased:
                    continue
                size += length
                if len(batch) == most or (batch and size > most_bytes):
                    break
                batch.append(self._queued(position))
            self._leased.update(each.head.id for each in batch)
        return batch

    def _queued(self, position: int) -> Queued:
        result_id, nodeid, status, attempt, contents, body = self._db.execute(
            "SELECT id, nodeid, status, attempt, contents, body FROM results WHERE position = ?", (position,)
        ).fetchone()
        return Queued(wire.ResultHead(result_id, nodeid, status, attempt, tuple(json.loads(contents))), body)

    def release(self, batch: Iterable[Queued]) -> None:
        """Give a lease back: the results wait again."""
        with self._lock:
            self._leased.difference_update(each.head.id for each in batch)

    def acknowledge(self, batch: Sequence[Queued]) -> None:
        """Delete results that the server has taken."""
        with self._transaction() as db:
            db.executemany("DELETE FROM results WHERE id = ?", [(each.head.id,) for each in batch])
        self.release(batch)

    def refuse(self, queued: Queued, words: str) -> None:
        """Keep a result that the server will not take, with the server's words."""
        with self._transaction() as db:
            db.execute("UPDATE results SET refusal = ? WHERE id = ?", (words, queued.head.id))
        self.release([queued])

    def forgive(self) -> None:
        """Let refused results and attachments be tried again; for whoever resends."""
        with self._transaction() as db:
            db.execute("UPDATE results SET refusal = NULL")
            db.execute("UPDATE contents SET refusal = NULL")

    def refusals(self) -> Counter[str]:
        """Count refused results by the server's words."""
        with self._lock, self._reported():
            rows = self._db.execute("SELECT refusal, count(*) FROM results WHERE refusal IS NOT NULL GROUP BY refusal")
            return Counter(dict(rows.fetchall()))

    def undelivered(self) -> int:
        """Count all results that the server has not acknowledged."""
        with self._lock, self._reported():
            (count,) = self._db.execute("SELECT count(*) FROM results").fetchone()
        return int(count)

    def content(self, digest: str) -> wire.ContentHead | None:
        """Give an attachment that is not uploaded yet."""
        with self._lock, self._reported():
            row = self._db.execute(
                "SELECT digest, name, mime, size FROM contents"
                " WHERE digest = ? AND remote_id IS NULL AND refusal IS NULL",
                (digest,),
            ).fetchone()
        return None if row is None else wire.ContentHead(*row)

    def piece(self, digest: str, number: int) -> bytes | None:
        """Give one piece of an attachment's content; None after the last."""
        with self._lock, self._reported():
            row = self._db.execute(
                "SELECT body FROM pieces WHERE digest = ? AND number = ?", (digest, number)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def uploaded(self, digest: str, remote_id: object) -> None:
        """Keep the server's id of an attachment in the place of its content."""
        with self._transaction() as db:
            db.execute("UPDATE contents SET remote_id = ? WHERE digest = ?", (json.dumps(remote_id), digest))
            db.execute("DELETE FROM pieces WHERE digest = ?", (digest,))

    def refuse_content(self, digest: str, words: str) -> None:
        """Note that the server will not take an attachment, with its words."""
        with self._transaction() as db:
            db.execute("UPDATE contents SET refusal = ? WHERE digest = ?", (words, digest))

    def remote_ids(self, digests: Iterable[str]) -> dict[str, Any]:
        """Give the server's ids of those attachments that have one."""
        return {digest: json.loads(value) for digest, value in self._column("remote_id", digests)}

    def content_refusals(self, digests: Iterable[str]) -> list[str]:
        """Name the attachments that the server would not take, each with its words."""
        return [words for _, words in self._column("name || ': ' || refusal", digests)]

    def _column(self, column: str, digests: Iterable[str]) -> list[tuple[str, str]]:
        query = f"SELECT digest, {column} FROM contents WHERE digest = ?"  # noqa: S608
        with self._lock, self._reported():
            rows = [self._db.execute(query, (digest,)).fetchone() for digest in digests]
        return [row for row in rows if row is not None and row[1] is not None]

    def running(self) -> list[tuple[str, bytes]]:
        """Give the tests that began and did not end: node id, and the result as far as it was known."""
        with self._lock, self._reported():
            return [(nodeid, bytes(body)) for nodeid, body in self._db.execute("SELECT nodeid, body FROM running")]

    def remember(self, **values: object) -> None:
        """Keep facts of the session, JSON values, for whoever resends: host, project, run."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO session VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in values.items()],
            )

    def session(self) -> dict[str, Any]:
        """Give all that `remember` kept."""
        with self._lock, self._reported():
            return {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM session")}

    def close(self, *, delete: bool = False) -> None:
        """Close the file, and delete it where asked to. May be called twice."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            if self._wal is not None:
                os.close(self._wal)
                self._wal = None
        if delete and self.path is not None:
            for suffix in ("", "-wal"):
                with contextlib.suppress(OSError):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=0)
    try:
        # Before the first access: the lock is then held until the process ends, however it ends.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        # A commit survives the process; `sync` makes it survive the machine, off the test's way.
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
    return db


def _leak_in_children(db: sqlite3.Connection) -> None:
    """Keep a forked child from closing the connection: SQLite would then remove the parent's log."""

    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))

    os.register_at_fork(after_in_child=leak)


def _note_running(db: sqlite3.Connection, frames: Sequence[wire.AnyFrame]) -> None:
    """Keep the tests that begin and forget those that end."""
    begun: dict[str, bytes] = {}
    ended: list[tuple[str]] = []
    for head, body in frames:
        if isinstance(head, wire.BegunHead):
            begun[head.nodeid] = body or begun.get(head.nodeid, b"")
        elif isinstance(head, (wire.ResultHead, wire.IgnoredHead)):
            begun.pop(head.nodeid, None)
            ended.append((head.nodeid,))
    db.executemany("DELETE FROM running WHERE nodeid = ?", ended)
    db.executemany(
        "INSERT INTO running VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET body = iif(excluded.body = x'', body, excluded.body)",
        begun.items(),
    )
