"""The token is in the header of requests to the one server, and nowhere else, whatever tests and servers do with it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from harness.server import ATTACHMENTS, COMPLETE, RESULTS, RUNS, TOKEN, Action, App, Backend, Send, answer
from harness.suites import Ran, Suite

ONE_PROCESS = ("-p", "no:xdist")
TWO_WORKERS = ("-n2",)
BOTH = pytest.mark.parametrize("args", [ONE_PROCESS, TWO_WORKERS], ids=["no-xdist", "n2"])
FOR_EVER = float("inf")
PROJECT = r"GET .*/projects/\w+"
SECRET = TOKEN.encode()
STARS = "*" * len(TOKEN)
MIB = 1024 * 1024

LEAKING = """
    import logging, os, pathlib, sys, time
    import pytest
    from qase.pytest import qase

    TOKEN = os.environ["FAMACASE_TESTOPS_API_TOKEN"]

    def test_prints():
        print("printed", TOKEN)
        print("printed", TOKEN, file=sys.stderr)
        logging.getLogger("shop").warning("logged %s", TOKEN)

    def test_attaches(tmp_path):
        file = tmp_path / "file.txt"
        file.write_text(f"before {TOKEN} after")
        qase.attach(str(file))
        qase.attach((TOKEN, "text/plain", f"named-{TOKEN}.txt"))
        with qase.step(f"step {TOKEN}", f"expected {TOKEN}"):
            border = b"x" * (1024 * 1024 - 5) + TOKEN.encode() + b"y" * (1024 * 1024)
            qase.attach((border, "application/octet-stream", "border.bin"))
            qase.attach((border[: 1024 * 1024 - 5] + TOKEN.encode(), "text/plain", "end.bin"))

    def test_raises():
        secret = TOKEN
        raise RuntimeError(f"token is {secret}")

    @pytest.mark.parametrize("value", [TOKEN, TOKEN * 2])
    def test_param(value):
        qase.param("extra", value)

    @qase.title(f"title {TOKEN}")
    @qase.suite(f"suite {TOKEN}")
    @qase.fields(("description", f"description {TOKEN}"))
    @qase.author(TOKEN)
    @qase.tags(TOKEN)
    def test_described():
        pytest.skip(f"because {TOKEN}")

    @pytest.fixture
    def failing():
        yield
        raise OSError(TOKEN)

    def test_teardown(failing):
        pass

    def test_zz_waits():
        pathlib.Path("ready").touch()
        deadline = time.monotonic() + 60
        while not pathlib.Path("go").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
"""
#: Makes files as open as they can be, and writes down what a worker was given.
CONFTEST = """
    import os, pathlib

    os.umask(0)

    def pytest_sessionstart(session):
        config = session.config
        if hasattr(config, "workerinput"):
            given = repr(config.workerinput) + repr(vars(config.option))
            pathlib.Path(f"given-{config.workerinput['workerid']}").write_text(given)
            pathlib.Path(f"environ-{config.workerinput['workerid']}").write_text(repr(dict(os.environ)))
"""


@pytest.fixture
def leaking(suite: Suite) -> Suite:
    suite.write("conftest.py", CONFTEST)
    suite.write("test_leaking.py", LEAKING)
    suite.env.update(FAMACASE_RETRY_ATTEMPTS="1", FAMACASE_FLUSH_TIMEOUT="30")
    return suite


def header(ran: Ran) -> str:
    """Return our lines of the header."""
    return "\n".join(line for line in ran.stdout.splitlines() if line.startswith("famacase:"))


def section(ran: Ran) -> str:
    """Return our section at the end."""
    _, found, rest = ran.stdout.partition("= Famacase =")
    assert found, ran.text
    lines = rest.splitlines()[1:]
    end = next((number for number, line in enumerate(lines) if line.startswith("===")), len(lines))
    return "\n".join(lines[:end])


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


@contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port that refuses connections and that nobody else gets."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def raw(directory: Path) -> dict[str, bytes]:
    """Read all files below a directory as they are on the disk."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def values(database: Path) -> bytes:
    """Return all values of a database: one may lie on two pages, so the raw file is not enough."""
    found = []
    connection = sqlite3.connect(database)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            # Pieces of an attachment: body behind body, so that what lies across a border is whole.
            body = "body, digest, number" if table == "pieces" else "*"
            order = "digest, number" if table == "pieces" else "1"
            rows = connection.execute(f"SELECT {body} FROM {table} ORDER BY {order}").fetchall()
            for column in zip(*rows, strict=True):
                found.append(b"".join(v if isinstance(v, bytes) else f"{v}\n".encode() for v in column))
    finally:
        connection.close()
    return b"\n".join(found)


