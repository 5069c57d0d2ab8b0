"""The state directory, whose files outlive a session. All paths in it are made here.

::

    outbox/<session>/writer             the outbox of a session: the lock of the session, which writes the journal,
    outbox/<session>/reader             the lock of the process that delivers,
    outbox/<session>/lease              its lease, if locks do not reach other machines,
    outbox/<session>/00000001.journal   a segment of the journal,
    outbox/<session>/notes              what the process that delivers has noted,
    outbox/<session>/contents/<digest>  and an attachment; <digest>.part while it is being written
    outbox/.new-<session>               an outbox that is being made
    runs/locks                          the kind of lock that all users of the directory have
    runs/<digest>/lock                  the lock around one run key,
    runs/<digest>/holder                the process that has it, for people,
    runs/<digest>/record.json           the record: the run and the sessions that joined it,
    runs/<digest>/leases/<session>      and the lease of each session that lives
    log/<session>.log                   the session's log, with FAMACASE_LOGGING_FILE
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from famacase_xdist.settings.settings import Settings
from famacase_xdist.system import System

#: The embedded server's database, below pytest's rootdir, or below the directory that `serve` is started in.
EMBEDDED_DATABASE = Path(".famacase", "famacase.sqlite3")
#: The mode of our directories: only the owner may read them, because results may be confidential.
PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The names in a state directory. A method makes or reads nothing unless its docstring says so.

    Attributes:
        path: The directory itself.
    """

    path: Path

    @classmethod
    def of(cls, settings: Settings) -> StateDirectory:
        """Return the directory that the settings name, or else the user's own state directory."""
        if settings.state_dir is not None:
            return cls(settings.state_dir)
        import platformdirs  # imported late because it takes as long as all other imports of this module

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
        """The file that names the kind of lock that all users of the directory have."""
        return self.runs / "locks"

    def new_outbox(self) -> OutboxFiles:
        """Return the files of a new session's outbox; their name is the name of the session everywhere."""
        return self.outbox(f"{time.strftime('%Y%m%dT%H%M%S')}-{System.urandom(6).hex()}")

    def outbox(self, session: str) -> OutboxFiles:
        """Return the files of a session's outbox."""
        return OutboxFiles(self, session)

    def all_outboxes(self) -> list[OutboxFiles]:
        """Return the files of all outboxes that there are, the oldest first. This reads the directory.

        Raises:
            OSError: The directory cannot be read.
        """
        if not self.outboxes.exists():
            return []
        return [
            self.outbox(path.name)
            for path in sorted(self.outboxes.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ]

    def run_key(self, digest: str) -> RunKeyFiles:
        """Return the files of a run key, which a digest names."""
        return RunKeyFiles(self.runs / digest)

    def all_run_keys(self) -> Iterator[RunKeyFiles]:
        """Yield the files of all run keys that there are. This reads the directory.

        Raises:
            OSError: The directory cannot be read.
        """
        yield from (RunKeyFiles(path) for path in self.runs.iterdir() if path.is_dir())

    def log(self, session: str) -> Path:
        """Return the file of a session's log."""
        return self.path / "log" / f"{session}.log"


@dataclass(frozen=True, slots=True)
class OutboxFiles:
    """The files of one session's outbox.

    Attributes:
        state: The state directory.
        session: The name of the session.
        path: The directory that they are in.
    """

    state: StateDirectory
    session: str
    path: Path = field(init=False, repr=False, compare=False)
    _text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.state.outboxes / self.session)
        object.__setattr__(self, "_text", str(self.path))

    @property
    def new(self) -> Path:
        """The directory while it is being made."""
        return self.state.outboxes / f".new-{self.session}"

    @property
    def writer(self) -> Path:
        """The lock of the session, which writes the journal."""
        return self.path / "writer"

    @property
    def reader(self) -> Path:
        """The lock of the process that delivers."""
        return self.path / "reader"

    @property
    def lease(self) -> Path:
        """The lease of the process that delivers, if its lock does not reach other machines."""
        return self.path / "lease"

    @property
    def notes(self) -> Path:
        """What the process that delivers has noted."""
        return self.path / "notes"

    @property
    def contents(self) -> Path:
        """The directory of the attachments."""
        return self.path / "contents"

    # The names that are needed while tests run are no paths, because a test may replace what `pathlib` calls.

    def segment(self, number: int) -> str:
        """Return a segment of the journal, numbered from 1."""
        return f"{self._text}/{number:08d}.journal"

    def segments(self) -> list[int]:
        """Return the numbers of the segments that there are, in their order. This reads the directory.

        Raises:
            OSError: The directory cannot be read.
        """
        return sorted(int(path.stem) for path in self.path.iterdir() if re.fullmatch(r"\d{8}\.journal", path.name))

    def content(self, digest: str) -> str:
        """Return the file of an attachment."""
        return f"{self._text}/contents/{digest}"

    def part(self, digest: str) -> str:
        """Return the file of an attachment that is not whole yet."""
        return f"{self.content(digest)}.part"


@dataclass(frozen=True, slots=True)
class RunKeyFiles:
    """The files of one run key.

    Attributes:
        path: The directory that they are in.
    """

    path: Path

    @property
    def lock(self) -> Path:
        """The lock around all other files of the run key."""
        return self.path / "lock"

    @property
    def holder(self) -> Path:
        """The file that names the process that has the lock, for people."""
        return self.path / "holder"

    @property
    def record(self) -> Path:
        """The record: the run, and the sessions that joined it."""
        return self.path / "record.json"

    @property
    def leases(self) -> Path:
        """The directory of the sessions' leases."""
        return self.path / "leases"

    def new_record(self) -> Path:
        """Return a new name for a record that is still being written."""
        return self.path / f"record-{uuid.uuid4().hex}"

    def records(self) -> list[Path]:
        """Return the record, and the records that never took its place. This reads the directory."""
        return list(self.path.glob("record*"))

    def lease(self, session: str) -> Path:
        """Return the lease of a session."""
        return self.leases / session
