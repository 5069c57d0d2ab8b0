"""A sender with all that it needs, and faults that only its tests inject."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from famacase_xdist.client.api import Api
from famacase_xdist.client.transport import HttpTransport
from famacase_xdist.delivery.sender import Sender
from famacase_xdist.results.frames import AnyFrame, ResultHead
from famacase_xdist.runs.run import Run
from famacase_xdist.settings.settings import Settings
from famacase_xdist.state.outbox import Outbox

from .outboxes import files_at
from .server import TOKEN, Action, App, Backend, Send, answer

DEADLINE = 10.0
PROJECT = r"GET .*/projects/DEMO"
FOREVER = float("inf")


class Line:
    """A sender with all that it needs, and the frames put into it."""

    def __init__(self, url: str, path: Path | None, **settings: Any) -> None:
        self.settings = Settings(mode="testops", testops_project="DEMO", **settings)
        self.transport = HttpTransport(TOKEN, "reporter=test")
        self.api = Api(self.transport, url, "DEMO", timeout=self.settings.timeout)
        self.outbox = Outbox(files_at(path))
        self.run = Run.from_settings(self.settings)
        # What is sent is what most tests here are about; those that complete the run say so.
        self.run.stays_open = "it is not asked for"
        self.sender = Sender(self.api, self.outbox, self.run, self.settings)

    def start(self) -> Line:
        """Start the sender, and wait until it has tried to open the run."""
        self.sender.start()
        assert self.run.settled.wait(DEADLINE)
        return self

    def put(self, *frames: AnyFrame) -> None:
        """Put frames into the outbox, and say so."""
        self.outbox.put(frames)
        self.sender.notify(sum(isinstance(frame.head, ResultHead) for frame in frames))

    def deliver(self, *frames: AnyFrame, complete: bool = False) -> bool:
        """Put frames, and flush."""
        self.put(*frames)
        self.run.stays_open = "" if complete else "it is not asked for"
        return self.sender.shutdown(DEADLINE)


#: Makes a line to a server: the fixture `connect`.
Connect = Callable[..., Line]


def told(event: threading.Event) -> Action:
    """Let the application answer, and then set an event."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await app(scope, receive, send)
        event.set()

    return act


def refusing(word: bytes, status: int) -> Action:
    """Refuse what has a word in its body; let the application answer all else."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        refusal = answer(status, b'{"detail": "it says %s"}' % word)
        await (refusal if word in body else app)(*([app] if word in body else []), scope, again, send)

    return act


def received(backend: Backend) -> list[tuple[str, int]]:
    """Give what the server has: each title, and how often it came."""
    runs = backend.store.runs()
    return sorted((each.title, each.times_received) for run in runs for each in backend.store.stored_results(run.id))