def kept_in(outbox: Path) -> bytes:
    """Return all that is in an outbox, each file as a whole."""
    return b"\n".join(path.read_bytes() for path in sorted(outbox.rglob("*")) if path.is_file())


def command_lines(pid: int) -> list[bytes]:
    """Return the command lines of a process and all below it."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        parents[int(name)] = int(fields[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return [Path("/proc", str(member), "cmdline").read_bytes() for member in family]


def run_and_look(suite: Suite, *args: str, **env: str) -> Ran:
    """Run the leaking suite; while its last test waits, look at processes and files."""
    process = suite.start(*args, "--famacase-pytest-capture-logs=true", **env)
    wait_for(suite.path / "ready")
    lines = command_lines(process.pid)
    live = raw(suite.state)
    outboxes = suite.state / "outbox"
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (outboxes, *outboxes.rglob("*"))}
    (courier,) = suite.couriers()
    environ = Path(f"/proc/{courier}/environ").read_bytes()
    (suite.path / "go").touch()
    stdout, stderr = process.communicate(timeout=90)

    assert len(lines) >= (3 if "-n2" in args else 1)
    assert not [line for line in lines if SECRET in line]
    assert len(live) >= 1
    assert not [name for name, content in live.items() if SECRET in content]
    assert SECRET not in environ
    assert modes == {(True, 0o700), (False, 0o600)}
    return Ran(process.returncode, stdout, stderr)


@BOTH
def test_the_token_is_masked_in_all_that_the_server_gets(
    args: tuple[str, ...], leaking: Suite, backend: Backend
) -> None:
    ran = run_and_look(leaking, *args, **backend.environment())

    assert ran.status == 1, ran.text
    assert "undelivered 0" in section(ran), section(ran)
    assert TOKEN in ran.stdout  # pytest's own words of the test that failed
    assert TOKEN not in header(ran) + section(ran) + ran.stderr
    stored = values(backend.store.path)
    assert SECRET not in stored
    assert STARS.encode() in stored
    assert not [name for name, content in raw(backend.store.path.parent).items() if is_stored(name, content)]
    results = {each["title"]: each for each in backend.results() if each["title"] != "test_param"}
    assert results.keys() == {
        *("test_prints", "test_attaches", "test_raises", f"title {STARS}", "test_teardown", "test_zz_waits")
    }
    assert results["test_raises"]["message"] == f"RuntimeError: token is {STARS}"
    assert STARS in results["test_raises"]["execution"]["stacktrace"]
    assert results["test_teardown"]["message"] == (
        f"OSError: {STARS}\nin the teardown of fixture failing (function, test_leaking.py)"
    )
    assert results[f"title {STARS}"]["message"] == f"because {STARS}"
    assert results[f"title {STARS}"]["fields"]["description"] == f"description {STARS}"
    assert results[f"title {STARS}"]["tags"] == [STARS]
    params = sorted(each["params"]["value"] for each in backend.results() if each["title"] == "test_param")
    assert params == [STARS, STARS * 2]
    assert contents(backend, results["test_attaches"]["attachments"]) == {
        "file.txt": f"before {STARS} after".encode(),
        f"named-{STARS}.txt": STARS.encode(),
    }
    (step,) = results["test_attaches"]["steps"]
    assert step["data"] == {"action": f"step {STARS}", "expected_result": f"expected {STARS}"}
    assert contents(backend, step["execution"]["attachments"]) == {
        "border.bin": b"x" * (MIB - 5) + STARS.encode() + b"y" * MIB,
        "end.bin": b"x" * (MIB - 5) + STARS.encode(),
    }
    captured = b"\n".join(contents(backend, results["test_prints"]["attachments"]).values())
    assert captured.count(f"printed {STARS}".encode()) == 2
    assert f"logged {STARS}".encode() in captured


def is_stored(name: str, content: bytes) -> bool:
    """Say whether a file of the server's database has the token."""
    return name.startswith("server.sqlite3") and SECRET in content


