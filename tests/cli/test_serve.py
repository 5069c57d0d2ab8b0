"""`famacase-xdist serve` as a real process, and the other options of the command that need no server."""

from __future__ import annotations

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

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-m", "famacase_xdist"]
SECONDS = 30


class Served:
    """A running ``serve`` and what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout
        self.lines: list[str] = []
        for line in process.stdout:
            self.lines.append(line.rstrip())
            if "Ctrl-C" in line:
                break
        exports = (line.removeprefix("export ").partition("=") for line in self.lines if line.startswith("export "))
        self.variables = {name: value for name, _, value in exports}

    def call(self, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Token {self.variables['FAMACASE_TESTOPS_API_TOKEN']}"}
        url = f"{self.variables['FAMACASE_API_URL']}/api/v1/reporter/v1{path}"
        return requests.request(options.pop("method", "GET"), url, headers=headers, timeout=SECONDS, **options)

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> Served:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Served(process)

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=SECONDS)


def failed(*arguments: str, **options: Any) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, **options
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_use_stop(start: Any, tmp_path: Path, number: int) -> None:
    served = start()
    database = tmp_path / ".famacase" / "famacase.sqlite3"
    assert served.variables["FAMACASE_MODE"] == "testops"
    assert served.variables["FAMACASE_TESTOPS_PROJECT"] == "DEMO"
    assert served.variables["FAMACASE_TESTOPS_API_TOKEN"].startswith("rep_")
    assert f"Database: {database}" in served.lines
    created = served.call("/projects/DEMO/runs", method="POST", json={"title": "t"})
    assert created.json() == {"id": 1}
    assert [path.name for path in database.parent.glob("*-wal")] == [f"{database.name}-wal"]
    assert served.end(number) == (0, "")
    assert list(database.parent.glob(f"{database.name}-*")) == []
    assert (database.parent / ".gitignore").read_text() == "*\n"


def test_open_connection_does_not_delay_the_end(start: Any) -> None:
    served = start()
    with requests.Session() as session:
        assert session.get(served.variables["FAMACASE_API_URL"], timeout=SECONDS).status_code == 200
        assert served.end(signal.SIGINT) == (0, "")


def test_options(start: Any, tmp_path: Path) -> None:
    served = start(*("--database", "my.db", "--project", "ONE", "--project", "TWO"), FAMACASE_SERVER_TOKEN="rep_mine")
    assert served.variables["FAMACASE_TESTOPS_API_TOKEN"] == "rep_mine"
    assert served.variables["FAMACASE_TESTOPS_PROJECT"] == "ONE"
    assert served.call("/projects/TWO").status_code == 200
    assert served.call("/projects/DEMO").status_code == 404
    assert (tmp_path / "my.db").is_file()
    assert not (tmp_path / ".gitignore").exists()


def test_wider_than_loopback_is_warned_of(start: Any) -> None:
    served = start("--host", "0.0.0.0")
    url = served.variables["FAMACASE_API_URL"]
    assert url.startswith("http://127.0.0.1:")
    assert requests.get(url, timeout=SECONDS).status_code == 401
    code, errors = served.end(signal.SIGINT)
    assert code == 0
    assert errors.startswith("Warning: it listens on 0.0.0.0")


def test_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, errors = failed("serve", "--port", port, cwd=tmp_path)
    assert code == 1
    assert errors == f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize("database", ["missing/a.db", "file/a.db", "file/.famacase/a.db"])
def test_database_that_cannot_be_written(tmp_path: Path, database: str) -> None:
    (tmp_path / "file").touch()
    code, errors = failed("serve", "--port", "0", "--database", database, cwd=tmp_path)
    assert code == 1
    assert errors.startswith("Error: cannot ")
    assert errors.count("\n") == 1


def test_missing_extra(tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('No module', name='uvicorn')")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    code, errors = failed("serve", "--port", "0", cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert code == 1
    assert errors == "Error: the server is not installed (uvicorn is missing): install famacase-xdist[server]\n"


def test_bad_options(tmp_path: Path) -> None:
    assert failed("serve", "--port", "70000", cwd=tmp_path)[0] == 2
    code, errors = failed("serve", "--port", "0", "--project", "a b", cwd=tmp_path)
    assert code == 2
    assert "a b" in errors


def test_version() -> None:
    from famacase_xdist import __version__

    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == f"famacase-xdist, version {__version__}\n"


def test_cli_imports_nothing_of_the_server() -> None:
    names = ("fastapi", "uvicorn", "sqlite3")
    code = f"import sys, famacase_xdist.cli.main; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "[]\n"
