"""The store of the embedded server: runs, results and attachments in one SQLite file."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from famacase_xdist.errors import IdempotencyConflict
from famacase_xdist.results.status import STATUSES

from .database import open_database
from .records import (
    Attachment,
    AttachmentFile,
    Environment,
    NewRun,
    Project,
    ResultPayload,
    StoredResult,
    StoredRun,
    Upload,
    canonical_status,
)

_UPSERT = """
INSERT INTO results (run_id, id, title, status, received_at, payload) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, id) DO UPDATE SET title = excluded.title, status = excluded.status,
    payload = excluded.payload, times_received = times_received + 1
"""
_INSERT_RUN = """
INSERT INTO runs (project, title, description, is_autotest, plan_id, environment_id, tags,
                  idempotency_key, digest, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COUNTS = """
SELECT run_id, status, count(*) AS n FROM results
WHERE run_id IN (SELECT value FROM json_each(?)) GROUP BY run_id, status
"""
_MAX_ROW_ID = 2**63 - 1


class Store:
    """Runs, results and attachments in one SQLite file.

    Any thread may call any method, because the one connection is behind one lock. Times are seconds since the epoch.
    """

    def __init__(self, path: Path | str) -> None:
        """Open the file, or create it if it is not there.

        Raises:
            StoreVersionError: A newer version of this package wrote the file.
            StoreError: The file cannot be opened, or it is not a database of this package.
        """
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection = open_database(self.path)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write everything into the one file and close it. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # When the last connection of all processes closes, SQLite itself empties and removes the -wal.
            self._connection.close()

    # Projects and what belongs to them

    def add_project(self, code: str, title: str | None = None) -> Project:
        """Add a project, or return the one that has this code already."""
        known = self.project(code)
        if known:
            return known
        self._write("INSERT OR IGNORE INTO projects (code, title) VALUES (?, ?)", code, title or code)
        added = self.project(code)
        assert added is not None
        return added

    def project(self, code: str) -> Project | None:
        """Return a project, or None if it is unknown."""
        row = self._one("SELECT id, code, title FROM projects WHERE code = ?", code)
        return Project(**dict(row)) if row else None

    def add_environment(self, project: str, slug: str, title: str | None = None) -> Environment:
        """Add an environment, or return the one that has this slug already."""
        sql = "INSERT OR IGNORE INTO environments (project, slug, title) VALUES (?, ?, ?)"
        self._write(sql, project, slug, title or slug)
        return self.environments(project, slug)[0]

    def environments(self, project: str, slug: str | None = None) -> list[Environment]:
        """Return all environments of a project, or only the one that has the slug."""
        rows = self._all(
            """SELECT id, slug, title FROM environments
               WHERE project = ? AND slug = ifnull(?, slug) ORDER BY id""",
            *(project, slug),
        )
        return [Environment(**dict(row)) for row in rows]

    def has_environment(self, project: str, environment_id: int) -> bool:
        """Return whether a project has an environment of this id."""
        return any(environment.id == environment_id for environment in self.environments(project))

    def add_plan(self, project: str, case_ids: Sequence[int], plan_id: int | None = None) -> int:
        """Add a test plan and return its id, which is the next free one if none is given."""
        sql = "INSERT INTO plans (id, project, case_ids) VALUES (?, ?, ?)"
        return self._write(sql, plan_id, project, json.dumps(list(case_ids)))

    def plan_cases(self, project: str, plan_id: int) -> list[int] | None:
        """Return the case ids of a test plan, or None if it is unknown."""
        sql = "SELECT case_ids FROM plans WHERE project = ? AND id = ?"
        row = self._one(sql, project, plan_id) if _is_row_id(plan_id) else None
        return json.loads(row["case_ids"]) if row else None

    # Runs

    def create_run(self, project: str, new: NewRun) -> int:
        """Create a run and return its id; if its key created a run before, return the id of that one.

        Raises:
            IdempotencyConflict: The key created a run before, with another body.
        """
        digest = _digest(new)
        with self._transaction():
            row = self._one("SELECT id, digest FROM runs WHERE project = ? AND idempotency_key = ?", project, new.key)
            if row is None:
                return self._insert_run(project, new, digest)
        if row["digest"] != digest:
            raise IdempotencyConflict(f"Idempotency-Key {new.key!r} made run {row['id']} with another body")
        return int(row["id"])

    def _insert_run(self, project: str, new: NewRun, digest: str) -> int:
        cursor = self._connection.execute(
            _INSERT_RUN,
            (
                *(project, new.title, new.description, new.is_autotest, new.plan_id, new.environment_id),
                *(json.dumps(new.tags), new.key, digest, time.time()),
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def has_run(self, project: str, run_id: int) -> bool:
        """Return whether a run is there and belongs to a project."""
        sql = "SELECT 1 FROM runs WHERE project = ? AND id = ?"
        return _is_row_id(run_id) and self._one(sql, project, run_id) is not None

    def run(self, run_id: int) -> StoredRun | None:
        """Return a run, or None if it is unknown."""
        if not _is_row_id(run_id):
            return None
        with self._lock:
            runs = self._runs("SELECT * FROM runs WHERE id = ?", run_id)
        return runs[0] if runs else None

    def runs(self, limit: int | None = None, offset: int = 0) -> list[StoredRun]:
        """Return the runs, the newest first."""
        with self._lock:
            return self._runs("SELECT * FROM runs ORDER BY id DESC LIMIT ifnull(?, -1) OFFSET ?", limit, offset)

    def _runs(self, sql: str, *values: object) -> list[StoredRun]:
        rows = self._all(sql, *values)
        counts: dict[int, dict[str, int]] = {row["id"]: dict.fromkeys(STATUSES, 0) for row in rows}
        for row in self._all(_COUNTS, json.dumps(list(counts))):
            counts[row["run_id"]][row["status"]] = row["n"]
        return [_run(row, counts[row["id"]]) for row in rows]

    def complete_run(self, run_id: int) -> None:
        """Complete a run. The time of the first call is kept; later calls are only counted."""
        self._write(
            """UPDATE runs SET completed_at = ifnull(completed_at, ?),
               complete_requests = complete_requests + 1 WHERE id = ?""",
            *(time.time(), run_id),
        )

    def publish_run(self, run_id: int, public: bool) -> None:
        """Note whether a run has a public link."""
        self._write("UPDATE runs SET is_public = ? WHERE id = ?", public, run_id)

    # Results

    def add_results(self, run_id: int, payloads: Iterable[ResultPayload]) -> None:
        """Keep results in one transaction. A result replaces the one of the same id, whose counter goes up by one."""
        now = time.time()
        rows = [_result_row(run_id, payload, now) for payload in payloads]
        with self._transaction():
            self._connection.executemany(_UPSERT, rows)

    def results(self, run_id: int) -> list[ResultPayload]:
        """Return the results of a run as they were sent, in the order of their first arrival."""
        return [stored.payload for stored in self.stored_results(run_id)]

    def stored_results(
        self, run_id: int, status: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[StoredResult]:
        """Return the results of a run in the order of their first arrival; all of them, or those of one status."""
        rows = self._all(
            """SELECT position, id, title, status, received_at, times_received, payload FROM results
               WHERE run_id = ? AND status = ifnull(?, status) ORDER BY position LIMIT ifnull(?, -1) OFFSET ?""",
            *(run_id, status, limit, offset),
        )
        return [StoredResult(**{**dict(row), "payload": json.loads(row["payload"])}) for row in rows]

    # Attachments

    def add_attachments(self, project: str, uploads: Iterable[Upload]) -> list[Attachment]:
        """Keep files in one transaction and return them in the same order. Equal content is kept once."""
        with self._transaction():
            return [self._add_attachment(project, upload) for upload in uploads]

    def _add_attachment(self, project: str, upload: Upload) -> Attachment:
        sha256 = hashlib.sha256(upload.content).hexdigest()
        kept = Attachment(uuid.uuid4().hex, upload.file_name, upload.mime_type, len(upload.content), sha256)
        self._connection.execute("INSERT OR IGNORE INTO contents VALUES (?, ?)", (sha256, upload.content))
        self._connection.execute(
            "INSERT INTO attachments VALUES (?, ?, ?, ?, ?, ?, ?)",
            (kept.id, project, kept.file_name, kept.mime_type, kept.file_size, sha256, time.time()),
        )
        return kept

    def attachment(self, attachment_id: str) -> AttachmentFile | None:
        """Return a file with its content, or None if it is unknown."""
        row = self._one(
            """SELECT id, file_name, mime_type, file_size, sha256, content
               FROM attachments JOIN contents USING (sha256) WHERE id = ?""",
            attachment_id,
        )
        return AttachmentFile(**dict(row)) if row else None

    def count_contents(self) -> int:
        """Return the number of different contents that are kept."""
        return int(self._all("SELECT count(*) FROM contents")[0][0])

    # The connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:
                yield

    def _write(self, sql: str, *values: object) -> int:
        with self._transaction():
            return self._connection.execute(sql, values).lastrowid or 0

    def _all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: object) -> sqlite3.Row | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None


def _is_row_id(value: int) -> bool:
    # The sqlite3 module raises OverflowError for a larger number.
    return 0 < value <= _MAX_ROW_ID


def _digest(new: NewRun) -> str:
    body: dict[str, object] = {**vars(new), "key": None}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _run(row: sqlite3.Row, counts: dict[str, int]) -> StoredRun:
    values = dict(row)
    for name in ("idempotency_key", "digest"):
        del values[name]
    for name in ("is_autotest", "is_public"):
        values[name] = bool(values[name])
    return StoredRun(**{**values, "tags": tuple(json.loads(values["tags"])), "counts": counts})


def _result_row(run_id: int, payload: ResultPayload, now: float) -> tuple[object, ...]:
    status = canonical_status(payload["execution"]["status"])
    return run_id, payload["id"], payload["title"], status, now, json.dumps(payload)
