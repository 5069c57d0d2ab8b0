"""One run for many jobs: the first session with a run key creates the run, the others join it, the last completes it.

The key's directory in the state directory contains its lock, its record, and a lease for each session that lives.
Everything here is done under the lock, including the call that creates the run and the one that completes it.
Therefore a decision stays true until the server has received it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from famacase_xdist.client.api import Api, RunRequest
from famacase_xdist.errors import LockTimeout, OutboxError, Refused, SharingError
from famacase_xdist.settings.run_reference import RunId
from famacase_xdist.state import file_system
from famacase_xdist.state.directory import PRIVATE, RunKeyFiles, StateDirectory
from famacase_xdist.state.locks import KeyLock, Lease
from famacase_xdist.state.outbox import Outbox

from .record import COMPLETED_ELSEWHERE, Ending, LeftBehind, Member, Record, why_open

#: Seconds without use after which a run key is forgotten.
KEPT_SECONDS = 7 * 24 * 3600.0
#: Seconds to wait for a process that looks into an outbox.
LOOK_PATIENCE = 1.0


class _Standing(enum.Enum):
    """What the server says about a run."""

    OPEN = enum.auto()
    COMPLETED = enum.auto()
    #: The server does not know the run any more.
    GONE = enum.auto()


class SharedRun:
    """The run of a run key, or a run that is shared by its number, as this session joins and leaves it.

    Args:
        state: The state directory, which all sessions of the key share.
        scope: The server's address and the project; equal keys of two scopes are different keys.
        key: The run key.
        member: This session; its outbox has the member's id as its name.
        run_id: The run's id if it was created elsewhere; then `key` only names the record.
        lock_timeout: Seconds to wait for the key's lock.

    Attributes:
        key: The run key.
        member: This session.
        continues: The id of the completed run that had the key before; None if there was none.
        is_member: Whether this session is in the record.
    """

    def __init__(
        self,
        state: StateDirectory,
        scope: tuple[str, str],
        key: str,
        member: Member,
        *,
        run_id: RunId | None = None,
        lock_timeout: float,
    ) -> None:
        digest = hashlib.sha256(json.dumps([*scope, key, run_id is None]).encode()).hexdigest()[:32]
        self._state = state
        self._files = state.run_key(digest)
        self._run_id = run_id
        self._lock_timeout = lock_timeout
        self._lock: KeyLock | None = None
        self._leases: dict[str, Lease] = {}
        self._kind = ""
        self.key = key
        self.member = member
        self.continues: RunId | None = None
        self.is_member = False

    @property
    def waits_for(self) -> str:
        """The process that has the lock; empty while this session does not wait for the lock."""
        return self._lock.waits_for if self._lock else ""

    def join(self, request: RunRequest, api: Api, give_up: Callable[[], bool]) -> RunId:
        """Join the key's run, or create it if no session has created it yet.

        If the server does not know the run any more, a new one is created.

        Args:
            request: The run to create.
            api: The calls of the project.
            give_up: Ends the waiting for the lock when it returns True.

        Returns:
            The id of the run.

        Raises:
            LockTimeout: Another session had the lock all the time.
            SharingError: The state directory cannot be used.
            DeliveryError: The run could not be created or asked for. This session may be in the record nevertheless.
        """
        run_id, is_new = self._joined(request, api, give_up)
        if not is_new:
            run_id = self._checked(run_id, request, api, give_up)
        self._sweep()
        return run_id

    def _checked(self, run_id: RunId, request: RunRequest, api: Api, give_up: Callable[[], bool]) -> RunId:
        """Return the id of a run that results can go to: this one, or the key's next one if this one is not open."""
        standing = _standing(run_id, api)
        if self._run_id is not None:
            if standing is _Standing.GONE:
                raise Refused("there is no such run", status=404)
            return run_id
        if standing is not _Standing.OPEN:
            # A person deleted it, or completed it by hand.
            run_id, _ = self._joined(request, api, give_up, spent=run_id, standing=standing)
        return run_id

    def _joined(
        self,
        request: RunRequest,
        api: Api,
        give_up: Callable[[], bool],
        *,
        spent: RunId | None = None,
        standing: _Standing = _Standing.OPEN,
    ) -> tuple[RunId, bool]:
        """Return the run's id, and whether this session has created the run.

        Args:
            request: The run to create.
            api: The calls of the project.
            give_up: Ends the waiting for the lock when it returns True.
            spent: The id of a run that results cannot go to any more; another session may have replaced it already.
            standing: What the server says about that run.
        """
        with self._held(self._lock_timeout, give_up):
            record = self._read() or Record(self.key)
            is_spent = spent is not None and record.run_id == spent
            if is_spent and standing is _Standing.GONE:
                record.run_id = record.request = None
            elif is_spent or record.completed:
                record = record.continued()
            if self._run_id is not None:
                record.run_id = self._run_id
            self._enter(record)
            if record.run_id is not None:
                return record.run_id, False
            # If a session died while it asked for the run, its request is sent again, with its Idempotency-Key.
            record.request = record.request or dataclasses.asdict(_continuing(request, record.previous, api))
            self._write(record)
            record.run_id = self._created(record, api)
            # If the disk is full now, the next session sends the same request again, which costs nothing else.
            with contextlib.suppress(OSError):
                self._write(record)
            return record.run_id, True

    def _created(self, record: Record, api: Api) -> RunId:
        assert record.request is not None
        try:
            request = RunRequest.from_json(record.request)
        except (TypeError, KeyError) as error:
            raise SharingError(f"its record is damaged: {error!r}") from None
        try:
            return api.create_run(request)
        except Refused as error:
            if not error.retryable:
                # The next session must not repeat a request that is refused for good; its own may be better.
                record.request = None
                self._write(record)
            raise

    def _enter(self, record: Record) -> None:
        """Put this session into the record, with its lease acquired, so that no other session completes the run."""
        self.continues = record.previous
        self._lease(self.member.id).hold()
        if record.member(self.member.id) is None:
            record.members.append(self.member)
        if self._kind == file_system.LEASE:
            # Each lease is watched from now on. At the end, one that is not refreshed any more has been watched for
            # long enough to count as dead.
            for each in record.members:
                self._is_alive(each)
        self._write(record)
        self.is_member = True

    def leave(
        self, run_id: RunId | None, api: Api, *, state: Ending, undelivered: int, patience: float | None = None
    ) -> list[str]:
        """Leave the run, and complete it if nothing is missing.

        Args:
            run_id: The run that this session reports to; None if it never joined one.
            api: The calls of the project.
            state: How the session ends.
            undelivered: How many results the server has not acknowledged.
            patience: Seconds to wait for the lock; None for `lock_timeout`.

        Returns:
            Why the run is not completed, a few words for each reason; empty if it is completed.

        Raises:
            LockTimeout: Another session had the lock all the time.
            SharingError: The state directory cannot be used.
            DeliveryError: The run could not be completed.
        """
        with self._held(self._lock_timeout if patience is None else patience, lambda: False):
            record = self._read()
            member = record.member(self.member.id) if record else None
            if record is None or member is None:
                return ["its run key has gone on without it (famacase-xdist run complete)"]
            member.state, member.undelivered = state, undelivered
            self._write(record)
            self._lease(member.id).drop()
            if run_id is None or record.run_id != run_id:
                return ["it was never opened" if run_id is None else f"the run key has gone on to run {record.run_id}"]
            if record.completed:
                return [COMPLETED_ELSEWHERE]
            reasons = why_open(record, self._is_alive, self._left_behind)
            if not reasons:
                api.complete_run(run_id)
                record.completed = True
                self._write(record)
            return reasons

    @contextmanager
    def _held(self, timeout: float, give_up: Callable[[], bool]) -> Iterator[None]:
        try:
            if self._lock is None:
                self._state.runs.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
                self._kind = file_system.lock_kind(self._state)
                self._lock = KeyLock(self._files, self._kind, self.member.pid)
            with self._lock.hold(timeout, give_up):
                yield
        except LockTimeout as error:
            raise LockTimeout(f"run key {self.key!r}: {error}") from None
        except OSError as error:
            raise SharingError(f"{self._state.runs}: {error.strerror or error}") from None

    def _lease(self, member_id: str) -> Lease:
        if member_id not in self._leases:
            self._leases[member_id] = Lease(self._files.lease(member_id), self._kind)
        return self._leases[member_id]

    def _is_alive(self, member: Member) -> bool:
        return member.state is Ending.NONE and (member.id == self.member.id or self._lease(member.id).is_alive())

    def _left_behind(self, member: Member) -> int | LeftBehind:
        """Return how many results a session that died has left in its outbox."""
        files = self._state.outbox(member.id)
        if not files.path.is_dir():
            return LeftBehind.NO_OUTBOX
        try:
            with contextlib.closing(Outbox(files, patience=LOOK_PATIENCE)) as outbox:
                return outbox.left()
        except OutboxError:
            return LeftBehind.LOCKED

    def _read(self) -> Record | None:
        path = self._files.record
        return Record.from_json(path.read_bytes()) if path.exists() else None

    def _write(self, record: Record) -> None:
        """Replace the record. A process that dies meanwhile leaves the old one."""
        path = self._files.new_record()
        try:
            with path.open("xb") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            path.replace(self._files.record)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        """Remove the run keys that were not used for `KEPT_SECONDS`. A key that cannot be removed stays."""
        oldest = time.time() - KEPT_SECONDS
        with contextlib.suppress(OSError):
            for key in self._state.all_run_keys():
                with contextlib.suppress(OSError, LockTimeout):
                    if _used(key) < oldest:
                        self._remove(key, oldest)

    def _remove(self, key: RunKeyFiles, oldest: float) -> None:
        """Remove a run key, unless it was used after `oldest` or a session of it lives."""
        if self._kind == file_system.LEASE and key.lock.exists() and key.lock.stat().st_mtime < oldest:
            key.lock.unlink()  # its owner has not refreshed it for a week
        with KeyLock(key, self._kind).hold(0):
            if key.record.exists() and _used(key) >= oldest:
                return
            leases = list(key.leases.glob("*"))
            if any(self._is_held(path, oldest) for path in leases):
                return
            # The lock's file is removed last. A session that waits for it then sees that the key is gone.
            for path in [*leases, *key.records(), key.holder]:
                path.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                key.leases.rmdir()
            if self._kind == file_system.FLOCK:
                key.lock.unlink()
        with contextlib.suppress(OSError):
            key.path.rmdir()

    def _is_held(self, lease: Path, oldest: float) -> bool:
        """Return whether the session of a lease lives."""
        if self._kind == file_system.LEASE:
            return lease.stat().st_mtime >= oldest  # a session that lives refreshes it
        return Lease(lease, self._kind).is_alive()


def _used(key: RunKeyFiles) -> float:
    """Return when a key was used last, in seconds since the epoch."""
    return (key.record if key.record.exists() else key.path).stat().st_mtime


def _standing(run_id: RunId, api: Api) -> _Standing:
    """Return what the server says about a run."""
    try:
        return _Standing.COMPLETED if api.run(run_id).get("status") == "completed" else _Standing.OPEN
    except Refused as error:
        if error.status != 404:
            raise
        return _Standing.GONE


def _continuing(request: RunRequest, previous: RunId | None, api: Api) -> RunRequest:
    """Return a request whose description links the completed run that had the key before, if there was one."""
    if previous is None:
        return request
    link = f"Continues run {previous}, which is completed: {api.run_url(previous)}"
    return dataclasses.replace(request, description=f"{request.description}\n{link}")
