"""The server as a child process: how it starts and ends, and that it never outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from famacase_xdist.errors import FamacaseError, ServerStartError
from famacase_xdist.server.embedded import EmbeddedServer, prepare_database_directory
from famacase_xdist.server.store import Store

pytestmark = pytest.mark.process

SECONDS = 30

PARENT = """
import json, os, signal, sys, time
from pathlib import Path
from famacase_xdist.server.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]), "DEMO")
server.start()
holder = 0
if sys.argv[2] == "fork":
    holder = os.fork()
    if holder == 0:
        time.sleep(120)
        os._exit(0)
# Not print(), which is not reentrant: the signal may come while the line below is still being flushed.
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted\\n"))
print(json.dumps({"pid": server.pid, "url": server.url, "holder": holder}), flush=True)
sys.stdin.readline()
if sys.argv[2] == "raise":
    raise RuntimeError
if sys.argv[2] == "exit":
    os._exit(3)
server._process.terminate = lambda: os._exit(9)
server.shutdown()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / ".famacase" / "famacase.sqlite3"


@pytest.fixture
def server(database: Path) -> Iterator[EmbeddedServer]:
    embedded = EmbeddedServer(database, "DEMO")
    yield embedded
    embedded.shutdown()


@pytest.fixture
def parent(database: Path, processes: Any) -> Iterator[Any]:
    """Return a function that starts the script in a session of its own; end what is left of it and of its children."""
    started: list[subprocess.Popen[str]] = []
    pids: list[int] = []

    def start(way: str = "") -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(database), way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout
        told = json.loads(process.stdout.readline())
        pids.extend(pid for pid in (told["pid"], told["holder"]) if pid)
        return process, told

    yield start
    for pid in pids:
        processes.kill(pid, signal.SIGKILL)
    for process in started:
        process.kill()
        process.communicate(timeout=SECONDS)


def call(server: EmbeddedServer, path: str = "/projects/DEMO", **options: Any) -> requests.Response:
    url = f"{server.url}/api/v1/reporter/v1{path}"
    headers = {"Authorization": f"Token {server.token}"}
    return requests.request(options.pop("method", "GET"), url, headers=headers, timeout=SECONDS, **options)


def test_start_use_stop(server: EmbeddedServer, database: Path, processes: Any, leftovers: Any) -> None:
    assert (server.url, server.pid) == ("", None)
    server.start()
    assert server.url.startswith("http://127.0.0.1:")
    assert call(server).json()["code"] == "DEMO"
    assert call(server, "/projects/DEMO/runs", method="POST", json={"title": "t"}).json() == {"id": 1}
    assert leftovers(database)
    server.shutdown()
    assert server.pid is not None
    assert processes.is_gone(server.pid)
    assert leftovers(database) == []
    server.shutdown()
    with Store(database) as store:
        assert [run.title for run in store.runs()] == ["t"]


def test_stop_before_start_does_nothing(server: EmbeddedServer) -> None:
    server.shutdown()
    assert server.pid is None


def test_second_start_is_refused(server: EmbeddedServer) -> None:
    server.start()
    with pytest.raises(ServerStartError, match="before"):
        server.start()
    assert call(server).status_code == 200


def by_force() -> None:
    raise AssertionError("it had to be terminated")


