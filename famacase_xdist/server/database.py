"""The SQLite file of the store: its tables, its version, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from famacase_xdist.errors import StoreError, StoreVersionError

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x46414D41  # "FAMA"
_BUSY_SECONDS = 30.0

_TABLES = """
CREATE TABLE projects (
    id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, title TEXT NOT NULL
);
CREATE TABLE environments (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL REFERENCES projects(code),
    slug TEXT NOT NULL, title TEXT NOT NULL, UNIQUE (project, slug)
);
CREATE TABLE plans (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL REFERENCES projects(code), case_ids TEXT NOT NULL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL REFERENCES projects(code),
    title TEXT NOT NULL, description TEXT, is_autotest INTEGER NOT NULL,
    plan_id INTEGER, environment_id INTEGER, tags TEXT NOT NULL,
    idempotency_key TEXT, digest TEXT NOT NULL,
    is_public INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL,
    completed_at REAL, complete_requests INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, idempotency_key)
);
CREATE TABLE results (
    position INTEGER PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL REFERENCES runs(id),
    id TEXT NOT NULL, title TEXT NOT NULL, status TEXT NOT NULL,
    received_at REAL NOT NULL, times_received INTEGER NOT NULL DEFAULT 1,
    payload TEXT NOT NULL, UNIQUE (run_id, id)
);
CREATE INDEX results_by_status ON results (run_id, status);
CREATE TABLE contents (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE attachments (
    id TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects(code),
    file_name TEXT NOT NULL, mime_type TEXT NOT NULL, file_size INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES contents(sha256), uploaded_at REAL NOT NULL
);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database, or create it if the file is not there.

    Returns:
        A connection that any thread may use, but only one thread at a time.

    Raises:
        StoreVersionError: A newer version of this package wrote the database.
        StoreError: The file cannot be opened, or it is not a database of this package.
    """
    try:
        # Test data may be confidential, so only the owner may read the file. SQLite gives -wal and -shm the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot open the database {path}: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"cannot use {path} as a database: {error}") from error
    except StoreError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.row_factory = sqlite3.Row
    # In a transaction, so that the three reads of `_check` see one state: another process may be making the tables.
    connection.execute("BEGIN")
    _check(connection, path)
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    # A second check, under the lock: another process may have made the tables after the first one.
    if _check(connection, path) == 0:
        _create(connection)
    connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StoreVersionError(path, version, SCHEMA_VERSION)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != _APPLICATION_ID and (tables or version):
        raise StoreError(f"{path} is a database of another program: use another file")
    return version


def _create(connection: sqlite3.Connection) -> None:
    # Not executescript, which would commit the open transaction first.
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