def contents(backend: Backend, attachments: list[dict[str, str]]) -> dict[str, bytes]:
    """Return the stored bytes of attachments by their names."""
    found = {}
    for entry in attachments:
        file = backend.store.attachment(entry["id"])
        assert file is not None
        found[entry["file_name"]] = file.content
    return found


@BOTH
def test_the_token_is_masked_in_an_outbox_that_only_its_owner_can_read(args: tuple[str, ...], leaking: Suite) -> None:
    with closed_port() as port:
        env = {
            "FAMACASE_MODE": "testops",
            "FAMACASE_API_URL": f"http://127.0.0.1:{port}",
            "FAMACASE_TESTOPS_API_TOKEN": TOKEN,
            "FAMACASE_TESTOPS_PROJECT": "DEMO",
        }
        ran = run_and_look(leaking, *args, **env)

    assert ran.status == 1, ran.text
    assert "delivered 0, undelivered 8" in section(ran)
    assert TOKEN not in header(ran) + section(ran) + ran.stderr
    (outbox,) = (leaking.state / "outbox").iterdir()
    assert not [name for name, content in raw(leaking.state).items() if SECRET in content]
    kept = kept_in(outbox)
    assert SECRET not in kept
    for text in (f"token is {STARS}", f"title {STARS}", f"before {STARS} after", f"logged {STARS}", f"x{STARS}y"):
        assert text.encode() in kept, text


def test_a_worker_is_given_no_token(suite: Suite, backend: Backend) -> None:
    suite.write("conftest.py", CONFTEST)
    suite.write("test_quick.py", "def test_quick():\n    pass\n")
    settings = {"testops": {"api": {"token": TOKEN}, "project": "DEMO"}, "apiUrl": backend.url, "mode": "testops"}
    suite.write("famacase.config.json", json.dumps(settings))

    ran = suite.run(*TWO_WORKERS)

    assert ran.status == 0, ran.text
    assert backend.titles() == ["test_quick"]
    given = {path.name: path.read_text() for path in suite.path.glob("given-*")}
    assert given.keys() == {"given-gw0", "given-gw1"}
    environ = {path.name: path.read_text() for path in suite.path.glob("environ-*")}
    for name, text in {**given, **environ}.items():
        assert TOKEN not in text, name
        # The run's page is what the fixture famacase_run gives to tests.
        assert backend.url not in text.replace(f"{backend.url}/runs/1", ""), name
    assert all("'famacase': " in text for text in given.values())


def test_a_worker_is_given_no_token_that_stands_in_the_environment(suite: Suite, backend: Backend) -> None:
    suite.write("conftest.py", CONFTEST)
    suite.write("test_quick.py", "def test_quick():\n    pass\n")

    ran = suite.run(*TWO_WORKERS, **backend.environment())

    assert ran.status == 0, ran.text
    given = [path.read_text() for path in suite.path.glob("given-*")]
    assert len(given) == 2
    assert not [text for text in given if TOKEN in text]


# Other hosts, other tokens


