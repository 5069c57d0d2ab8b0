"""The only queue: a SQLite file for each session, from which only the server's acknowledgement deletes.

A result is *accepted* when it is in the journal, from which it moves to the database together with others, or when the
transaction that inserts it is committed. The batches that are taken are known in memory only, so that a process that
opens the file after a crash finds all results waiting. The file is locked for as long as a process has it open. The
system releases that lock together with the process, so a file that can be opened belongs to no other process.
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
from famacase_xdist.results.frames import AnyFrame, ResultFrame, is_result
from famacase_xdist.results.text import encodable

from .directory import OutboxFiles
from .facts import SessionFacts
from .outbox_contents import OutboxContents
from .outbox_database import acquire_lease, in_memory, insert, open_database, remove, results_at, shrink
from .outbox_journal import Journal

#: Frames, and bytes of frames, with which the journal is moved to the database.
MOST_PENDING, MOST_PENDING_BYTES = 500, 2 * 1024 * 1024


class Outbox:
    """Results that the server has not acknowledged yet. All methods may be called from any thread.

    Args:
        files: Its files, made with mode 0600 in a directory of mode 0700. None keeps everything in memory.
        patience: Seconds to wait for a process that has the file open.

    Attributes:
        files: Its files; None if everything is in memory.
        contents: The contents of attachments.
        trouble: Why the file is not used any more, or empty. If it is not empty, everything is in memory, and the
            results that are left at the end are lost.
        lost: How many accepted results could not be kept, by the reason.

    Raises:
        OutboxError: The file cannot be used: a process has it open, it is damaged, or another version wrote it.
    """

    def __init__(self, files: OutboxFiles | None, *, patience: float = 0.0) -> None:
        self.files = files
        self.trouble = ""
        self.lost: Counter[str] = Counter()
        self.contents = OutboxContents(self._reading, self._change)
        self._lock = threading.RLock()
        self._taken: set[str] = set()
        # All results before this position are refused. Without it, if a server refuses everything, each batch would
        # read them all again.
        self._first_waiting = 0
        self._wal: int | None = None
        self._is_dirty = False
        with self._outbox_errors():
            self._lease = acquire_lease(files, patience) if files is not None else None
            self._db = open_database(self.path, patience)
            self._journal = None if files is None else Journal(files.journal)
            self._pending = [] if self._journal is None else self._journal.frames()
            if files is not None:
                self._wal = os.open(files.write_ahead_log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def path(self) -> Path | None:
        """The database file; None if everything is in memory."""
        return None if self.files is None else self.files.database

    @contextmanager
    def _outbox_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"outbox {self.path}: {error}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._outbox_errors():
            self._move_pending()
            yield self._db

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do some work, all or nothing. If the disk fails, move what can be read into memory, and do the work there."""
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
        """Do some work, all or nothing, on all that was accepted."""
        with self._lock:
            self._move_pending()
            self._write(work)

    def _transact(self, work: Callable[[sqlite3.Connection], object]) -> None:
        with self._outbox_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                work(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def put(self, frames: Sequence[AnyFrame]) -> None:
        """Accept frames, all or none. A result that is there already changes nothing.

        Raises:
            OutboxError: The frames could not be kept.
        """
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
        """Move the frames of the journal to the database."""
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
        """Move one frame to the database. If the database refuses it, drop it, because it would hold up all others."""
        try:
            self._write(partial(insert, [frame]))
        except Exception as error:
            if is_result(frame):
                self.lost[str(error)] += 1

    def _move_to_memory(self, reason: str) -> None:
        """Go on in memory with everything that can still be read."""
        self._db = in_memory(self._db)
        if self._journal is not None:
            # The frames of the journal move to memory, not to the file, so the journal must keep them. Otherwise a
            # process that only looks into the outbox, on a full disk, would destroy what another one can still send.
            self._journal.close()
            self._journal = None
        # Positions start again from 1 if no result was left.
        self._first_waiting = 0
        self.trouble = reason

    def sync(self) -> None:
        """Make everything that was accepted survive a power failure; waits for the disk."""
        with self._lock:
            self._move_pending()
            wal, is_dirty, self._is_dirty = self._wal, self._is_dirty, False
        if wal is not None and is_dirty:
            with contextlib.suppress(OSError):
                os.fsync(wal)

    def take(self, most: int, most_bytes: int) -> list[ResultFrame]:
        """Take a batch of the oldest results; they are not taken again until `give_back`.

        Args:
            most: Largest number of results.
            most_bytes: Largest number of bytes of their bodies; a single result may be larger.
        """
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
            # The bodies are read last, because those of the rows that are passed over may be large.
            batch = results_at(db, chosen)
            self._taken.update(each.head.id for each in batch)
        return batch

    def give_back(self, batch: Iterable[ResultFrame]) -> None:
        """Give a batch back, so that its results wait again. Results that are not taken are ignored."""
        with self._lock:
            self._taken.difference_update(each.head.id for each in batch)

    def acknowledge(self, batch: Sequence[ResultFrame]) -> None:
        """Delete results that the server has acknowledged."""
        ids = [(each.head.id,) for each in batch]
        self._change(lambda db: db.executemany("DELETE FROM results WHERE id = ?", ids))
        self.give_back(batch)

    def refuse(self, result: ResultFrame, words: str) -> None:
        """Keep a result that the server refuses, with the server's words."""
        values = (encodable(words), result.head.id)
        self._change(lambda db: db.execute("UPDATE results SET refusal = ? WHERE id = ?", values))
        self.give_back([result])

    def forgive(self) -> None:
        """Let refused results and attachments wait again, as a resend does."""

        def work(db: sqlite3.Connection) -> None:
            self._first_waiting = 0
            db.execute("UPDATE results SET refusal = NULL")
            db.execute("UPDATE contents SET refusal = NULL")

        self._change(work)

    def refusals(self) -> Counter[str]:
        """Return how many results are refused, by the server's words."""
        with self._reading() as db:
            rows = db.execute("SELECT refusal, count(*) FROM results WHERE refusal IS NOT NULL GROUP BY refusal")
            return Counter(dict(rows.fetchall()))

    def refused(self) -> list[tuple[str, str]]:
        """Return the node id of each refused result, and the server's words."""
        with self._reading() as db:
            return db.execute(
                "SELECT nodeid, refusal FROM results WHERE refusal IS NOT NULL ORDER BY position"
            ).fetchall()

    def undelivered(self) -> int:
        """Return how many results the server has not acknowledged."""
        with self._reading() as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])

    def left(self) -> int:
        """Return how many results are still to be sent, including those of tests that began and did not end."""
        return self.undelivered() + len(self.running())

    def running(self) -> list[tuple[str, bytes]]:
        """Return the tests that began and did not end: node id, and description as far as it was known."""
        with self._reading() as db:
            return [(nodeid, bytes(body)) for nodeid, body in db.execute("SELECT nodeid, body FROM running")]

    def remember(self, **facts: Unpack[SessionFacts]) -> None:
        """Keep facts of the session for a later resend; other facts of earlier calls stay."""
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._change(lambda db: db.executemany("INSERT OR REPLACE INTO session VALUES (?, ?)", rows))

    def session(self) -> SessionFacts:
        """Return all facts of the session that `remember` kept."""
        with self._reading() as db:
            facts = {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM session")}
        return cast("SessionFacts", facts)

    def close(self, *, delete: bool = False) -> None:
        """Close the file. May be called twice.

        Args:
            delete: Whether to delete the files.
        """
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
            if self._lease is not None:
                self._lease.release()
        if delete and self.files is not None:
            remove(self.files)