def test_stop_is_not_delayed_by_a_request_that_does_not_end(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    head = (
        "POST /api/v1/reporter/v1/projects/DEMO/runs HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {server.token}\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # from here on it waits for the body
        monkeypatch.setattr(server._process, "terminate", by_force)
        server.shutdown()


def test_stop_is_not_delayed_by_an_open_connection(server: EmbeddedServer, leftovers: Any, database: Path) -> None:
    server.start()
    with requests.Session() as session:
        session.get(server.url, timeout=SECONDS)
        process = server._process
        assert process is not None
        server.shutdown()
    assert process.returncode == 0  # by itself, not by force
    assert leftovers(database) == []


def test_token_is_nowhere_to_be_seen(server: EmbeddedServer) -> None:
    server.start()
    token = server.token.encode()
    for name in ("cmdline", "environ"):
        seen = Path(f"/proc/{server.pid}/{name}").read_bytes()
        assert seen
        assert token not in seen
    assert server.token not in repr(server)
    assert "rep_***" in repr(server)
    assert server.token not in os.environ.values()


def test_two_sessions_share_a_database(database: Path, leftovers: Any) -> None:
    servers = [EmbeddedServer(database, "DEMO") for _ in range(2)]
    try:
        for server in servers:
            server.start()
        assert servers[0].token != servers[1].token
        ids = [
            call(server, "/projects/DEMO/runs", method="POST", json={"title": "t"}).json()["id"]
            for server in servers * 2
        ]
        assert ids == [1, 2, 3, 4]
        assert call(servers[0], "/projects/DEMO/runs/4").status_code == 200
    finally:
        for server in servers:
            server.shutdown()
    assert leftovers(database) == []


def test_interrupt_does_not_end_it(server: EmbeddedServer) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGINT)
    status = Path(f"/proc/{server.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert ignored & (1 << (signal.SIGINT - 1))
    assert call(server).status_code == 200


def test_ctrl_c_in_the_terminal_does_not_reach_it(parent: Any) -> None:
    process, told = parent()
    assert os.getpgid(told["pid"]) != os.getpgid(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert requests.get(told["url"], timeout=SECONDS).status_code == 200


@pytest.mark.parametrize("way", ["", "fork"])
def test_it_dies_when_its_parent_is_killed(
    parent: Any, processes: Any, database: Path, leftovers: Any, way: str
) -> None:
    """Also if a process that was forked from the parent lives on and holds the pipe open."""
    process, told = parent(way)
    assert requests.get(told["url"], timeout=SECONDS).status_code == 200
    process.kill()
    process.wait(SECONDS)
    assert processes.wait_gone(told["pid"])
    assert leftovers(database) == []
    if way:
        assert not processes.is_gone(told["holder"])


@pytest.mark.parametrize("way", ["raise", "exit"])
def test_it_dies_when_its_parent_forgets_it(parent: Any, processes: Any, way: str) -> None:
    process, told = parent(way)
    process.stdin.write("\n")
    process.stdin.flush()
    process.wait(SECONDS)
    assert process.returncode in (1, 3)
    assert processes.wait_gone(told["pid"])


def test_stop_works_while_a_fork_holds_the_pipe(parent: Any, processes: Any, leftovers: Any, database: Path) -> None:
    process, told = parent("fork")
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(SECONDS) == 0
    assert processes.is_gone(told["pid"])
    assert leftovers(database) == []
    assert not processes.is_gone(told["holder"])


def test_terminate_ends_it_cleanly(server: EmbeddedServer, processes: Any, database: Path, leftovers: Any) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGTERM)
    assert processes.wait_gone(server.pid)
    assert leftovers(database) == []


def test_stop_of_a_child_that_is_frozen(server: EmbeddedServer, processes: Any) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    server.shutdown(timeout=0.2)
    assert processes.is_gone(server.pid)


def test_stop_of_a_child_that_is_dead(server: EmbeddedServer, processes: Any) -> None:
    server.start()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert processes.wait_gone(server.pid)
    server.shutdown()


def test_reason_is_told_when_it_does_not_start(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, "DEMO")
    with pytest.raises(ServerStartError, match="cannot open the database"):
        server.start()
    assert issubclass(ServerStartError, FamacaseError)


def test_project_that_is_no_code(database: Path) -> None:
    with pytest.raises(ServerStartError, match="'a b' is no project code"):
        EmbeddedServer(database, "a b").start()


def test_missing_extra_is_told(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('No module', name='fastapi')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ServerStartError, match=r"fastapi is missing\): install famacase-xdist\[server\]") as caught:
        EmbeddedServer(database, "DEMO").start()
    assert "Traceback" not in str(caught.value)


def test_modules_of_the_working_directory_do_not_stand_in(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fastapi.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    server.start()
    assert call(server).status_code == 200


def test_child_that_never_answers(
    server: EmbeddedServer, tmp_path: Path, processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho I am slow >&2\nexec sleep 120\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    with pytest.raises(ServerStartError, match=r"in time\n  I am slow"):
        server.start(timeout=1)
    assert server.pid is not None
    assert processes.is_gone(server.pid)


def test_interpreter_that_is_missing(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ServerStartError, match="/nowhere/python"):
        server.start()


def test_descriptors_over_1023(server: EmbeddedServer) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this machine allows no descriptor over 1023")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    taken: list[int] = []
    try:
        while not taken or taken[-1] < 1100:
            taken.append(os.dup(0))
        server.start()
        assert call(server).status_code == 200
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_database_directory(tmp_path: Path) -> None:
    database = tmp_path / "deep" / ".famacase" / "a.sqlite3"
    prepare_database_directory(database)
    ignore = database.parent / ".gitignore"
    assert ignore.read_text() == "*\n"
    ignore.write_text("mine\n")
    prepare_database_directory(database)
    assert ignore.read_text() == "mine\n"


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    prepare_database_directory(tmp_path / "mine" / "a.sqlite3")
    prepare_database_directory(tmp_path / "a.sqlite3")
    assert list(tmp_path.iterdir()) == []


def test_parent_side_imports_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import famacase_xdist.server.embedded; "
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(names - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "['famacase_xdist']\n"
