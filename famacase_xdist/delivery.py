"""Inbox, outbox, sender and run of one session, put together, and taken apart under one deadline."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from . import __version__, wire
from .api import Api
from .errors import DeliveryError
from .inbox import Inbox
from .ledger import Ledger
from .outbox import Outbox
from .run import Run
from .sender import Sender
from .settings import Settings
from .transport import HttpTransport

#: Seconds that the start of a session waits for the server at most, so that the header can name the run.
START_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a session's results.

    Attributes:
        delivered: Results that the server acknowledged, by status.
        undelivered: Results that stay in the outbox.
        trouble: Why not all was delivered, or why the run is not complete; empty where all is well.
        outbox: The file that holds what was not delivered; None where nothing is left.
    """

    delivered: Counter[str] = field(default_factory=Counter)
    undelivered: int = 0
    trouble: str = ""
    outbox: Path | None = None


class Delivery:
    """The controller's half of the way of a result, from `inbox` on.

    Raises:
        OutboxError: There is nowhere to keep results.
    """

    def __init__(self, settings: Settings, *, host: str, token: str, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self.run = Run.from_settings(settings)
        self._transport = HttpTransport(token, client_header())
        self._api = Api(self._transport, host, settings.project, timeout=settings.timeout)
        self._outbox = Outbox(_outbox_path(settings))
        self._outbox.remember(host=host, project=settings.project, pid=os.getpid(), **self.run.facts())
        self._sender = Sender(self._api, self._outbox, self.run, settings)
        self.inbox = Inbox(self._store)

    def start(self) -> None:
        """Open the run; returns when it is open, or was tried once, or after `START_PATIENCE`."""
        self._sender.start()
        self.run.settled.wait(START_PATIENCE)

    def finish(self, timeout: float) -> Outcome:
        """Deliver what is left, complete the run if nothing is missing, and close everything in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self.inbox.seal(timeout)
        ended = self._sender.flush(max(0.0, deadline - time.monotonic()))
        undelivered = self._outbox.undelivered()
        trouble = self._sender.trouble
        if ended and not undelivered and self.run.is_open and self._settings.testops_run_complete:
            trouble = self._complete() or trouble
        self._transport.close()
        is_done = not undelivered and self.run.is_open
        self._outbox.close(delete=is_done)
        return Outcome(self._sender.delivered, undelivered, trouble, None if is_done else self._outbox.path)

    def _complete(self) -> str:
        try:
            self.run.complete(self._api)
        except DeliveryError as error:
            return f"the run could not be completed: {error}"
        return ""

    def _store(self, frames: Sequence[wire.Frame]) -> None:
        """Write to the outbox; on the inbox's thread."""
        self._outbox.put(frames)
        self._sender.notify(self._ledger.receive(frames))


def client_header() -> str:
    """Give the X-Client header of reporter-api.md."""
    return (
        "reporter=famacase-xdist;framework=pytest;transport=famacase;"
        f"reporter_version={__version__};python={platform.python_version()}"
    )


def state_dir(settings: Settings) -> Path:
    """Give the directory that holds outboxes."""
    return settings.state_dir or platformdirs.user_state_path("famacase-xdist", appauthor=False)


def _outbox_path(settings: Settings) -> Path:
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:12]}.sqlite3"
    return state_dir(settings) / "outbox" / name
