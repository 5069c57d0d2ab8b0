"""The run that a session reports to: made by this session, joined by its number, or shared under a run key."""

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
    from .run_key import Sharing

JOINED_BY_NUMBER = "it was joined by its number (famacase-xdist run complete {})"
NOT_ASKED_FOR = "FAMACASE_TESTOPS_RUN_COMPLETE=false"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a session keeps what it shares with others.

    Attributes:
        outbox: The files of its outbox, in the state directory.
        scope: The server's address, or the embedded server's database, and the project: a key belongs to both.
    """

    outbox: OutboxFiles
    scope: tuple[str, str]

    @property
    def session(self) -> str:
        """The session's name."""
        return self.outbox.session

    def shared(self, key: str, member: Member, run_id: RunId | None, lock_timeout: float) -> Sharing:
        """Plan this session's part in a run key."""
        # Only here: filelock's import is for those who share a run.
        from .run_key import Sharing

        return Sharing(self.outbox.state, self.scope, key, member, run_id=run_id, lock_timeout=lock_timeout)


@dataclass(slots=True)
class Run:
    """The run of this session. `open` and `leave` are called by the sender's thread, all else by any.

    Attributes:
        request: What it is created from.
        join_id: The id of the run to join; None where it is created.
        sharing: This session's part in a run that others report to as well; None where it does not know of any.
        stays_open: Why this session may not complete it; empty where it may.
        id: The server's id, an opaque JSON value; None until `open` succeeded.
        url: The address of the run's page; empty until then.
        public_url: The link that anybody may follow; empty where none was asked for, or given.
        completed: Whether this session completed it.
        why_open: Why it did not; empty before `leave`.
        is_owed: Whether this session has still to leave it.
        settled: Set after the first try to open it, whatever came of that.
        trouble: Why it is not open, in a few words.
        notes: What else a person should know, a line each.
    """

    request: RunRequest
    join_id: RunId | None = None
    sharing: Sharing | None = None
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
        """Plan the run that the settings ask for; nothing is sent, and without a home nothing is shared."""
        run = cls(run_request(settings))
        reference = settings.testops_run_id or ""
        run.join_id = run_id_of(reference)
        if not settings.testops_run_complete:
            run.stays_open = NOT_ASKED_FOR
        elif run.join_id is not None and "testops_run_complete" not in settings.sources:
            # Whoever hands a number to several jobs completes it himself: no job knows of the others.
            run.stays_open = JOINED_BY_NUMBER.format(reference)
        if home is not None and reference and (run.join_id is None or not run.stays_open):
            member = Member(home.session, platform.node(), os.getpid(), _now(), settings.shard, not run.stays_open)
            run.sharing = home.shared(reference, member, run.join_id, settings.lock_timeout)
        return run

    @classmethod
    def from_facts(cls, facts: RunFacts, home: Home, lock_timeout: float) -> Run:
        """Plan to go on with the run of an earlier session, the opposite of `facts`; nothing is sent."""
        run = cls(RunRequest.from_json(facts["request"]), join_id=facts["join_id"], id=facts["run_id"])
        run.stays_open = facts["stays_open"]
        if (shared := facts.get("shared")) is not None:
            member = Member(home.session, **shared["member"], completes=not run.stays_open)
            run.sharing = home.shared(shared["key"], member, run.join_id, lock_timeout)
        return run

    @property
    def is_open(self) -> bool:
        """Whether results can be sent to it."""
        return self.id is not None

    @property
    def opened(self) -> RunId:
        """The id of the run, which is open."""
        assert self.id is not None
        return self.id

    @property
    def waits_for(self) -> str:
        """Which other session's lock it waits for; empty where it does not."""
        return self.sharing.waits_for if self.sharing else ""

    @property
    def continues(self) -> RunId | None:
        """The id of the completed run that had the run key before; None where there was none."""
        before = self.sharing.continues if self.sharing else None
        return None if before == self.id else before

    def open(self, api: Api, give_up: Callable[[], bool] = lambda: False) -> None:
        """Create the run, or make sure that the one to join is there.

        The Idempotency-Key makes a second try safe where the answer to the first was lost.

        Raises:
            DeliveryError: Why not.
        """
        try:
            api.check_project()
            self.id = self._own(api) if self.sharing is None else self._shared(self.sharing, api, give_up)
            self.url = api.run_url(self.id)
            self.trouble = ""
            log.info("run %s is open: %s", self.id, self.url)
        except DeliveryError as error:
            self.trouble = str(error)
            raise
        finally:
            self.settled.set()

    def _shared(self, sharing: Sharing, api: Api, give_up: Callable[[], bool]) -> RunId:
        try:
            return sharing.join(self.request, api, give_up)
        except SharingError as error:
            self._go_alone(sharing, str(error))
            return self._own(api)
        except Refused as error:
            raise self._explained(error, api) from None

    def _go_alone(self, sharing: Sharing, reason: str) -> None:
        """Report all the same: a run too many can be seen and mended, results that are not there cannot."""
        own = "this session reports to a run of its own" if self.join_id is None else "so it is not completed"
        if self.join_id is not None or sharing.is_member:
            self.stays_open = self.stays_open or "others may be in it"
        self.notes.append(f"run key {sharing.key!r} could not be shared ({reason}): {own}")
        self.sharing = None

    def _own(self, api: Api) -> RunId:
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
        """Complete the run if it is this session's to complete and nothing is missing; else say why not.

        Args:
            api: For the call that completes it.
            undelivered: Results that the server has not got.
            ending: How the session ends, for those that share the run.
            patience: Seconds to wait for others who share the run; None for the setting's.

        Raises:
            FamacaseError: It could not be completed, or the others not be told; this session still owes it.
        """
        if self.sharing is not None and (self.is_open or self.sharing.is_member):
            reasons = self.sharing.leave(self.id, api, state=ending, undelivered=undelivered, patience=patience)
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
        """Give what a later `resend` needs to go on with this run."""
        shared: SharedFacts | None = None
        if self.sharing is not None:
            member = self.sharing.member
            told: MemberFacts = {
                "host": member.host,
                "pid": member.pid,
                "since": member.since,
                "shard": member.shard,
            }
            shared = {"key": self.sharing.key, "member": told}
        return {
            "run_id": self.id,
            "join_id": self.join_id,
            "request": dataclasses.asdict(self.request),
            "stays_open": self.stays_open,
            "shared": shared,
        }


def run_request(settings: Settings, environ: Mapping[str, str] = os.environ) -> RunRequest:
    """Give what a new run is made from: the settings, and what a CI system says of branch, commit and job."""
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
