"""A live server, results to send to it, and a look at processes."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from famacase_xdist.server.app import create_app
from famacase_xdist.server.http import ServerThread, listen, url_of
from famacase_xdist.server.store import Store

TOKEN = "rep_test"
API = "/api/v1/reporter/v1"
SECONDS = 20.0


class Live:
    """A server that answers on a real port, with a client that brings the token."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.store = store
        listener = listen("127.0.0.1", 0)
        self.url = url_of(listener)
        self.token = TOKEN
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {TOKEN}"
        self._thread = ServerThread(create_app(store, token=TOKEN, **options), listener)
        self._thread.start()

    def close(self) -> None:
        self.session.close()
        self._thread.shutdown()

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET below the prefix of the API."""
        return self.session.get(self.url + API + path, timeout=SECONDS, **options)

    def post(self, path: str, body: object = None, **options: Any) -> requests.Response:
        """POST below the prefix of the API."""
        return self.session.post(self.url + API + path, json=body, timeout=SECONDS, **options)

    def page(self, path: str, **options: Any) -> requests.Response:
        """GET a page, without the token."""
        return requests.get(self.url + path, timeout=SECONDS, **options)

    def new_run(self, project: str = "DEMO", title: str = "Nightly", **fields: Any) -> int:
        answer = self.post(f"/projects/{project}/runs", {"title": title, "is_autotest": True, **fields})
        assert answer.status_code == 200, answer.text
        run_id = answer.json()["id"]
        assert type(run_id) is int
        return run_id

    def upload(self, *files: tuple[str, bytes, str], project: str = "DEMO") -> requests.Response:
        parts = [("files", file) for file in files]
        return self.post(f"/projects/{project}/attachments", files=parts)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite3") as opened:
        yield opened


@pytest.fixture
def serve(store: Store) -> Iterator[Callable[..., Live]]:
    started: list[Live] = []

    def start(**options: Any) -> Live:
        started.append(Live(store, **options))
        return started[-1]

    yield start
    for live in started:
        live.close()


@pytest.fixture
def live(serve: Callable[..., Live]) -> Live:
    return serve()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for the small cases of a module, which do not disturb each other's runs."""
    with Store(tmp_path_factory.mktemp("shared") / "store.sqlite3") as opened:
        live = Live(opened)
        yield live
        live.close()


@pytest.fixture
def result() -> Callable[..., dict[str, Any]]:
    return make_result


def make_result(title: str = "test_one", status: str = "passed", **changes: Any) -> dict[str, Any]:
    """Return a RESULT with every key of the contract."""
    execution = {
        "status": status,
        "start_time": 1700000000.25,
        "end_time": 1700000001.5,
        "duration": 1250,
        "stacktrace": None,
        "thread": "gw0",
        "attempt_index": 1,
        "is_rerun": False,
    }
    return {
        "id": str(uuid.uuid4()),
        "title": title,
        "signature": f"tests::{title}",
        "testops_ids": [7],
        "execution": {**execution, **changes.pop("execution", {})},
        "fields": {"severity": "major"},
        "tags": ["smoke"],
        "params": {"browser": "firefox"},
        "param_groups": [["browser"]],
        "attachments": [],
        "steps": [],
        "message": None,
        "muted": False,
        "ignore": False,
        "relations": {"suite": {"data": [{"title": "Shop", "description": ""}, {"title": "Cart"}]}},
        **changes,
    }


@pytest.fixture
def step() -> Callable[..., dict[str, Any]]:
    def make(action: str = "open", *steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
        execution = {"status": "passed", "start_time": 1.0, "end_time": 2.0, "duration": 1000}
        return {
            "id": str(uuid.uuid4()),
            "step_type": "text",
            "data": {"action": action, "expected_result": None, "input_data": None},
            "execution": {**execution, "attachments": []},
            "steps": list(steps),
            "attachments": [],
            **changes,
        }

    return make


@dataclass(frozen=True)
class Processes:
    """Look at processes by their id."""

    def is_gone(self, pid: int) -> bool:
        """Return whether a process has ended. A zombie has, because a container may have no process that reaps it."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    def wait_gone(self, pid: int, seconds: float = SECONDS) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.is_gone(pid):
                return True
            time.sleep(0.02)
        return False

    def kill(self, pid: int, number: int) -> None:
        if not self.is_gone(pid):
            os.kill(pid, number)


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def leftovers() -> Callable[[Path], list[str]]:
    """Return a function that names the -wal and -shm files beside a database."""
    return lambda database: sorted(path.name for path in database.parent.glob(f"{database.name}-*"))
