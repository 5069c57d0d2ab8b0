"""One run for many jobs: who is first with a run key creates the run, the others join it, the last one completes it.

The key's directory below the state directory holds its lock, its record, and a lease for each session that lives.
All that this module does happens under the lock, the call that creates the run and the one that completes it
included; so what it decides is true until the server has heard it.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

#: Seconds after which nothing of a run key is kept.
KEPT_SECONDS = 7 * 24 * 3600.0
#: Seconds to wait for who looks into an outbox.
LOOK_PATIENCE = 1.0


class Sharing:
    """This session's part in a run key, or in a run that is shared by its number.

    Args:
        state: The state directory, which all sessions of the key share.
        scope: What makes equal keys different: the server's address and the project.
        key: The run key.
        member: This session, as it joins; its outbox is the file of that name.
        run_id: The run's id where it has been created elsewhere; then `key` only names the record.
        lock_timeout: Seconds to wait for the key's lock.

    Attributes:
        continues: The completed run that had the key before; None where there was none.
        is_member: Whether this session is on record.
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
        """Who holds the lock that this session waits for; empty where it does not wait."""
        return self._lock.waits_for if self._lock else ""

    def join(self, request: RunRequest, api: Api, give_up: Callable[[], bool]) -> RunId:
        """Join the key's run, or create it from `request` if no session has; return its id.

        A run that the server does not know any more is made anew.

        Raises:
            LockTimeout: Another session had the lock all the time.
            SharingError: The state directory cannot be used.
            DeliveryError: The run could not be created, or looked for; this session is on record all the same.
        """
        run_id, is_new = self._joined(request, api, give_up)
        if not is_new:
            run_id = self._looked_at(run_id, request, api, give_up)
        self._sweep()
        return run_id

    def _looked_at(self, run_id: RunId, request: RunRequest, api: Api, give_up: Callable[[], bool]) -> RunId:
        """Give the run that results can go to: the key's, or the next one where the server has no use for that."""
        try:
            is_gone, is_over = False, api.run(run_id).get("status") == "completed"
        except Refused as error:
            if error.status != 404:
                raise
            is_gone, is_over = True, False
        if self._run_id is not None:
            if is_gone:
                raise Refused("there is no such run", status=404)
            return run_id
        if is_gone or is_over:
            # Somebody deleted it, or completed it by hand.
            run_id, _ = self._joined(request, api, give_up, gone=run_id if is_gone else None, over=run_id)
        return run_id

    def _joined(
        self,
        request: RunRequest,
        api: Api,
        give_up: Callable[[], bool],
        *,
        gone: RunId | None = None,
        over: RunId | None = None,
    ) -> tuple[RunId, bool]:
        """Give the run's id, and whether this session has created it."""
        with self._held(self._lock_timeout, give_up):
            record = self._read() or Record(self.key)
            if gone is not None and record.run_id == gone:
                record.run_id = record.request = None
            elif record.completed or (over is not None and record.run_id == over):
                record = record.continued()
            if self._run_id is not None:
                record.run_id = self._run_id
            self._enter(record)
            if record.run_id is not None:
                return record.run_id, False
            # What a session asked for that died of it is asked for again, with its Idempotency-Key.
            record.request = record.request or dataclasses.asdict(_continuing(request, record.previous, api))
            self._write(record)
            record.run_id = self._created(record, api)
            # Who cannot read it asks for the same again, so a disk that is full now costs nothing but that.
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
                # The next session may ask for something better.
                record.request = None
                self._write(record)
            raise

    def _enter(self, record: Record) -> None:
        """Put this session on record while its lease is held: from here on nobody completes the run without it."""
        self.continues = record.previous
        self._lease(self.member.id).hold()
        if record.member(self.member.id) is None:
            record.members.append(self.member)
        if self._kind == file_system.LEASE:
            # Looked at now, so that at the end one that nobody refreshes has been watched for long enough.
            for each in record.members:
                self._is_alive(each)
        self._write(record)
        self.is_member = True

    def leave(
        self, run_id: RunId | None, api: Api, *, state: Ending, undelivered: int, patience: float | None = None
    ) -> list[str]:
        """Say goodbye, and complete the run if that is all that is missing; gives the reasons where it is not.

        Raises:
            LockTimeout: Another session had the lock all the time.
            SharingError: The state directory cannot be used.
            DeliveryError: The run could not be completed.
        """
        with self._held(self._lock_timeout if patience is None else patience, lambda: False):
            record = self._read()
            me = record.member(self.member.id) if record else None
            if record is None or me is None:
                return ["its run key has gone on without it (famacase-xdist run complete)"]
            me.state, me.undelivered = state, undelivered
            self._write(record)
            self._lease(me.id).drop()
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
                self._lock = KeyLock(self._files, self._kind)
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
        """Return how many results a session that died has in its outbox."""
        files = self._state.outbox(member.id)
        if not files.database.is_file():
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
        """Replace the record: who dies meanwhile leaves the old one."""
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
        """Remove keys that nobody has used for `KEPT_SECONDS`; whatever is in the way of that is left there."""
        oldest = time.time() - KEPT_SECONDS
        with contextlib.suppress(OSError):
            for key in self._state.all_run_keys():
                with contextlib.suppress(OSError, LockTimeout):
                    if _used(key) < oldest:
                        self._remove(key, oldest)

    def _remove(self, key: RunKeyFiles, oldest: float) -> None:
        if self._kind == file_system.LEASE and key.lock.exists() and key.lock.stat().st_mtime < oldest:
            key.lock.unlink()  # its holder has not refreshed it for a week
        with KeyLock(key, self._kind).hold(0):
            if key.record.exists() and _used(key) >= oldest:
                return
            leases = list(key.leases.glob("*"))
            if any(self._is_held(path, oldest) for path in leases):
                return
            # The lock's file goes last: a session that waits for it then sees that it guards nothing any more.
            for path in [*leases, *key.records(), key.holder]:
                path.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                key.leases.rmdir()
            if self._kind == file_system.FLOCK:
                key.lock.unlink()
        with contextlib.suppress(OSError):
            key.path.rmdir()

    def _is_held(self, lease: Path, oldest: float) -> bool:
        if self._kind == file_system.LEASE:
            return lease.stat().st_mtime >= oldest  # who lives refreshes it
        return Lease(lease, self._kind).is_alive()


def _used(key: RunKeyFiles) -> float:
    """Return when a key was used last, in seconds since the epoch."""
    return (key.record if key.record.exists() else key.path).stat().st_mtime


def _continuing(request: RunRequest, previous: RunId | None, api: Api) -> RunRequest:
    if previous is None:
        return request
    link = f"Continues run {previous}, which is completed: {api.run_url(previous)}"
    return dataclasses.replace(request, description=f"{request.description}\n{link}")
