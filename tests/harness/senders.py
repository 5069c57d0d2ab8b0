"""A sender with everything that it needs, and faults that only the tests of the room delivery inject."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from famacase_xdist.client.api import Api
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.delivery.sender import Sender
from famacase_xdist.results.frames import AnyFrame
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.journal import Journal
from famacase_xdist.state.outbox import Outbox

from .outboxes import files_at
from .server import TOKEN, Action, App, Backend, Send, answer

DEADLINE = 10.0
PROJECT = r"GET .*/projects/DEMO"
FOREVER = float("inf")


class Line:
    """A sender, with the transport, the run and the two ends of an outbox that it needs.

    Args:
        url: The server's address.
        path: The directory of the outbox.
        settings: Of the session.
    """

    def __init__(self, url: str, path: Path, **settings: Any) -> None:
        self.settings = Settings(mode="testops", testops_project="DEMO", **settings)
        self.transport = HttpTransport(TOKEN, "reporter=test")
        self.api = Api(self.transport, url, "DEMO", timeout=self.settings.timeout)
        self.journal = Journal(files_at(path))
        self.outbox = Outbox(self.journal.files, beside_writer=True)
        self.run = Run.from_settings(self.settings)
        # Most tests are about what is sent. A test that completes the run passes `complete=True`.
        self.run.stays_open = "it is not asked for"
        self.sender = Sender(self.api, self.outbox, self.run, self.settings)

    def start(self) -> Line:
        """Start the sender, and return when it has tried to open the run."""
        self.sender.start()
        assert self.run.settled.wait(DEADLINE)
        return self

    def put(self, *frames: AnyFrame) -> None:
        """Append frames to the journal, and notify the sender, as the courier does."""
        self.journal.append(frames)
        self.sender.notify(self.outbox.follow())

    def deliver(self, *frames: AnyFrame, complete: bool = False) -> bool:
        """Put frames, and shut the sender down; return whether it ended in time."""
        self.put(*frames)
        self.run.stays_open = "" if complete else "it is not asked for"
        return self.shutdown(DEADLINE)

    def shutdown(self, timeout: float) -> bool:
        """Let the sender deliver all and end, abandon it after a time, and return whether it ended."""
        self.sender.request_stop()
        self.sender.join(timeout)
        self.sender.abandon()
        return self.sender.is_idle

    def close(self) -> None:
        """Shut everything down."""
        if self.sender._thread.ident is not None:
            self.shutdown(DEADLINE)
        self.outbox.close()
        self.journal.close()
        self.transport.close()


#: The type of the fixture `connect`, which makes a line to a server.
Connect = Callable[..., Line]


def told(event: threading.Event) -> Action:
    """Return an action that lets the application answer, and sets an event after it."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await app(scope, receive, send)
        event.set()

    return act


def refusing(word: bytes, status: int) -> Action:
    """Return an action that refuses a request with a word in its body; the application answers any other."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        if word in body:
            await answer(status, b'{"detail": "it says %s"}' % word)(app, scope, again, send)
        else:
            await app(scope, again, send)

    return act


def received(backend: Backend) -> list[tuple[str, int]]:
    """Return the title of each result that the server has, and how often it came."""
    runs = backend.store.runs()
    return sorted((each.title, each.times_received) for run in runs for each in backend.store.stored_results(run.id))
