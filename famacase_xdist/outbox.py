"""The only queue: a SQLite file, one for each session, from which only the server's acknowledgement deletes.

A frame is *accepted* when the transaction that holds it is committed. Leases are kept in memory: whoever opens
the file after a crash starts with none.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
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
    body BLOB,
    remote_id TEXT,
    refusal TEXT
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Queued:
    """A result that waits: its head, and the JSON for the server."""

    head: wire.ResultHead
    body: bytes


class Outbox:
    """Results that the server has not acknowledged yet. All methods may be called from any thread.

    Args:
        path: The file; made with mode 0600 if it is not there.

    Raises:
        OutboxError: The file cannot be opened, or a later version of this package wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._leased: set[str] = set()
        with self._reported():
            self._db = self._open(path)

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit survives a power failure. It runs on the inbox's thread and holds up no test.
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")
        elif version != VERSION:
            raise OutboxError(f"{path} was written by another version of famacase-xdist (format {version})")
        return db

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
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def put(self, frames: Sequence[wire.Frame]) -> None:
        """Accept frames, all or none; one that is there already changes nothing."""
        with self._transaction() as db:
            for head, body in frames:
                if isinstance(head, wire.ContentHead):
                    db.execute(
                        "INSERT OR IGNORE INTO contents (digest, name, mime, body) VALUES (?, ?, ?, ?)",
                        (head.digest, head.name, head.mime, body),
                    )
                else:
                    db.execute(
                        "INSERT OR IGNORE INTO results (id, nodeid, status, attempt, contents, body)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        (head.id, head.nodeid, head.status, head.attempt, json.dumps(head.contents), body),
                    )

    def lease(self, most: int, most_bytes: int) -> list[Queued]:
        """Take the oldest results that nobody has leased: at most `most`, and `most_bytes` beyond the first."""
        batch: list[Queued] = []
        size = 0
        with self._lock, self._reported():
            for row in self._db.execute(
                "SELECT id, nodeid, status, attempt, contents, length(body), position FROM results"
                " WHERE refusal IS NULL ORDER BY position"
            ):
                if row[0] in self._leased:
                    continue
                size += row[5]
                if len(batch) == most or (batch and size > most_bytes):
                    break
                (body,) = self._db.execute("SELECT body FROM results WHERE position = ?", (row[6],)).fetchone()
                head = wire.ResultHead(row[0], row[1], row[2], row[3], tuple(json.loads(row[4])))
                batch.append(Queued(head, body))
            self._leased.update(each.head.id for each in batch)
        return batch

    def release(self, batch: Sequence[Queued]) -> None:
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

    def content(self, digest: str) -> tuple[wire.ContentHead, bytes] | None:
        """Give an attachment's content that is not uploaded yet."""
        with self._lock, self._reported():
            row = self._db.execute("SELECT name, mime, body FROM contents WHERE digest = ?", (digest,)).fetchone()
        return None if row is None or row[2] is None else (wire.ContentHead(digest, row[0], row[1]), row[2])

    def content_size(self, digest: str) -> int | None:
        """Give the bytes of an attachment's content that still has to be uploaded."""
        with self._lock, self._reported():
            row = self._db.execute(
                "SELECT length(body) FROM contents WHERE digest = ? AND refusal IS NULL", (digest,)
            ).fetchone()
        return None if row is None else row[0]

    def refuse_content(self, digest: str, words: str) -> None:
        """Note that the server will not take an attachment, with its words."""
        with self._transaction() as db:
            db.execute("UPDATE contents SET refusal = ? WHERE digest = ?", (words, digest))

    def uploaded(self, digest: str, remote_id: object) -> None:
        """Keep the server's id of an attachment in the place of its content."""
        with self._transaction() as db:
            db.execute(
                "UPDATE contents SET remote_id = ?, body = NULL WHERE digest = ?", (json.dumps(remote_id), digest)
            )

    def remote_ids(self, digests: Sequence[str]) -> dict[str, Any]:
        """Give the server's ids of those attachments that have one."""
        with self._lock, self._reported():
            rows = [
                self._db.execute("SELECT digest, remote_id FROM contents WHERE digest = ?", (digest,)).fetchone()
                for digest in digests
            ]
        return {row[0]: json.loads(row[1]) for row in rows if row is not None and row[1] is not None}

    def waiting(self) -> int:
        """Count the results that may still be sent, leased or not."""
        return self._count("refusal IS NULL")

    def undelivered(self) -> int:
        """Count all results that the server has not acknowledged."""
        return self._count("1")

    def _count(self, condition: str) -> int:
        with self._lock, self._reported():
            (count,) = self._db.execute(f"SELECT count(*) FROM results WHERE {condition}").fetchone()  # noqa: S608
        return int(count)

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
            self._db.close()
        if delete:
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
