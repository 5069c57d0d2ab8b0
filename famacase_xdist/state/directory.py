"""The state directory: what outlives a session. Every path of ours is made here.

::

    outbox/<session>.sqlite3        an outbox: its database,
    outbox/<session>.sqlite3-wal    SQLite's log of it,
    outbox/<session>.sqlite3-tail   its journal,
    outbox/<session>.lease          and who has it, where SQLite's own lock does not leave the machine
    runs/locks                      which kind of lock all users of the directory have
    runs/<digest>/lock              the lock around one run key,
    runs/<digest>/holder            who holds it, for people,
    runs/<digest>/record.json       the run and the sessions that joined it,
    runs/<digest>/leases/<session>  and one lock for each session that lives
    log/<session>.log               what FAMACASE_LOGGING_FILE asks for
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from famacase_xdist.settings.settings import Settings

#: For the owner only: results may be confidential.
PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Names what is in a state directory; nothing is made or read unless a method says so."""

    path: Path

    @classmethod
    def of(cls, settings: Settings) -> StateDirectory:
        """Return the directory that the settings name, else the user's own."""
        if settings.state_dir is not None:
            return cls(settings.state_dir)
        import platformdirs  # only where it is needed: it costs as much as all else here

        return cls(platformdirs.user_state_path("famacase-xdist", appauthor=False))

    @property
    def outboxes(self) -> Path:
        """The directory of the outboxes."""
        return self.path / "outbox"

    @property
    def runs(self) -> Path:
        """The directory of the run keys."""
        return self.path / "runs"

    @property
    def lock_kind(self) -> Path:
        """The file that says which kind of lock all users of the directory have."""
        return self.runs / "locks"

    def new_outbox(self) -> OutboxFiles:
        """Return the files of a new session; their name is the session's own everywhere."""
        return self.outbox(f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:12]}")

    def outbox(self, session: str) -> OutboxFiles:
        """Return the files of a session."""
        return OutboxFiles(self, session)

    def all_outboxes(self) -> list[OutboxFiles]:
        """Return the files of all sessions that there are, the oldest first; looks into the directory.

        Raises:
            OSError: The directory cannot be read.
        """
        return [self.outbox(path.stem) for path in sorted(self.outboxes.glob("*.sqlite3"))]

    def run_key(self, digest: str) -> RunKeyFiles:
        """Return the files of a run key."""
        return RunKeyFiles(self.runs / digest)

    def all_run_keys(self) -> Iterator[RunKeyFiles]:
        """Yield the files of all run keys that there are; looks into the directory.

        Raises:
            OSError: The directory cannot be read.
        """
        yield from (RunKeyFiles(path) for path in self.runs.iterdir() if path.is_dir())

    def log(self, session: str) -> Path:
        """Return the file for a session's log."""
        return self.path / "log" / f"{session}.log"


@dataclass(frozen=True, slots=True)
class OutboxFiles:
    """The files of one session's outbox."""

    state: StateDirectory
    session: str

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.state.outboxes / f"{self.session}.sqlite3"

    @property
    def write_ahead_log(self) -> Path:
        """SQLite's log of the database."""
        return Path(f"{self.database}-wal")

    @property
    def journal(self) -> Path:
        """The file of frames that are accepted and not yet in the database."""
        return Path(f"{self.database}-tail")

    @property
    def lease(self) -> Path:
        """The file that says who has the outbox, where SQLite's own lock does not leave the machine."""
        return self.state.outboxes / f"{self.session}.lease"


@dataclass(frozen=True, slots=True)
class RunKeyFiles:
    """The files of one run key."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock around all else here."""
        return self.path / "lock"

    @property
    def holder(self) -> Path:
        """Who holds the lock, for people."""
        return self.path / "holder"

    @property
    def record(self) -> Path:
        """The run, and the sessions that joined it."""
        return self.path / "record.json"

    @property
    def leases(self) -> Path:
        """The directory of the sessions' leases."""
        return self.path / "leases"

    def new_record(self) -> Path:
        """Return a new name for a record that is still being written."""
        return self.path / f"record-{uuid.uuid4().hex}"

    def records(self) -> list[Path]:
        """Return the record and those that never took its place; looks into the directory."""
        return list(self.path.glob("record*"))

    def lease(self, session: str) -> Path:
        """Return the lock that says that a session lives."""
        return self.leases / session
