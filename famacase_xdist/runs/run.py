"""The run that a session reports to: created by this session, joined by its number, or shared under a run key."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from famacase_xdist.client.api import Api, RunRequest
from famacase_xdist.errors import DeliveryError, Refused, SharingError
from famacase_xdist.log import log
from famacase_xdist.settings import ci
from famacase_xdist.settings.run_reference import RunId, run_id_of
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.directory import OutboxFiles
from famacase_xdist.state.facts import MemberFacts, RunFacts, SharedFacts

from .record import Ending, Member

if TYPE_CHECKING:
    from .run_key import SharedRun

JOINED_BY_NUMBER = "it was joined by its number (famacase-xdist run complete {})"
NOT_ASKED_FOR = "FAMACASE_TESTOPS_RUN_COMPLETE=false"


@dataclass(frozen=True, slots=True)
class Home:
    """The place of a session: its outbox in the state directory, and its project on a server.

    Attributes:
        outbox: The files of its outbox.
        scope: The server's address or the embedded server's database, and the project. A run key is known only within
            a scope.
        pid: The id of the session's process.
    """

    outbox: OutboxFiles
    scope: tuple[str, str]
    pid: int

    @property
    def session(self) -> str:
        """The session's name."""
        return self.outbox.session

    def shared_run(self, key: str, member: Member, run_id: RunId | None, lock_timeout: float) -> SharedRun:
        """Return the run of a key, which this session has not joined yet; arguments as in `SharedRun`."""
        # Imported late, because filelock is needed only by sessions that share a run.
        from .run_key import SharedRun

        return SharedRun(self.outbox.state, self.scope, key, member, run_id=run_id, lock_timeout=lock_timeout)


