"""The embedded server's application on a real port, with a list of the requests that came and faults to inject."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from famacase_xdist.server.app import create_app
from famacase_xdist.server.http import ServerThread, listen, url_of
from famacase_xdist.server.store import Store

from .peers import pid_of_port

TOKEN = "rep_a-token-that-must-not-leak"
RESULTS = r"POST .*/results"
RUNS = r"POST .*/runs"
COMPLETE = r"POST .*/complete"
ATTACHMENTS = r"POST .*/attachments"

Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[..., Awaitable[None]]
#: What answers in the place of the application; it is called with (app, scope, receive, send).
Action = Callable[[App, dict[str, Any], Any, Send], Awaitable[None]]


@dataclass(slots=True)
class Seen:
    """One request as the server saw it. `pid` is the process that sent it."""

    line: str
    pid: int | None
    port: int
    headers: dict[str, str]
    status: int = 0


@dataclass(slots=True)
class Fault:
    """Replaces the answer to the next `times` requests whose line matches."""

    pattern: str
    action: Action
    times: float = 1


@dataclass
class Backend:
    """A running server: its address, its store, and the requests that came."""

    store: Store
    url: str = ""
    token: str = TOKEN
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def inject(self, pattern: str, action: Action, times: float = 1) -> None:
        """Replace the answer to the next `times` requests whose line matches `pattern` to its end."""
        self.faults.append(Fault(pattern, action, times))

    def requests(self, pattern: str = "") -> list[Seen]:
        """Return the requests whose line, "POST /api/...", matches `pattern` to its end."""
        return [seen for seen in self.seen if re.search(f"{pattern}$" if pattern else "", seen.line)]

    def environment(self, project: str = "DEMO") -> dict[str, str]:
        """Return the environment variables with which pytest reports to this server."""
        return {
            "FAMACASE_MODE": "testops",
            "FAMACASE_API_URL": self.url,
            "FAMACASE_TESTOPS_API_TOKEN": self.token,
            "FAMACASE_TESTOPS_PROJECT": project,
        }

    def results(self) -> list[dict[str, Any]]:
        """Return all results of all runs."""
        return [result for run in self.store.runs() for result in self.store.results(run.id)]

    def clear(self) -> None:
        """Delete all runs and results, all faults, and the list of requests."""
        for table in ("results", "runs", "attachments", "contents", "environments", "plans"):
            self.store._write(f"DELETE FROM {table}")
        self.seen.clear()
        self.faults.clear()
        self.released.clear()

    def titles(self) -> list[str]:
        """Return the titles of all results, sorted."""
        return sorted(result["title"] for result in self.results())


class _Recording:
    """ASGI middleware that notes each request, and then lets a fault or the application answer."""

    def __init__(self, app: App, backend: Backend) -> None:
        self._app = app
        self._backend = backend

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        port = scope["client"][1]
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        seen = Seen(f"{scope['method']} {scope['path']}", await asyncio.to_thread(pid_of_port, port), port, headers)
        self._backend.seen.append(seen)

        async def noting(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
            await send(message)

        fault = self._fault(seen.line)
        if fault is None:
            await self._app(scope, receive, noting)
        else:
            await fault.action(self._app, scope, receive, noting)

    def _fault(self, line: str) -> Fault | None:
        for fault in self._backend.faults:
            if fault.times > 0 and re.search(f"{fault.pattern}$", line):
                fault.times -= 1
                return fault
        return None


@contextmanager
def running(database: Path, *, projects: list[str] | None = None, port: int = 0) -> Iterator[Backend]:
    """Serve a database until the block ends.

    Args:
        database: The file.
        projects: Codes of the only projects that exist; without them every project does.
        port: The port, or 0 for any.
    """
    with Store(database) as store:
        backend = Backend(store)
        app = create_app(store, token=TOKEN, projects=projects)
        app.add_middleware(_Recording, backend=backend)
        listener = listen("127.0.0.1", port)
        backend.url = url_of(listener)
        server = ServerThread(app, listener)
        server.start()
        try:
            yield backend
        finally:
            backend.released.set()
            server.shutdown()


def answer(status: int, body: bytes = b'{"detail": "injected"}', **headers: str) -> Action:
    """Return an action that answers in the place of the application; header names have _ for -."""
    given = {"content_type": "application/json", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await _consume(receive)
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return act


def cut_off() -> Action:
    """Return an action that breaks its answer off in the middle; the application is not called."""
    return answer(200, b'{"half', content_length="100")


def lost(after: Action | None = None) -> Action:
    """Return an action that calls the application and sends another answer than its own, a cut-off one by default."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        async def swallow(message: dict[str, Any]) -> None:
            return None

        await app(scope, receive, swallow)
        await (after or cut_off())(app, scope, _nothing, send)

    return act


def hang(backend: Backend) -> Action:
    """Return an action that does not answer until the test is over, and then breaks its answer off."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await asyncio.to_thread(backend.released.wait)
        await cut_off()(app, scope, _nothing, send)

    return act


def delay(seconds: float) -> Action:
    """Return an action that waits, and then lets the application answer."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await asyncio.sleep(seconds)
        await app(scope, receive, send)

    return act


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _consume(receive: Any) -> None:
    while (await receive()).get("more_body"):
        continue
