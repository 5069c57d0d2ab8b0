"""The run that a session reports to: made by this session, or joined by its number."""

from __future__ import annotations

import datetime
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .api import Api, RunRequest
from .errors import DeliveryError, Refused
from .settings import Settings


@dataclass(slots=True)
class Run:
    """The run of this session. `open` is called by the sender's thread, all else by any.

    Attributes:
        id: The server's id, an opaque JSON value; None until `open` succeeded.
        url: The address of the run's page; empty until then.
        completed: Whether this session completed it.
        settled: Set after the first try to open it, whatever came of that.
        trouble: Why it is not open, in a few words.
    """

    request: RunRequest
    join_id: int | None = None
    id: object = None
    url: str = ""
    completed: bool = False
    trouble: str = ""
    settled: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def from_settings(cls, settings: Settings) -> Run:
        """Plan the run that the settings ask for; nothing is sent."""
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        title = settings.testops_run_title or f"Automated run {now}"
        request = RunRequest(
            title=title,
            description=settings.testops_run_description or title,
            key=str(uuid.uuid4()),
            tags=settings.testops_run_tags,
            environment=settings.environment,
        )
        return cls(request, join_id=settings.testops_run_id)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Run:
        """Plan to go on with the run of an earlier session; the opposite of `facts`."""
        request = facts["request"]
        run = cls(RunRequest(**{**request, "tags": tuple(request["tags"])}), join_id=facts["join_id"])
        run.id = facts["run_id"]
        return run

    @property
    def is_open(self) -> bool:
        """Whether results can be sent to it."""
        return self.id is not None

    def open(self, api: Api) -> None:
        """Create the run, or make sure that the one to join is there.

        The Idempotency-Key makes a second try safe where the answer to the first was lost.

        Raises:
            DeliveryError: Why not.
        """
        try:
            self._check_project(api)
            self.id = self._join(api) if self.join_id is not None else api.create_run(self.request)
            self.url = api.run_url(self.id)
            self.trouble = ""
        except DeliveryError as error:
            self.trouble = str(error)
            raise
        finally:
            self.settled.set()

    def _check_project(self, api: Api) -> None:
        try:
            api.check_project()
        except Refused as error:
            if error.status == 404:
                raise Refused(f"there is no project {api.project} at {api.host}", status=404) from None
            raise

    def _join(self, api: Api) -> object:
        try:
            api.check_run(self.join_id)
        except Refused as error:
            if error.status == 404:
                text = f"there is no run {self.join_id} in project {api.project} (FAMACASE_TESTOPS_RUN_ID)"
                raise Refused(text, status=404) from None
            raise
        return self.join_id

    def complete(self, api: Api) -> None:
        """Mark the run as complete.

        Raises:
            DeliveryError: Why not.
        """
        api.complete_run(self.id)
        self.completed = True

    def facts(self) -> dict[str, Any]:
        """Give what a later `resend` needs to go on with this run."""
        request = {name: getattr(self.request, name) for name in RunRequest.__slots__}
        return {"run_id": self.id, "join_id": self.join_id, "request": request}