@contextmanager
def stranger() -> Iterator[tuple[str, list[str]]]:
    """Serve another address, and keep every request that comes there."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append(f"{self.requestline}\n{self.headers}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize(
    ("status", "pattern"),
    [(302, PROJECT), (301, RUNS), (307, RESULTS), (308, RESULTS)],
    ids=["302-project", "301-run", "307-results", "308-results"],
)
def test_a_redirect_is_not_followed_and_said(status: int, pattern: str, suite: Suite, backend: Backend) -> None:
    suite.write("test_quick.py", "def test_quick():\n    pass\n")
    with stranger() as (url, came):
        backend.inject(pattern, answer(status, b"", location=f"{url}/elsewhere"), times=FOR_EVER)
        ran = suite.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    assert came == []
    assert len(backend.requests(pattern)) == 1
    assert f"HTTP {status}: moved to {url}/elsewhere; FAMACASE_API_URL" in section(ran)
    assert "delivered 0, undelivered 1" in section(ran)
    assert backend.requests(COMPLETE) == []
    assert len(suite.leftovers()) == 1


def test_a_netrc_for_the_host_does_not_replace_the_token(suite: Suite, backend: Backend, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin user\npassword wrong\n\ndefault login user password wrong\n")
    netrc.chmod(0o600)
    suite.write(
        "test_quick.py",
        """
        from qase.pytest import qase

        def test_quick():
            qase.attach((b"content", "text/plain", "file.txt"))
        """,
    )
    # The word of requests itself: with this HOME it would take the file.
    check = "import requests.utils; print(requests.utils.get_netrc_auth('http://127.0.0.1/'))"
    seen = subprocess.run(
        [suite.python, "-c", check], env=suite.environment(HOME=str(home)), capture_output=True, text=True, check=True
    )
    assert "('user', 'wrong')" in seen.stdout

    ran = suite.run(*ONE_PROCESS, HOME=str(home), **backend.environment())

    assert ran.status == 0, ran.text
    assert backend.titles() == ["test_quick"]
    assert len(backend.seen) >= 5
    assert {seen.headers.get("authorization") for seen in backend.seen} == {f"Token {TOKEN}"}


def echoing(status: int) -> Action:
    """Refuse with all headers of the request in the answer."""

    async def act(app: App, scope: dict[str, Any], receive: Any, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = json.dumps({"detail": f"bad request: {headers['authorization']}"}).encode()
        await answer(status, body)(app, scope, receive, send)

    return act


@pytest.mark.parametrize(
    ("pattern", "action", "words"),
    [
        (PROJECT, echoing(403), "HTTP 403: bad request: Token "),
        (RESULTS, echoing(422), "HTTP 422: bad request: Token "),
        (RESULTS, echoing(503), "HTTP 503: bad request: Token "),
        (RUNS, answer(302, b"", location=f"http://127.0.0.1:1/?{TOKEN}"), "moved to http://127.0.0.1:1/?"),
    ],
    ids=["project", "results", "results-503", "location"],
)
def test_a_server_that_repeats_the_token_does_not_bring_it_out(
    pattern: str, action: Action, words: str, suite: Suite, backend: Backend
) -> None:
    suite.write("test_quick.py", "def test_quick():\n    pass\n")
    backend.inject(pattern, action, times=FOR_EVER)

    ran = suite.run(*ONE_PROCESS, FAMACASE_RETRY_ATTEMPTS="1", **backend.environment())

    assert ran.status == 0, ran.text
    assert f"{words}{STARS}" in section(ran), section(ran)
    assert TOKEN not in ran.text
    assert len(suite.leftovers()) == 1
    (outbox,) = (suite.state / "outbox").iterdir()
    assert SECRET not in kept_in(outbox)


def test_a_server_that_repeats_the_token_for_an_upload_gets_it_masked(suite: Suite, backend: Backend) -> None:
    suite.write(
        "test_attaching.py",
        """
        from qase.pytest import qase

        def test_attaching():
            qase.attach((b"content", "text/plain", "file.txt"))
        """,
    )
    backend.inject(ATTACHMENTS, echoing(422), times=FOR_EVER)

    ran = suite.run(*ONE_PROCESS, **backend.environment())

    assert ran.status == 0, ran.text
    (result,) = backend.results()
    assert "file.txt: HTTP 422: bad request: Token " in result["message"]
    assert TOKEN not in result["message"]
    assert SECRET not in values(backend.store.path)
