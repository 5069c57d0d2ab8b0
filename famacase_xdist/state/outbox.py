"""The only queue: a SQLite file, one for each session, from which only the server's acknowledgement deletes.

A result is *accepted* when it is in the journal, from where it moves to the database together with others, or when
the transaction that holds it is committed. Which batches are taken is kept in memory, so that a process that opens the
file after a crash finds all of them waiting. The file is locked for as long as a process has it open; the system drops
that lock together with the process, so a file that can be opened belongs to no other process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Unpack, cast

from famacase_xdist.errors import OutboxError
from famacase_xdist.results.frames import AnyFrame, ContentHead, ResultFrame, is_result
from famacase_xdist.results.text import encodable

from .directory import OutboxFiles
from .facts import SessionFacts
from .outbox_database import claim, in_memory, insert, open_database, queued, remove, shrink
from .outbox_journal import Journal

#: Frames, and bytes of them, at which the journal is moved to the database.
MOST_PENDING, MOST_PENDING_BYTES = 500, 2 * 1024 * 1024


class Outbox:
    """Results that the server has not acknowledged yet. All methods may be called from any thread.

    Args:
        files: Its files, made with mode 0600 in a directory of mode 0700. None keeps all in memory.
        patience: Seconds to wait for a process that has the file open.

    Attributes:
        trouble: Why the file is not used any more; then all is in memory, and what is left is lost at the end.
        lost: How many accepted results could not be kept, by the reason.

    Raises:
        OutboxError: The file cannot be used: a process has it open, it is damaged, or of a later version.
    """

    def __init__(self, files: OutboxFiles | None, *, patience: float = 0.0) -> None:
        self.files = files
        self.trouble = ""
        self.lost: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._taken: set[str] = set()
        # All before it are refused: where a server refuses everything, each batch would read them all again.
        self._first_waiting = 0
        self._wal: int | None = None
        self._is_dirty = False
        with self._reported():
            self._claim = claim(files, patience) if files is not None else None
            self._db = open_database(self.path, patience)
            self._journal = None if files is None else Journal(files.journal)
            self._pending = [] if self._journal is None else self._journal.frames()
            if files is not None:
                self._wal = os.open(files.write_ahead_log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def path(self) -> Path | None:
        """The database; None where all is in memory."""
        return None if self.files is None else self.files.database

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"outbox {self.path}: {error}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._reported():
            self._move_pending()
            yield self._db

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do some work, all or nothing. Where the disk fails, what can be read moves into memory, and work goes on."""
        with self._lock:
            try:
                self._transact(work)
            except OutboxError as error:
                if self.path is None or self.trouble:
                    raise
                self._move_to_memory(str(error))
                self._transact(work)
            self._is_dirty = True

    def _change(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do some work on all that was accepted."""
        with self._lock:
            self._move_pending()
            self._write(work)

    def _transact(self, work: Callable[[sqlite3.Connection], object]) -> None:
        with self._reported():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                work(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def put(self, frames: Sequence[AnyFrame]) -> None:
        """Accept frames, all or none; one that is there already changes nothing."""
        with self._lock:
            if self._journal is not None and self._journal.append(frames):
                self._pending += frames
                self._is_dirty = True
                if len(self._pending) >= MOST_PENDING or self._journal.size >= MOST_PENDING_BYTES:
                    self._move_pending()
            else:
                self._move_pending()
                self._write(partial(insert, frames))

    def _move_pending(self) -> None:
        """Move what is pending to the database."""
        frames, self._pending = self._pending, []
        if not frames:
            return
        try:
            self._write(partial(insert, frames))
        except Exception:
            for frame in frames:
                self._rescue(frame)
        if self._journal is not None:
            self._journal.clear()

    def _rescue(self, frame: AnyFrame) -> None:
        """Move one frame to the database; one that it refuses must not hold up all others for ever."""
        try:
            self._write(partial(insert, [frame]))
        except Exception as error:
            self.lost[str(error)] += is_result(frame)

    def _move_to_memory(self, reason: str) -> None:
        """Go on in memory with all that can still be read."""
        self._db = in_memory(self._db)
        if self._journal is not None:
            # What memory holds is not in the journal: a process that only looks into the outbox must not empty that.
            self._journal.close()
            self._journal = None
        # Positions start again where no result was left.
        self._first_waiting = 0
        self.trouble = reason

    def sync(self) -> None:
        """Make what was accepted survive a power failure; any thread, waits for the disk."""
        with self._lock:
            self._move_pending()
            wal, is_dirty, self._is_dirty = self._wal, self._is_dirty, False
        if wal is not None and is_dirty:
            with contextlib.suppress(OSError):
                os.fsync(wal)

    def take(self, most: int, most_bytes: int) -> list[ResultFrame]:
        """Take a batch of the oldest results: at most `most`, and `most_bytes` beyond the first; see `give_back`."""
        chosen: list[int] = []
        size = 0
        first = 0
        with self._reading() as db:
            for position, result_id, length in db.execute(
                "SELECT position, id, length(body) FROM results"
                " WHERE position >= ? AND refusal IS NULL ORDER BY position",
                (self._first_waiting,),
            ):
                first = first or position
                if result_id in self._taken:
                    continue
                size += length
                if len(chosen) == most or (chosen and size > most_bytes):
                    break
                chosen.append(position)
            self._first_waiting = first or self._first_waiting
            # Only now: the body of a row that is passed over may be large.
            batch = queued(db, chosen)
            self._taken.update(each.head.id for each in batch)
        return batch

    def give_back(self, batch: Iterable[ResultFrame]) -> None:
        """Give a batch back: its results wait again."""
        with self._lock:
            self._taken.difference_update(each.head.id for each in batch)

    def acknowledge(self, batch: Sequence[ResultFrame]) -> None:
        """Delete results that the server has taken."""
        ids = [(each.head.id,) for each in batch]
        self._change(lambda db: db.executemany("DELETE FROM results WHERE id = ?", ids))
        self.give_back(batch)

    def refuse(self, queued: ResultFrame, words: str) -> None:
        """Keep a result that the server will not take, with the server's words."""
        values = (encodable(words), queued.head.id)
        self._change(lambda db: db.execute("UPDATE results SET refusal = ? WHERE id = ?", values))
        self.give_back([queued])

    def forgive(self) -> None:
        """Let refused results and attachments be tried again; for whoever resends."""

        def work(db: sqlite3.Connection) -> None:
            self._first_waiting = 0
            db.execute("UPDATE results SET refusal = NULL")
            db.execute("UPDATE contents SET refusal = NULL")

        self._change(work)

    def refusals(self) -> Counter[str]:
        """Count refused results by the server's words."""
        with self._reading() as db:
            rows = db.execute("SELECT refusal, count(*) FROM results WHERE refusal IS NOT NULL GROUP BY refusal")
            return Counter(dict(rows.fetchall()))

    def refused(self) -> list[tuple[str, str]]:
        """Give the node id of each refused result, and the server's words."""
        with self._reading() as db:
            return db.execute(
                "SELECT nodeid, refusal FROM results WHERE refusal IS NOT NULL ORDER BY position"
            ).fetchall()

    def undelivered(self) -> int:
        """Count all results that the server has not acknowledged."""
        with self._reading() as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])

    def left(self) -> int:
        """Count the results that are still to be sent, those of tests that began and did not end included."""
        return self.undelivered() + len(self.running())

    def content(self, digest: str) -> ContentHead | None:
        """Give an attachment that is not uploaded yet."""
        with self._reading() as db:
            row = db.execute(
                "SELECT digest, name, mime, size FROM contents"
                " WHERE digest = ? AND remote_id IS NULL AND refusal IS NULL",
                (digest,),
            ).fetchone()
        return None if row is None else ContentHead(*row)

    def is_whole(self, content: ContentHead) -> bool:
        """Whether all pieces of an attachment are there."""
        with self._reading() as db:
            (size,) = db.execute(
                "SELECT total(length(body)) FROM pieces WHERE digest = ?", (content.digest,)
            ).fetchone()
        return int(size) == content.size

    def piece(self, digest: str, number: int) -> bytes | None:
        """Give one piece of an attachment's content; None after the last."""
        with self._reading() as db:
            row = db.execute("SELECT body FROM pieces WHERE digest = ? AND number = ?", (digest, number)).fetchone()
        return None if row is None else bytes(row[0])

    def uploaded(self, digest: str, remote_id: object) -> None:
        """Keep the server's id of an attachment in the place of its content."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE contents SET remote_id = ? WHERE digest = ?", (json.dumps(remote_id), digest))
            db.execute("DELETE FROM pieces WHERE digest = ?", (digest,))

        self._change(work)

    def refuse_content(self, digest: str, words: str) -> None:
        """Note that the server will not take an attachment, with its words."""
        values = (encodable(words), digest)
        self._change(lambda db: db.execute("UPDATE contents SET refusal = ? WHERE digest = ?", values))

    def remote_ids(self, digests: Iterable[str]) -> dict[str, object]:
        """Give the server's ids of those attachments that have one."""
        return {digest: json.loads(value) for digest, value in self._column("remote_id", digests)}

    def content_refusals(self, digests: Iterable[str]) -> list[str]:
        """Name the attachments that the server would not take, each with its words."""
        return [words for _, words in self._column("name || ': ' || refusal", digests)]

    def _column(self, column: str, digests: Iterable[str]) -> list[tuple[str, str]]:
        query = f"SELECT digest, {column} FROM contents WHERE digest = ?"  # noqa: S608
        with self._reading() as db:
            rows = [db.execute(query, (digest,)).fetchone() for digest in digests]
        return [row for row in rows if row is not None and row[1] is not None]

    def running(self) -> list[tuple[str, bytes]]:
        """Give the tests that began and did not end: node id, and the result as far as it was known."""
        with self._reading() as db:
            return [(nodeid, bytes(body)) for nodeid, body in db.execute("SELECT nodeid, body FROM running")]

    def remember(self, **facts: Unpack[SessionFacts]) -> None:
        """Keep facts of the session for a later resend; those of earlier calls stay."""
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._change(lambda db: db.executemany("INSERT OR REPLACE INTO session VALUES (?, ?)", rows))

    def session(self) -> SessionFacts:
        """Return all that `remember` kept."""
        with self._reading() as db:
            facts = {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM session")}
        return cast("SessionFacts", facts)

    def close(self, *, delete: bool = False) -> None:
        """Close the file, and delete it where asked to. May be called twice."""
        with self._lock:
            self._move_pending()
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()
            with contextlib.suppress(sqlite3.Error):
                if not delete:
                    shrink(self._db)
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            if self._wal is not None:
                os.close(self._wal)
                self._wal = None
            if self._claim is not None:
                self._claim.release()
        if delete and self.files is not None:
            remove(self.files)