@dataclass(slots=True)
class Run:
    """The run of this session.

    The sender's thread calls `open` and `leave`; any thread may use the rest.

    Attributes:
        request: What the run is created from.
        join_id: The id of the run to join; None if the session creates one.
        shared: The run key's run, which other sessions report to as well; None if there is no run key.
        stays_open: Why this session may not complete the run; empty if it may.
        id: The server's id, an opaque JSON value; None until `open` has succeeded.
        url: The address of the run's page; empty until then.
        public_url: The public link to the run; empty if none was asked for, or the server gave none.
        completed: Whether this session completed the run.
        why_open: Why this session did not complete the run; empty before `leave`.
        is_owed: Whether this session still has to leave the run.
        settled: Set after the first try to open the run, whether it succeeded or not.
        trouble: Why the run is not open, in a few words; empty if it is open, or before the first try.
        notes: Further lines for people.
    """

    request: RunRequest
    join_id: RunId | None = None
    shared: SharedRun | None = None
    stays_open: str = ""
    id: RunId | None = None
    url: str = ""
    public_url: str = ""
    completed: bool = False
    why_open: str = ""
    is_owed: bool = True
    trouble: str = ""
    settled: threading.Event = field(default_factory=threading.Event)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def from_settings(cls, settings: Settings, home: Home | None = None) -> Run:
        """Return the run that the settings ask for, not yet open; nothing is sent.

        Args:
            settings: The settings of the session.
            home: The place of the session; None if it shares no run.
        """
        run = cls(run_request(settings))
        reference = settings.testops_run_id or ""
        run.join_id = run_id_of(reference)
        if not settings.testops_run_complete:
            run.stays_open = NOT_ASKED_FOR
        elif run.join_id is not None and "testops_run_complete" not in settings.sources:
            # No job knows of the others, so the person who gives one number to several jobs has to complete the run.
            run.stays_open = JOINED_BY_NUMBER.format(reference)
        if home is not None and reference and (run.join_id is None or not run.stays_open):
            member = Member(home.session, platform.node(), home.pid, _now(), settings.shard, not run.stays_open)
            run.shared = home.shared_run(reference, member, run.join_id, settings.lock_timeout)
        return run

    @classmethod
    def from_facts(cls, facts: RunFacts, home: Home, lock_timeout: float) -> Run:
        """Return the run of an earlier session, to go on with; the opposite of `facts`. Nothing is sent.

        Args:
            facts: The facts that the session's outbox keeps.
            home: The place of that session.
            lock_timeout: Seconds to wait for the run key's lock.

        Raises:
            KeyError, TypeError, ValueError: The facts are damaged.
        """
        run = cls(RunRequest.from_json(facts["request"]), join_id=facts["join_id"], id=facts["run_id"])
        run.stays_open = facts["stays_open"]
        if (shared := facts.get("shared")) is not None:
            member = Member(home.session, **shared["member"], completes=not run.stays_open)
            run.shared = home.shared_run(shared["key"], member, run.join_id, lock_timeout)
        return run

    @property
    def is_open(self) -> bool:
        """Whether results can be sent to the run."""
        return self.id is not None

    @property
    def opened(self) -> RunId:
        """The id of the run; only to be used if it is open."""
        assert self.id is not None
        return self.id

    @property
    def waits_for(self) -> str:
        """The process that has the run key's lock; empty while this session does not wait for the lock."""
        return self.shared.waits_for if self.shared else ""

    @property
    def continues(self) -> RunId | None:
        """The id of the completed run that had the run key before; None if there was none."""
        before = self.shared.continues if self.shared else None
        return None if before == self.id else before

    def open(
        self, api: Api, give_up: Callable[[], bool] = lambda: False, note: Callable[[], None] = lambda: None
    ) -> None:
        """Create the run, or check that the run to join exists.

        If the answer to the first try got lost, the Idempotency-Key makes a second try safe.

        Args:
            api: The calls of the project.
            give_up: Ends the waiting for a run key's lock when it returns True.
            note: Called when the run is open, before anybody is told.

        Raises:
            DeliveryError: The run is not open; the text says why.
        """
        try:
            api.check_project()
            self.id = self._open_own(api) if self.shared is None else self._open_shared(self.shared, api, give_up)
            self.url = api.run_url(self.id)
            self.trouble = ""
            log.info("run %s is open: %s", self.id, self.url)
            note()
        except DeliveryError as error:
            self.trouble = str(error)
            raise
        finally:
            self.settled.set()

    def _open_shared(self, shared: SharedRun, api: Api, give_up: Callable[[], bool]) -> RunId:
        try:
            return shared.join(self.request, api, give_up)
        except SharingError as error:
            self._stop_sharing(shared, str(error))
            return self._open_own(api)
        except Refused as error:
            raise self._explained(error, api) from None

    def _stop_sharing(self, shared: SharedRun, reason: str) -> None:
        """Go on without the run key, because a run too many can be seen and corrected, but missing results cannot."""
        own = "this session reports to a run of its own" if self.join_id is None else "so it is not completed"
        if self.join_id is not None or shared.is_member:
            self.stays_open = self.stays_open or "others may be in it"
        self.notes.append(f"run key {shared.key!r} could not be shared ({reason}): {own}")
        self.shared = None

    def _open_own(self, api: Api) -> RunId:
        if self.join_id is None:
            return api.create_run(self.request)
        try:
            api.check_run(self.join_id)
        except Refused as error:
            raise self._explained(error, api) from None
        return self.join_id

    def _explained(self, error: Refused, api: Api) -> Refused:
        if error.status != 404 or self.join_id is None:
            return error
        text = f"there is no run {self.join_id} in project {api.project} (FAMACASE_TESTOPS_RUN_ID)"
        return Refused(text, status=404)

    def leave(self, api: Api, *, undelivered: int, ending: Ending, patience: float | None = None) -> None:
        """Leave the run, and complete it if this session may and nothing is missing.

        Afterwards either `completed` is true or `why_open` says why not.

        Args:
            api: The calls of the project.
            undelivered: How many results the server has not acknowledged.
            ending: How the session ends; the run key's record keeps it.
            patience: Seconds to wait for the run key's lock; None for `lock_timeout` of the settings.

        Raises:
            FamacaseError: The run could not be completed, or the record could not be written. `is_owed` stays true.
        """
        if self.shared is not None and (self.is_open or self.shared.is_member):
            reasons = self.shared.leave(self.id, api, state=ending, undelivered=undelivered, patience=patience)
        else:
            reasons = self._reasons(undelivered)
            if not reasons:
                api.complete_run(self.opened)
        self.completed = not reasons
        log.info("run %s is left: %s", self.id, "; ".join(reasons) or "completed")
        self.why_open = "; ".join(reasons)
        self.is_owed = False

    def _reasons(self, undelivered: int) -> list[str]:
        reasons = []
        if undelivered:
            reasons.append(f"{undelivered} results are undelivered")
        if not self.is_open:
            reasons.append(self.trouble or "it was never opened")
        return [*reasons, *filter(None, [self.stays_open])]

    def facts(self) -> RunFacts:
        """Return what a later resend needs to go on with this run."""
        shared: SharedFacts | None = None
        if self.shared is not None:
            member = self.shared.member
            described: MemberFacts = {
                "host": member.host,
                "pid": member.pid,
                "since": member.since,
                "shard": member.shard,
            }
            shared = {"key": self.shared.key, "member": described}
        return {
            "run_id": self.id,
            "join_id": self.join_id,
            "request": dataclasses.asdict(self.request),
            "stays_open": self.stays_open,
            "shared": shared,
        }


def run_request(settings: Settings, environ: Mapping[str, str] = os.environ) -> RunRequest:
    """Return the request for a new run, made from the settings and from the CI system's branch, commit and job.

    Args:
        settings: The settings of the session.
        environ: The environment, in which a CI system describes itself.
    """
    found = ci.detect(environ)
    title = settings.testops_run_title or (found and ci.titled(found)) or f"Automated run {_now()}"
    description = settings.testops_run_description or title
    if found is not None:
        description = f"{description}\n{ci.described(found)}"
    return RunRequest(
        title=title,
        description=description,
        key=str(uuid.uuid4()),
        tags=settings.testops_run_tags,
        environment=settings.environment,
        plan=settings.testops_plan_id,
    )


def _now() -> str:
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
